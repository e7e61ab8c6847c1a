"""How much of a net is in integers, and why the rest is not."""

from __future__ import annotations

from dataclasses import dataclass

from paddle.static.quantization.quant_config import SUPPORT_WEIGHT_QUANTIZATION_OP_DICT

from ..graph.quantizable import QUANTIZABLE_SLOTS
from .model import FORWARD, Model, Operator
from .quantized import Quantizing, quantized_inputs

_INPUT_OUTPUT = ("feed", "fetch")
_FLOATS = ("float16", "bfloat16", "float32", "float64")

NO_FORM = "their type cannot be quantized"
SKIPPED = "marked skip_quant"
IN_BLOCK = "inside a while or cond block"
NOT_FLOATING = "their inputs are not floating point"
PARTLY = "an input is left in float"
NOT_CHOSEN = "no rule asks for them"


@dataclass(frozen=True)
class Coverage:
    """The net's own forward operators, by whether they compute on quantized inputs.

    Attributes:
        integer: operators whose quantizable inputs are all quantized.
        float_reasons: the other operators -> why they are in float.
        layers: number of operators that could be quantized and read a weight.
        integer_layers: how many of them are in ``integer``.
    """

    integer: list[Operator]
    float_reasons: dict[int, tuple[Operator, str]]
    layers: int
    integer_layers: int

    @property
    def operators(self) -> int:
        """All forward operators of the net itself."""
        return len(self.integer) + len(self.float_reasons)

    @property
    def share(self) -> float:
        """Share of operators in integers, 0 to 1."""
        return len(self.integer) / self.operators if self.operators else 0.0


def cover(model: Model, quantized: list[Quantizing]) -> Coverage:
    """Sort a model's operators."""
    copies = {one.copy for one in quantized}
    weights = {one.copy for one in quantized if one.role == "weight"}
    inside = {id(op) for one in quantized for op in one.operators}
    integer, reasons, layers, integer_layers = [], {}, 0, 0
    for i, op in enumerate(model.operators):
        if op.part != FORWARD or id(op) in inside or op.kind in _INPUT_OUTPUT:
            continue
        done, left = quantized_inputs(op, copies)
        is_layer = op.kind in SUPPORT_WEIGHT_QUANTIZATION_OP_DICT and any(
            _is_weight(model, name, weights) for name in done + left
        )
        layers += is_layer
        if done and not left:
            integer.append(op)
            integer_layers += is_layer
        else:
            reasons[i] = (op, _reason(model, op, done, left))
    return Coverage(integer, reasons, layers, integer_layers)


def _is_weight(model: Model, name: str, weights: set[str]) -> bool:
    held = model.variables.get(name)
    return name in weights or (held is not None and held.persistable)


def _reason(model: Model, op: Operator, done: list[str], left: list[str]) -> str:
    if op.kind not in QUANTIZABLE_SLOTS:
        return NO_FORM
    if op.attributes.get("skip_quant") or "skip_quant" in op.scope:
        return SKIPPED
    if op.block:
        return IN_BLOCK
    if done:
        return PARTLY
    dtypes = [model.variables[name].dtype for name in left if name in model.variables]
    if dtypes and not any(dtype in _FLOATS for dtype in dtypes):
        return NOT_FLOATING
    return NOT_CHOSEN


__all__ = ["Coverage", "cover"]
