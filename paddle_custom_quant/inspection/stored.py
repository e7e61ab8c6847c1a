"""Parameter files, read without running anything that they hold."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google.protobuf.message import DecodeError

from .model import DTYPES, ModelError, Variable, proto

_PICKLED = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
}  # fmt: skip


class StoredValues(Mapping[str, np.ndarray]):
    """The values of a ``.pdiparams`` file, read when they are asked for.

    Args:
        path: of the file.
        variables: of the model; the file holds the persistable ones, by name.

    Raises:
        ModelError: the file is damaged, or its parameters are not those of the model.
    """

    def __init__(self, path: Path, variables: Mapping[str, Variable]) -> None:
        self._path = path
        self._places: dict[str, tuple[int, np.dtype[Any], tuple[int, ...]]] = {}
        names = sorted(v.name for v in variables.values() if v.persistable and v.shape is not None)
        size = path.stat().st_size
        with open(path, "rb") as file:
            for name in names:
                if file.tell() >= size:
                    raise ModelError(
                        f"{path}: does not match the model: it holds {len(self._places)} "
                        f"parameters, the model has {len(names)} ({name!r} is missing)."
                    )
                self._places[name] = _place(file, size, path, variables[name])
            if file.tell() != size:
                raise ModelError(
                    f"{path}: does not match the model: {size - file.tell()} bytes are left "
                    f"after its {len(names)} parameters."
                )

    def __getitem__(self, name: str) -> np.ndarray:
        offset, dtype, shape = self._places[name]
        return np.memmap(self._path, dtype, "r", offset, shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _place(
    file: BinaryIO, size: int, path: Path, variable: Variable
) -> tuple[int, np.dtype[Any], tuple[int, ...]]:
    """Read the header of one tensor and skip its values."""
    damaged = ModelError(f"{path}: not a file of parameters, or damaged (at {variable.name!r}).")
    try:
        version, levels = struct.unpack("<IQ", file.read(12))
        if version or levels > 8:
            raise damaged
        for _ in range(levels):
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise damaged
            file.seek(length, 1)
        version, length = struct.unpack("<Ii", file.read(8))
        if version or not 0 < length < 4096:
            raise damaged
        desc = proto.VarType.TensorDesc()
        desc.ParseFromString(file.read(length))
        # numpy has no bfloat16: its bits are there as integers
        name = DTYPES[desc.data_type]
        dtype = np.dtype({"bfloat16": "uint16"}.get(name, name))
    except (struct.error, DecodeError, KeyError, TypeError):
        raise damaged from None
    shape = tuple(desc.dims)
    if shape != variable.shape and len(shape) + len(variable.shape or ()):
        raise ModelError(
            f"{path}: does not match the model: {variable.name!r} has shape {list(shape)} there "
            f"and {list(variable.shape or ())} in the model."
        )
    offset = file.tell()
    file.seek(offset + dtype.itemsize * int(np.prod(shape, dtype=object)))
    if file.tell() > size:
        raise ModelError(f"{path}: cut off within the values of {variable.name!r}.")
    return offset, dtype, shape


class _ArraysOnly(pickle.Unpickler):
    """Loads arrays and nothing else: a pickle may otherwise run what it names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def pickled_values(path: Path, variables: Mapping[str, Variable]) -> dict[str, np.ndarray]:
    """The values of a ``.pdparams`` file.

    Raises:
        ModelError: the file is damaged, holds anything but arrays, or another model's parameters.
    """
    try:
        with open(path, "rb") as file:
            held = _ArraysOnly(file).load()
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise ModelError(f"{path}: not a file of parameters, or damaged ({error}).") from None
    if not isinstance(held, dict):
        raise ModelError(f"{path}: not a file of parameters (it holds a {type(held).__name__}).")
    values = {str(k): v for k, v in held.items() if isinstance(v, np.ndarray)}
    for variable in variables.values():
        if not variable.parameter:
            continue
        value = values.get(variable.name)
        if value is None:
            raise ModelError(f"{path}: does not match the model: {variable.name!r} is missing.")
        if value.shape != variable.shape:
            raise ModelError(
                f"{path}: does not match the model: {variable.name!r} has shape "
                f"{list(value.shape)} there and {list(variable.shape or ())} in the model."
            )
    return values


def archived_values(path: Path) -> dict[str, np.ndarray]:
    """The values of an ``.npz`` archive.

    Raises:
        ModelError: the file is damaged or holds anything but arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: not an archive of arrays, or damaged ({error}).") from None


__all__ = ["StoredValues", "archived_values", "pickled_values"]
