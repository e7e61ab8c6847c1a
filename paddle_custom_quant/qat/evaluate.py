"""Compute variables of a program that parameters alone determine."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ..graph.marks import OUTSIDE_TRAINING


def evaluate(
    program: paddle.static.Program, names: list[str], place: Any, scope: Any
) -> dict[str, np.ndarray]:
    """The values of ``names``, computed from what the scope holds; no data is fed.

    Statistics of the batch are the running statistics that they are outside training.
    """
    if not names:
        return {}
    pruned = _outside_training(program)._prune([program.global_block().var(name) for name in names])
    with paddle.static.scope_guard(scope):
        return dict(zip(names, paddle.static.Executor(place).run(pruned, fetch_list=names)))


def _outside_training(program: Any) -> Any:
    if not any(op.has_attr(OUTSIDE_TRAINING) for op in program.global_block().ops):
        return program
    copy = program.clone()
    for op in copy.global_block().ops:
        if op.has_attr(OUTSIDE_TRAINING):
            op._rename_input(op.input("X")[0], op.attr(OUTSIDE_TRAINING))
    return copy


__all__ = ["evaluate"]
