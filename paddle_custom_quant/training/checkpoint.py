"""The values of a program, in memory and on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from paddle.base import core


def values_of(program: Any, scope: Any) -> dict[str, np.ndarray]:
    """Copies of all persistable tensors of ``program``: parameters, statistics, optimizer state.

    Args:
        program: a program whose start-up has run in ``scope``.
        scope: holds the tensors.
    """
    names = sorted(
        variable.name
        for variable in program.list_vars()
        if variable.persistable and variable.type == core.VarDesc.VarType.LOD_TENSOR
    )
    return {name: np.array(scope.find_var(name).get_tensor()) for name in names}


def set_values(values: Mapping[str, np.ndarray], scope: Any, place: Any) -> None:
    """Write values back into the tensors of their names."""
    for name, value in values.items():
        scope.var(name).get_tensor().set(value, place)


def save_values(values: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Write values as an ``.npz`` archive; ``numpy.load`` reads it, without pickle."""
    with open(path, "wb") as file:
        np.savez(file, **values)
