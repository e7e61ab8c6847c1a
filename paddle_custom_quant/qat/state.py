"""Load parameters into a quantized program, and say what was left as it was."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from .. import compat
from ..scope import read, write


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_state` did.

    Attributes:
        loaded: parameters that got a value.
        kept: parameters of the program that the state has no value for: left at their start value.
        unused: entries of the state that the program has no parameter for.
    """

    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} parameters loaded"]
        if self.kept:
            lines.append(f"left at their start value: {', '.join(self.kept)}")
        if self.unused:
            lines.append(f"not in the program: {', '.join(self.unused)}")
        return "; ".join(lines)


def load_state(
    program: paddle.static.Program,
    state: str | Mapping[str, Any],
    scope: Any = None,
    place: Any = None,
) -> LoadReport:
    """Set a program's parameters from a checkpoint that may hold fewer, such as a float one.

    Args:
        program: a program of the old kind, quantized or not.
        state: arrays by name, or the prefix of what ``paddle.static.save`` wrote.
        scope: holds the parameters; the global scope by default.
        place: where they live; the CPU by default.

    Returns:
        What was loaded, kept and unused.

    Raises:
        TypeError: ``program`` is no program of the old kind.
        ValueError: a value has another shape than its parameter, or no name fits.
    """
    compat.require_legacy_static(program)
    scope = scope or paddle.static.global_scope()
    values = paddle.static.load_program_state(state) if isinstance(state, str) else dict(state)
    wanted = {v.name: v for v in program.list_vars() if _is_state(v)}
    fitting = {name: np.asarray(values[name]) for name in wanted if name in values}
    if not fitting:
        near = difflib.get_close_matches(next(iter(wanted), ""), list(values), n=3)
        raise ValueError(
            f"the state has none of the program's {len(wanted)} parameters "
            f"(it holds {', '.join(near or list(values)[:3]) or 'nothing'}, ...): "
            f"is it of another net?"
        )
    for name, value in fitting.items():
        if tuple(value.shape) != tuple(wanted[name].shape):
            raise ValueError(
                f"parameter {name!r} has shape {list(wanted[name].shape)}, but the state's value "
                f"has {list(value.shape)}: it is of another net or another setting."
            )
    for name, value in fitting.items():
        held = read(scope, name)
        write(scope, place or paddle.CPUPlace(), name, value.astype(_dtype(value, held)))
    return LoadReport(
        loaded=tuple(fitting),
        kept=tuple(name for name in wanted if name not in fitting),
        unused=tuple(name for name in values if name not in wanted),
    )


def _dtype(value: np.ndarray, held: np.ndarray | None) -> np.dtype[Any]:
    return value.dtype if held is None else held.dtype


def _is_state(variable: Any) -> bool:
    return bool(variable.persistable) and variable.name not in ("feed", "fetch")


__all__ = ["LoadReport", "load_state"]
