"""``export``: from a trained program to files that engines load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paddle

from .freeze import freeze
from .frozen import FrozenModel
from .onnx_model import build_onnx
from .paddle_model import serialized
from .storage import refuse_existing, write_files

FORMATS = ("paddle", "onnx", "onnx-int4")


def export(
    program: paddle.static.Program | FrozenModel,
    scope: Any = None,
    path: str | Path = "model",
    formats: Sequence[str] = ("paddle", "onnx"),
    *,
    exact: bool = False,
    overwrite: bool = False,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> FrozenModel:
    """Freeze a trained program and write it in every format, all files or none.

    Args:
        program: the trained test program, or what :func:`.freeze` made of it.
        scope: holds the trained values; the global scope by default.
        path: without suffix; ``.pdmodel``, ``.pdiparams``, ``.onnx`` and ``.int4.onnx`` are
            appended.
        formats: ``"paddle"``, ``"onnx"``, ``"onnx-int4"``.
        exact: write the Paddle files for engines that compute in float, not for oneDNN's int8
            kernels (:func:`.write_paddle`).
        overwrite: replace files that are there.
        inputs: names to feed; by default the program's data variables.
        outputs: names to fetch; by default what no operator reads.

    Returns:
        The frozen model; its ``notes`` say what stays float, and why.

    Raises:
        ValueError: a format that is not known, or a program that cannot be deployed.
        FileExistsError: a file is there and ``overwrite`` is not set.
        ImportError: ONNX is asked for and the ``onnx`` package is not installed.
        OSError: the files cannot be written; what was there stays whole.
    """
    formats = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"formats are {', '.join(FORMATS)}, got {unknown or formats}.")
    refuse_existing([file for name in formats for file in files_of(path, name)], overwrite)
    if not isinstance(program, FrozenModel):
        program = freeze(program, scope, inputs=inputs, outputs=outputs)
    contents: dict[Path, bytes] = {}
    for name in formats:
        files = files_of(path, name)
        if name == "paddle":
            contents.update(zip(files, serialized(program, exact=exact)))
        else:
            built = build_onnx(program, int4=name == "onnx-int4")
            contents[files[0]] = built.SerializeToString()
    write_files(contents, overwrite)
    return program


def files_of(path: str | Path, kind: str) -> list[Path]:
    """The files that a format consists of."""
    suffixes = {"paddle": (".pdmodel", ".pdiparams"), "onnx": (".onnx",)}
    return [Path(f"{path}{suffix}") for suffix in suffixes.get(kind, (".int4.onnx",))]


__all__ = ["FORMATS", "export", "files_of"]
