"""Operators that are read as other ones."""

from __future__ import annotations

from typing import Any, Callable

from ..graph.view import OpView
from .operators import OPERATORS, Operator

Rewritten = tuple[str, dict[str, Any], Operator]


def _mul(op: OpView, variables: dict[str, Any]) -> Rewritten:
    name = op.inputs["X"][0]
    rank = len(variables[name].shape())
    columns = op.attribute("x_num_col_dims", 1)
    if columns != rank - 1 or op.attribute("y_num_col_dims", 1) != 1:
        raise ValueError(
            f"operator 'mul', which computes {op.writes[0]!r}, flattens its input {name!r} to "
            f"{columns} + {rank - columns} dimensions: flatten it by an operator of its own."
        )
    return "matmul_v2", {"trans_x": False, "trans_y": False}, Operator(("X", "Y"))


def _matmul(op: OpView, variables: dict[str, Any]) -> Rewritten:
    if op.attribute("alpha", 1.0) != 1.0:
        raise ValueError(
            f"operator 'matmul', which computes {op.writes[0]!r}, multiplies by alpha = "
            f"{op.attribute('alpha')}: scale by an operator of its own."
        )
    attributes = {
        "trans_x": op.attribute("transpose_X", False),
        "trans_y": op.attribute("transpose_Y", False),
    }
    return "matmul_v2", attributes, Operator(("X", "Y"))


def _dropout(op: OpView, variables: dict[str, Any]) -> Rewritten:
    if op.attribute("dropout_implementation") == "upscale_in_train":
        return "assign", {}, Operator()
    keep = 1.0 - op.attribute("dropout_prob", 0.5)
    return "scale", {"scale": keep, "bias": 0.0, "bias_after_scale": True}, OPERATORS["scale"]


def _assign(op: OpView, variables: dict[str, Any]) -> Rewritten:
    return "assign", {}, Operator()


REWRITES: dict[str, Callable[[OpView, dict[str, Any]], Rewritten]] = {
    "assign": _assign,
    "dropout": _dropout,
    "matmul": _matmul,
    "mul": _mul,
}

__all__ = ["REWRITES"]
