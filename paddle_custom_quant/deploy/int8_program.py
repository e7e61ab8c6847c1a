"""The int8 program of ``convert(..., save_int8=True)``: values stand beside the trained ones."""

from __future__ import annotations

from typing import Any

from paddle import static

from ..scope import read, write
from .freeze import freeze
from .paddle_model import build_program

_PREFIX = "int8."


def int8_program(program: static.Program, place: Any, scope: Any) -> static.Program:
    """A frozen program with int8 weights, its values in the scope of the trained one.

    Inputs and outputs keep their names. Constants, which may differ from trained values of the same
    name (a step of a folded batch norm, say), get a prefix.

    Args:
        program: a trained, quantized test program of the old kind.
        place: where values are stored.
        scope: holds the trained values, which stay; the new ones are added.

    Raises:
        ValueError: it cannot be frozen (:func:`.freeze`).
    """
    own = static.Scope()
    built: static.Program = build_program(freeze(program, scope), own).program
    block = built.global_block()
    prefix = _PREFIX
    while any(name.startswith(prefix) for name in program.global_block().vars):
        prefix += _PREFIX
    for name in [v.name for v in block.vars.values() if v.persistable]:
        value = read(own, name)
        assert value is not None  # it was written a moment ago
        block._rename_var(name, f"{prefix}{name}")
        write(scope, place, f"{prefix}{name}", value)
    return built


__all__ = ["int8_program"]
