"""Start values that are the same in all processes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from paddle.base import core

from ..scope import read, write
from .group import ProcessGroup


def share_values(program: Any, group: ProcessGroup, scope: Any, place: Any) -> None:
    """Give every process the values that a program has in the first.

    Raises:
        ValueError: a variable has no value, or the program is another one in another process.
        ProcessLost: a process has ended.
    """
    dense = core.VarDesc.VarType.LOD_TENSOR
    names = sorted(v.name for v in program.list_vars() if v.persistable and v.type == dense)
    values = {name: read(scope, name) for name in names}
    empty = [name for name, value in values.items() if value is None]
    if empty:
        raise ValueError(f"{empty[0]!r} has no value yet: run the start-up program first.")
    held = {name: np.asarray(value) for name, value in values.items()}
    form = repr([(name, value.dtype.str, value.shape) for name, value in held.items()])
    own_form = hashlib.sha256(form.encode()).digest()
    if group.agreed(lambda: own_form) != own_form:
        raise ValueError(
            f"the program of process {group.rank} has other parameters than that of process 0: "
            "build the same one in all."
        )
    content = group.agreed(lambda: b"".join(value.tobytes() for value in held.values()))
    start = 0
    for name, value in held.items():
        part = content[start : start + value.nbytes]
        start += value.nbytes
        if part != value.tobytes():
            shared = np.frombuffer(part, value.dtype).reshape(value.shape)
            write(scope, place, name, shared.copy())


__all__ = ["share_values"]
