"""Load what ``paddle.static.save`` and NumPy wrote, without trusting it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import paddle
from paddle import static

from .. import kernels
from ..inspection.model import ModelError
from ..inspection.reading import read_model
from ..inspection.stored import pickled_values
from ..scope import write


def load_program(path: str | Path) -> tuple[static.Program, Any]:
    """A saved test program and a scope with its values.

    Call it inside ``pcq.legacy_static()``.

    Args:
        path: as given to ``paddle.static.save``, with or without ``.pdmodel``.

    Raises:
        ModelError: the files are missing, damaged, or do not belong together; one line.
    """
    # Read in Python first: a damaged program ends the process when Paddle parses it.
    model = read_model(path)
    file = Path(path)
    file = file if file.suffix == ".pdmodel" else Path(f"{file}.pdmodel")
    if model.values is None:
        raise ModelError(f"{file}: there are no parameters beside it ({file.stem}.pdparams).")
    own = sorted({op.kind for op in model.operators if op.kind.startswith("pcq_")})
    if own and not kernels.available():
        raise ModelError(
            f"{file}: it holds C++ operators ({own[0]}), which need a compiler here (c++ or g++)."
        )
    program = static.Program.parse_from_string(file.read_bytes())
    scope = static.Scope()
    place = paddle.CPUPlace()
    values = dict(model.values)
    states = file.with_suffix(".pdopt")
    if states.exists():
        # Running averages are no parameters: paddle.static.save keeps them with the optimizer's.
        values.update(pickled_values(states, {}))
    for name, value in values.items():
        write(scope, place, name, np.ascontiguousarray(value))
    return program, scope


def load_inputs(path: str | Path) -> np.ndarray | dict[str, np.ndarray]:
    """Inputs of a ``.npy`` file, or those of a ``.npz`` file by name.

    Raises:
        ValueError: the file cannot be read as such.
    """
    try:
        held = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read as .npy or .npz ({error}).") from None
    if isinstance(held, np.ndarray):
        return held
    with held:
        return {name: held[name] for name in held.files}


__all__ = ["load_inputs", "load_program"]
