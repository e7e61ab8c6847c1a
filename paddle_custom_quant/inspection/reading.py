"""From a path on disk to a :class:`Model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle

from .model import CHECKPOINT, Model, ModelError, Variable, parse
from .stored import StoredValues, archived_values, pickled_values

PROGRAM, INFERENCE, STATIC, ARCHIVE = ".pdmodel", ".pdiparams", ".pdparams", ".npz"
_OLD_PROGRAM, _OLD_PARAMETERS = "__model__", "__params__"


def read_model(path: str | Path) -> Model:
    """Read a saved model without running it.

    Args:
        path: a ``.pdmodel`` file, the same without its suffix, a file of parameters beside it, a
            folder that holds one model, or a checkpoint (``.npz``).

    Raises:
        ModelError: there is no model, or it cannot be read; the message is one line.
    """
    path = Path(path)
    try:
        return _read(_find(path))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}).") from None


def _read(path: Path) -> Model:
    if path.suffix == ARCHIVE:
        return _checkpoint(path)
    content = path.read_bytes()
    kind = "program"
    model = parse(content, str(path), kind)
    _refuse_newer(model)
    values, file = _values(path, model.variables)
    if file is not None:
        kind = "inference model" if file.suffix != STATIC else "saved program"
    files = {p.name: p.stat().st_size for p in (path, file) if p is not None}
    return replace(model, kind=kind, values=values, files=files)


def _find(path: Path) -> Path:
    if path.is_dir():
        return _find_in(path)
    if path.suffix in (INFERENCE, STATIC):
        path = path.with_suffix(PROGRAM)
    named = path.with_name(path.name + PROGRAM)
    if not path.exists():
        if named.exists():
            return named
        if path.with_name(path.name + ".json").exists():
            path = path.with_name(path.name + ".json")
        else:
            missing = "there is no such file"
            if path.suffix != PROGRAM:
                missing = f"there is neither this file nor {named.name}"
            raise ModelError(f"{path}: no such model: {missing}.")
    if path.suffix == ".json":
        raise ModelError(
            f"{path}: a program of Paddle 3's new kind (PIR), which is not supported: build and "
            f"save it inside `with pcq.legacy_static(): ...`."
        )
    if path.suffix == ".onnx":
        raise ModelError(f"{path}: an ONNX model; give the Paddle model that it was made from.")
    return path


def _find_in(folder: Path) -> Path:
    for pattern in (f"*{PROGRAM}", _OLD_PROGRAM, f"*/*{PROGRAM}", f"*{ARCHIVE}", f"*/*{ARCHIVE}"):
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            names = [str(p.relative_to(folder)) for p in found]
            listed = ", ".join([*names[:8], *(["..."] if len(names) > 8 else [])])
            raise ModelError(f"{folder}: holds {len(found)} models, name one of them: {listed}")
        if found:
            return found[0]
    raise ModelError(f"{folder}: this folder holds no model (*{PROGRAM}) and no checkpoint.")


def _values(
    path: Path, variables: Mapping[str, Variable]
) -> tuple[Mapping[str, np.ndarray], Path | None]:
    stored = path.with_suffix(INFERENCE)
    if path.name == _OLD_PROGRAM:
        stored = path.with_name(_OLD_PARAMETERS)
    if stored.exists():
        return StoredValues(stored, variables), stored
    pickled = path.with_suffix(STATIC)
    if pickled.exists():
        return pickled_values(pickled, variables), pickled
    return {}, None


def _checkpoint(path: Path) -> Model:
    """Values without operators: shapes and sizes are all there is to see."""
    values = archived_values(path)
    variables = {
        name: Variable(name, value.shape, str(value.dtype), persistable=True, parameter=True)
        for name, value in values.items()
    }
    return Model(str(path), CHECKPOINT, "", [], variables, values, {path.name: path.stat().st_size})


def _refuse_newer(model: Model) -> None:
    here = paddle.__version__
    if model.version and _parts(model.version) > _parts(here):
        raise ModelError(
            f"{model.source}: written by Paddle {model.version}, which is newer than the "
            f"installed {here}: inspect it with that Paddle."
        )


def _parts(version: str) -> tuple[int, ...]:
    numbers = version.split("+")[0].split("-")[0].split(".")[:3]
    return tuple(int(part) for part in numbers if part.isdigit())


__all__ = ["read_model"]
