"""Which tensors of a model are quantized, and which operators do it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph.marks import DESCRIPTION, QUANTIZED
from ..graph.quantizable import QUANTIZABLE_SLOTS
from ..target import ACTIVATION, GRADIENT, WEIGHT
from .inferred import CLASSES, channel_axis, inferred
from .model import BACKWARD, FORWARD, Model, Operator

_MAX_LEVELS = 256

# Paddle's own operators: type -> slot of the quantized result.
PADDLE_WRITERS = {
    "dequantize_linear": "Y",
    "fake_dequantize_max_abs": "Out",
    "fake_channel_wise_dequantize_max_abs": "Out",
    "fake_quantize_dequantize_abs_max": "Out",
    "fake_quantize_dequantize_moving_average_abs_max": "Out",
    "fake_channel_wise_quantize_dequantize_abs_max": "Out",
}


@dataclass
class Quantizing:
    """One tensor on its way through a quantizer.

    Attributes:
        copy: name of the quantized copy.
        tensor: name of the float tensor; that of the stored integers or of the copy itself where
            the float tensor is gone.
        role: ``"weight"``, ``"activation"`` or ``"gradient"``.
        method: the quantizer's short name.
        description: the quantizer as data, as :func:`~..quantizers.description.describe` wrote it.
        channel_axis: output-channel axis of a weight, where known.
        operators: that compute the copy, and their gradients.
        stored: the copy's values, or its integers, are stored as a parameter.
    """

    copy: str
    tensor: str
    role: str
    method: str
    description: dict[str, Any] = field(default_factory=dict)
    channel_axis: int | None = None
    operators: list[Operator] = field(default_factory=list, repr=False)
    stored: bool = False

    @property
    def forward(self) -> list[Operator]:
        """The operators that compute the copy."""
        return [op for op in self.operators if op.part == self.part]

    @property
    def part(self) -> str:
        """The part of the program that the copy is computed in."""
        return BACKWARD if self.role == GRADIENT else FORWARD


def find_quantized(model: Model) -> list[Quantizing]:
    """Every quantized copy of a model, in program order."""
    found: dict[str, Quantizing] = {}
    for op in model.operators:
        for one in (_described(op), _scoped(op), _paddle_pair(op, model), *_stored(op, model)):
            if one is not None and one.copy not in found:
                found[one.copy] = one
    for op in model.operators:
        owner = found.get(op.scope)
        if owner is not None:
            owner.operators.append(op)
    for one in found.values():
        if not (one.operators or one.stored) or one.method == "dequantize_linear":
            one.operators = _pair(one, model)
        if not one.description:
            _complete(one, model)
    return list(found.values())


def _complete(one: Quantizing, model: Model) -> None:
    """Fill in what the model does not say of a copy."""
    one.description = inferred(one.method, one.forward, model)
    one.method = CLASSES.get(one.method, one.method)
    held = model.variables.get(one.tensor)
    readers = [op for op in model.readers.get(one.copy, []) if op.part == FORWARD]
    if held is not None and held.persistable and readers and one.channel_axis is None:
        one.role, one.channel_axis = WEIGHT, channel_axis(readers[0], len(held.shape or ()))


def _described(op: Operator) -> Quantizing | None:
    """The copy's writer says what made it."""
    text = op.attributes.get(DESCRIPTION)
    if not isinstance(text, str) or not op.writes:
        return None
    try:
        told = json.loads(text)
        quantizer = told["quantizer"]
        axis = told.get("channel_axis")
        role = told["role"] if told["role"] in (WEIGHT, GRADIENT) else ACTIVATION
        copy = op.scope if op.scope in op.writes else op.writes[0]
        method = str(quantizer.get("class") or quantizer.get("function"))
        axis = axis if isinstance(axis, int) else None
        return Quantizing(copy, str(told["tensor"]), role, method, quantizer, axis)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _scoped(op: Operator) -> Quantizing | None:
    """The copy has the name of the scope that its operators stand in."""
    if op.part != FORWARD or not op.scope or op.scope not in op.writes or "." not in op.scope:
        return None
    tensor, _, method = op.scope.rpartition(".")
    return Quantizing(op.scope, tensor, ACTIVATION, method)


def _paddle_pair(op: Operator, model: Model) -> Quantizing | None:
    """One of Paddle's own operators writes the copy."""
    slot = PADDLE_WRITERS.get(op.kind)
    names, sources = op.outputs.get(slot or "", []), op.inputs.get("X", [])
    if not names or not sources:
        return None
    source = sources[0]
    before = model.writers.get(source)
    held = model.variables.get(source)
    stored = bool(held and held.persistable)
    method = op.kind
    if before is not None and before.inputs.get("X") and _is_paddle(before):
        source, method = before.inputs["X"][0], before.kind
    root = model.variables.get(source)
    role = WEIGHT if root is not None and root.persistable else ACTIVATION
    axis = op.attributes.get("quant_axis")
    return Quantizing(
        names[0], source, role, method, {},
        axis if isinstance(axis, int) and axis >= 0 else None, stored=stored,
    )  # fmt: skip


def _stored(op: Operator, model: Model) -> Iterator[Quantizing]:
    """A weight whose quantized values took the place of the float ones."""
    for entry in op.attributes.get(QUANTIZED) or []:
        slot, _, index = str(entry).partition(":")
        names = op.inputs.get(slot, [])
        name = names[int(index)] if index.isdigit() and int(index) < len(names) else ""
        held = model.variables.get(name)
        tensor, _, method = name.rpartition(".")
        if (
            held is not None
            and held.persistable
            and tensor
            and (method in CLASSES or _has_few_values(model.values.get(name)))
        ):
            axis = channel_axis(op, len(held.shape or ()))
            method = CLASSES.get(method, method)
            yield Quantizing(name, tensor, WEIGHT, method, {}, axis, stored=True)


def _is_paddle(op: Operator) -> bool:
    return op.kind in PADDLE_WRITERS or op.kind.startswith(("quantize_linear", "fake_"))


def _has_few_values(values: np.ndarray | None) -> bool:
    """Values repeat as they do on a grid: the name alone does not tell what made them."""
    if values is None or values.size < 4 * _MAX_LEVELS:
        return False
    return np.unique(np.ravel(values)[: 16 * _MAX_LEVELS]).size <= _MAX_LEVELS


def _pair(one: Quantizing, model: Model) -> list[Operator]:
    """The operators of a pair that stands in no name scope."""
    last = model.writers.get(one.copy)
    if last is None:
        return one.operators
    first = model.writers.get(last.inputs.get("X", [""])[0])
    pair = [op for op in (first, last) if op is not None and _is_paddle(op)]
    return pair + [op for op in one.operators if op not in pair]


def quantized_inputs(op: Operator, copies: set[str]) -> tuple[list[str], list[str]]:
    """Inputs of an operator that could be quantized: those that are, and those that are not."""
    names = [n for slot in QUANTIZABLE_SLOTS.get(op.kind, ()) for n in op.inputs.get(slot, [])]
    return [n for n in names if n in copies], [n for n in names if n not in copies]


__all__ = ["PADDLE_WRITERS", "Quantizing", "find_quantized", "quantized_inputs"]
