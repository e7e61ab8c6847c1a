"""The formats of a deployed net, and the files that each consists of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Callable

from .storage import refuse_existing, write_files

_SUFFIXES = {
    "paddle": (".pdmodel", ".pdiparams"),
    "paddle-onednn": (".onednn.pdmodel", ".onednn.pdiparams"),
    "paddle-float": (".float.pdmodel", ".float.pdiparams"),
    "onnx": (".onnx",),
    "onnx-int4": (".int4.onnx",),
}
FORMATS = tuple(_SUFFIXES)


def files_of(path: str | Path, kind: str) -> list[Path]:
    """The files that a format consists of; ``path`` has no suffix."""
    return [Path(f"{path}{suffix}") for suffix in _SUFFIXES[kind]]


def opened(path: str | Path, kind: str) -> Path:
    """What an engine is given: the ONNX file, or Paddle's two files without their suffixes."""
    first = files_of(path, kind)[0]
    return first if first.suffix == ".onnx" else first.with_suffix("")


def write_format(
    path: str | Path, kind: str, contents: Callable[[], Iterable[bytes]], overwrite: bool
) -> list[Path]:
    """Write a format's files, all or none; ``contents`` is asked only if they may be written.

    Raises:
        FileExistsError: a file is there and ``overwrite`` is not set.
        OSError: the files cannot be written; what was there stays whole.
    """
    files = files_of(path, kind)
    refuse_existing(files, overwrite)
    write_files(dict(zip(files, contents())), overwrite)
    return files


__all__ = ["FORMATS", "files_of", "opened", "write_format"]
