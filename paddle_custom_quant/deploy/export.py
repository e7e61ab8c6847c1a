"""``export``: from a trained program to files that engines load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paddle

from .float_model import serialized_float
from .formats import FORMATS, files_of
from .freeze import freeze
from .frozen import FrozenModel
from .onednn_model import serialized_onednn
from .onnx_model import build_onnx
from .paddle_model import serialized
from .storage import refuse_existing, write_files


def export(
    program: paddle.static.Program | FrozenModel,
    scope: Any = None,
    path: str | Path = "model",
    formats: Sequence[str] = ("paddle", "onnx"),
    *,
    overwrite: bool = False,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> FrozenModel:
    """Freeze a trained program and write it in every format, all files or none.

    Args:
        program: the trained test program, or what :func:`.freeze` made of it.
        scope: holds the trained values; the global scope by default.
        path: without suffix; ``.pdmodel`` and ``.pdiparams`` (behind ``.onednn`` and ``.float``),
            ``.onnx`` and ``.int4.onnx`` are appended.
        formats: ``"paddle"`` (:func:`.write_paddle`, standard operators), ``"paddle-onednn"``
            (:func:`.write_paddle_onednn`, oneDNN's int8 kernels as trained), ``"paddle-float"``
            (:func:`.write_paddle_float`, the trained program bit for bit), ``"onnx"``,
            ``"onnx-int4"`` (:func:`.write_onnx`).
        overwrite: replace files that are there.
        inputs: names to feed; by default the program's data variables.
        outputs: names to fetch; by default what no operator reads.

    Returns:
        The frozen model; its ``notes`` say what stays float, and why.

    Raises:
        ValueError: a format that is not known, a program that cannot be deployed, or
            ``"paddle-float"`` of a frozen model.
        FileExistsError: a file is there and ``overwrite`` is not set.
        ImportError: ONNX is asked for and the ``onnx`` package is not installed.
        OSError: the files cannot be written; what was there stays whole.
    """
    formats = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"formats are {', '.join(FORMATS)}, got {unknown or formats}.")
    refuse_existing([file for name in formats for file in files_of(path, name)], overwrite)
    contents: dict[Path, bytes] = {}
    if not isinstance(program, FrozenModel):
        frozen = freeze(program, scope, inputs=inputs, outputs=outputs)
        if "paddle-float" in formats:
            held = serialized_float(program, scope, inputs=inputs, outputs=outputs)
            contents.update(zip(files_of(path, "paddle-float"), held))
    elif "paddle-float" in formats:
        raise ValueError(
            "paddle-float holds the trained program itself, and this is a frozen model: pass the "
            "program and its scope."
        )
    else:
        frozen = program
    for name in formats:
        files = files_of(path, name)
        if name == "paddle":
            contents.update(zip(files, serialized(frozen)))
        elif name == "paddle-onednn":
            contents.update(zip(files, serialized_onednn(frozen)))
        elif name != "paddle-float":
            built = build_onnx(frozen, int4=name == "onnx-int4")
            contents[files[0]] = built.SerializeToString()
    write_files(contents, overwrite)
    return frozen


__all__ = ["export"]
