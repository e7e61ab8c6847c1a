"""Read and write variables of a scope."""

from __future__ import annotations

from typing import Any

import numpy as np


def read(scope: Any, name: str) -> np.ndarray | None:
    """The value of a variable, ``None`` if the scope holds none."""
    variable = scope.find_var(name)
    if variable is None:
        return None
    tensor = variable.get_tensor()
    return np.array(tensor) if tensor._is_initialized() else None


def write(scope: Any, place: Any, name: str, value: np.ndarray) -> None:
    """Set a variable, creating it where needed."""
    scope.var(name).get_tensor().set(value, place)


__all__ = ["read", "write"]
