"""Named arrays and JSON in one file with a checksum, written whole or not at all.

The layout is that of safetensors: eight bytes of length (little-endian), a JSON header with the
type, shape and place of each array, then the arrays. The state and the checksum stand in the
header's ``__metadata__``; the checksum is over everything but itself.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..deploy.storage import write_files

_KINDS = {
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "|i1", "U8": "|u1", "I16": "<i2", "I32": "<i4",
    "I64": "<i8", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _KINDS.items()}
_META = "__metadata__"


def write_tensors(path: Path, values: Mapping[str, np.ndarray], state: Any) -> None:
    """Write arrays and a state; ``path`` holds the old content or the new, never a part.

    Args:
        path: of the file.
        values: arrays of numbers or booleans, by name.
        state: plain data; floats come back bit for bit.

    Raises:
        OSError: there is no room, or the folder cannot be written; ``path`` is as it was.
    """
    write_files({path: packed_tensors(values, state)}, overwrite=True)


def packed_tensors(values: Mapping[str, np.ndarray], state: Any) -> bytes:
    """What :func:`write_tensors` writes."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    end = 0
    for name, value in sorted(values.items()):
        content = np.ascontiguousarray(value).tobytes()
        place = [end, end + len(content)]
        kind = _NAMES[value.dtype]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": place}
        parts.append(content)
        end += len(content)
    header[_META] = {"state": json.dumps(state), "sha256": ""}
    header[_META]["sha256"] = _checksum(header, b"".join(parts))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """Arrays and state of a file.

    Raises:
        ValueError: the file is damaged, or is of another kind.
    """
    return unpacked_tensors(path.read_bytes(), path)


def unpacked_tensors(content: bytes, source: object) -> tuple[dict[str, np.ndarray], Any]:
    """Arrays and state of a file's content.

    Raises:
        ValueError: the content is damaged; ``source`` says where it comes from.
    """
    try:
        (length,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + length])
        data = content[8 + length :]
        expected = header[_META]["sha256"]
        header[_META]["sha256"] = ""
        if _checksum(header, data) != expected:
            raise ValueError("its checksum is wrong")
        state = json.loads(header.pop(_META)["state"])
        values = {name: _array(data, **entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, struct.error, RecursionError) as error:
        raise ValueError(f"{source} is damaged ({error}).") from None
    return values, state


def _array(data: bytes, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    start, end = data_offsets
    return np.frombuffer(data[start:end], _KINDS[dtype]).reshape(shape).copy()


def _checksum(header: Mapping[str, Any], data: bytes) -> str:
    sums = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    sums.update(data)
    return sums.hexdigest()


__all__ = ["packed_tensors", "read_tensors", "unpacked_tensors", "write_tensors"]
