"""Anything that can be inspected, as a :class:`Model`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Union

import numpy as np
import paddle
from paddle.base import framework

from ..scope import read
from .model import Model, from_program
from .reading import read_model

Inspectable = Union[str, "PathLike[str]", Model, Any]


class ScopeValues(Mapping[str, np.ndarray]):
    """A program's parameters and states that a scope holds values of."""

    def __init__(self, program: Any, scope: Any) -> None:
        self._scope = scope
        self._names = [v.name for v in program.list_vars() if v.persistable and _is_tensor(v)]

    def __getitem__(self, name: str) -> np.ndarray:
        value = read(self._scope, name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if name in self)

    def __contains__(self, name: object) -> bool:
        held = self._scope.find_var(name)
        return held is not None and held.get_tensor()._is_initialized()

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _is_tensor(variable: Any) -> bool:
    types = paddle.base.core.VarDesc.VarType
    return variable.type in (types.LOD_TENSOR, types.SELECTED_ROWS)


def as_model(program: Inspectable, scope: Any = None) -> Model:
    """What is to be inspected, as plain data.

    Args:
        program: a static program of the old kind, a path to a saved model, or a model.
        scope: holds a program's values; the global scope by default.

    Raises:
        TypeError: it is none of these.
        ModelError: nothing that can be read is saved there.
    """
    if isinstance(program, Model):
        return program
    if isinstance(program, (str, Path, PathLike)):
        return read_model(Path(program))
    if isinstance(program, paddle.static.CompiledProgram):
        program = program._program
    if not isinstance(program, framework.Program):
        kind = f"{type(program).__module__}.{type(program).__qualname__}"
        raise TypeError(
            f"a static program of the old kind or a path is needed, got {kind}: build programs "
            f"inside `with pcq.legacy_static(): ...`."
        )
    return from_program(program, ScopeValues(program, scope or paddle.static.global_scope()))


__all__ = ["Inspectable", "ScopeValues", "as_model"]
