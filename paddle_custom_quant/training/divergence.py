"""Where and why a training diverged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from paddle.base import core

from ..distributed import ProcessGroup
from ..scope import read
from .batch_norm import largest_ratio

_FLOATS = (core.VarDesc.VarType.FP32, core.VarDesc.VarType.FP64, core.VarDesc.VarType.FP16)
_LARGE_RATIO = 100.0
_SMALL_SCALE = 1e-8
_SCALES = (".step", ".alpha", ".scale")


class Diverged(FloatingPointError):
    """Training has diverged; the message says where it began and what the likely cause is."""


@dataclass(frozen=True)
class Origin:
    """The first tensor of a step that is not finite.

    Attributes:
        layer: that it belongs to, such as ``conv2d_3``.
        tensor: its name.
        operator: the type of the operator that made it.
        backward: it came up after the loss: in the gradients or the update.
    """

    layer: str
    tensor: str
    operator: str
    backward: bool

    def __str__(self) -> str:
        what = "gradient" if self.backward else "output"
        return f"layer {self.layer} ({what} {self.tensor!r} of {self.operator})"


def first_invalid(
    executor: Any, program: Any, feed: Mapping[str, np.ndarray], loss: str
) -> Origin | None:
    """Run a step and find the first tensor, in the order of operators, that is not finite.

    Args:
        executor: runs the program, in the current scope.
        program: a training program.
        feed: its inputs.
        loss: name of the loss.
    """
    block = program.global_block()
    made: dict[str, tuple[Any, bool]] = {}
    backward = False
    for op in block.ops:
        for name in op.output_arg_names:
            variable = block.vars.get(name)
            is_tensor = variable is not None and variable.type == core.VarDesc.VarType.LOD_TENSOR
            if is_tensor and variable.dtype in _FLOATS:
                made.setdefault(name, (op, backward))
        backward = backward or loss in op.output_arg_names
    names = list(made)
    for name, value in zip(names, executor.run(program, feed=feed, fetch_list=names)):
        # Optional outputs that an operator leaves out come as something else.
        values = np.asarray(value)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            op, behind = made[name]
            return Origin(_layer(op, name, block), name, op.type, behind)
    return None


def first_of_all(origin: Origin | None, group: ProcessGroup) -> Origin | None:
    """What the first of the processes that found something has found; ``origin`` is this one's."""
    own = json.dumps(None if origin is None else asdict(origin)).encode()
    texts = [text.tobytes() for text in group.gather(np.frombuffer(own, np.uint8))]
    found = [held for held in map(json.loads, texts) if held]
    return Origin(**found[0]) if found else None


def invalid_values(values: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the values that are not finite."""
    return [n for n, v in values.items() if v.dtype.kind == "f" and not np.isfinite(v).all()]


def likely_cause(
    program: Any, scope: Any, origin: Origin | None, rate: float, gradient_bits: int | None
) -> str:
    """The most likely cause, in words.

    Args:
        program: the training program.
        scope: holds the values from before the step.
        origin: where it began, where that is known.
        rate: learning rate of the step.
        gradient_bits: of quantized gradients.
    """
    for variable in program.list_vars():
        if variable.persistable and variable.name.endswith(_SCALES):
            value = read(scope, variable.name)
            if value is not None and float(np.abs(value).min()) < _SMALL_SCALE:
                return f"the scale {variable.name} is at zero: lower quantizer_learning_rate"
    ratio, layer = largest_ratio(program, scope)
    if ratio > _LARGE_RATIO:
        return (
            f"the batch-norm ratio gamma / sigma is {ratio:.3g} in {layer}: its channels hardly "
            "vary; use weight decay or freeze_bn"
        )
    if gradient_bits is not None and (origin is None or origin.backward):
        return f"gradients of {gradient_bits} bits: give them more, or lower the learning rate"
    return f"the learning rate {rate:.3g}: lower it, or warm up longer"


def _layer(op: Any, name: str, block: Any) -> str:
    inputs = [n for n in op.input_arg_names if n in block.vars and block.vars[n].persistable]
    weights = [n for n in inputs if ".w_" in n or ".b_" in n]
    return (weights or [name])[0].split("@")[0].split(".")[0]


__all__ = [
    "Diverged",
    "Origin",
    "first_invalid",
    "first_of_all",
    "invalid_values",
    "likely_cause",
]
