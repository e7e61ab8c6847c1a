"""Read pickles of containers and byte arrays without running anything that they name."""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np

# Further than any error that a damaged pickle leads to inside the reader.
_DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    ImportError, OverflowError, MemoryError, RecursionError, UnicodeError,
)  # fmt: skip


def read_plain_pickle(content: bytes, source: str) -> Any:
    """The object in a pickle that holds nothing but containers, numbers, texts and byte arrays.

    What numpy writes for an array of bytes is read by stand-ins: no function or class that the
    pickle names is imported or called.

    Args:
        content: the pickle; texts of Python 2 come back as bytes.
        source: its name, for messages.

    Raises:
        ValueError: the pickle names anything else, or is damaged.
    """
    try:
        found = _Reader(io.BytesIO(content), encoding="bytes").load()
    except _Refused as error:
        raise ValueError(
            f"{source} asks for {error}, which could run code: it is not a data file of CIFAR-10, "
            "do not use it."
        ) from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{source} is damaged ({reason}): fetch it again.") from error
    return _without_stand_ins(found)


class _Refused(Exception):
    """The name that a pickle asks for."""


class _Kind:
    """Stands for ``numpy.dtype``; bytes alone."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in (b"u1", "u1"):
            raise ValueError(f"an array of {code!r}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like: nothing that bytes have."""


class _Array:
    """Stands for ``numpy.ndarray`` and for the function that makes an empty one."""

    def __init__(self, *_: Any) -> None:
        self.values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        """Take the values."""
        _, shape, kind, by_column, content = state
        fits = isinstance(kind, _Kind) and isinstance(content, bytes) and not by_column
        if not fits or math.prod(shape) != len(content):
            raise ValueError(f"an array of {shape} that its values do not fill")
        self.values = np.frombuffer(content, np.uint8).reshape(shape)


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of this name."""
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


def _without_stand_ins(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_stand_ins(held) for key, held in value.items()}
    return value.values if isinstance(value, _Array) else value
