"""Residual additions: which operand a convolution can add in its own kernel."""

from __future__ import annotations

from typing import Any

from ..graph.constants import constant_names
from ..graph.view import OpView, view

_CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
_SCALES = ("elementwise_add", "elementwise_mul", "elementwise_div")


def fused_operands(program: Any) -> dict[str, str]:
    """For each addition of two tensors the operand that a convolution hands straight to it.

    An engine that fuses the addition into that convolution never stores the operand, so that it
    stays unquantized; the other operand is read as integers. Batch norm, scale and bias may stand
    between convolution and addition. Where both operands come from convolutions, the first is
    fused; where one is read elsewhere too, it is stored anyway.

    Args:
        program: the float test program.

    Returns:
        Output of the addition -> ``"X"`` or ``"Y"``; additions without such an operand are absent.
    """
    seen = view(program)
    constants = constant_names(seen)
    producers = {name: op for op in seen.ops for name in op.writes}
    readers: dict[str, int] = {}
    for op in seen.ops:
        for name in op.reads:
            readers[name] = readers.get(name, 0) + 1

    def from_convolution(name: str) -> bool:
        op: OpView | None = producers.get(name)
        while op is not None and readers[name] == 1:
            if op.kind in _CONVOLUTIONS:
                return True
            scales = op.kind in _SCALES and op.inputs["Y"][0] in constants
            if not (scales or op.kind == "batch_norm"):
                return False
            name = op.inputs["X"][0]
            op = producers.get(name)
        return False

    found = {}
    for op in seen.ops:
        if op.kind == "elementwise_add" and not constants.intersection(op.reads):
            for slot in ("X", "Y"):
                if from_convolution(op.inputs[slot][0]):
                    found[op.outputs["Out"][0]] = slot
                    break
    return found


__all__ = ["fused_operands"]
