"""Compute variables of a program that parameters alone determine."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

_WITHOUT_INPUTS = ("assign_value", "fill_constant", "range", "linspace", "eye")


def constant_without_inputs(kind: str) -> bool:
    """Whether an operator that reads nothing writes the same values every time."""
    return kind in _WITHOUT_INPUTS


def evaluate(
    program: paddle.static.Program, names: list[str], place: Any, scope: Any
) -> dict[str, np.ndarray]:
    """The values of ``names``, computed from what the scope holds; no data is fed."""
    if not names:
        return {}
    pruned = program._prune([program.global_block().var(name) for name in names])
    with paddle.static.scope_guard(scope):
        return dict(zip(names, paddle.static.Executor(place).run(pruned, fetch_list=names)))


__all__ = ["constant_without_inputs", "evaluate"]
