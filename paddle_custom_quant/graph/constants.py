"""Which variables of a program have the same value whatever is fed."""

from __future__ import annotations

from .view import View

_WITHOUT_INPUTS = ("assign_value", "fill_constant", "range", "linspace", "eye")


def constant_without_inputs(kind: str) -> bool:
    """Whether an operator that reads nothing writes the same values every time."""
    return kind in _WITHOUT_INPUTS


def constant_names(seen: View) -> set[str]:
    """Names of parameters, and of what is computed from them alone."""
    known = {name for name, desc in seen.variables.items() if desc.persistable()}
    for op in seen.ops:
        names = [name for name in op.reads if name]
        if (names or constant_without_inputs(op.kind)) and known.issuperset(names):
            known.update(op.writes)
    return known


__all__ = ["constant_names", "constant_without_inputs"]
