"""A trained program as it is, for Paddle Inference in float: bit for bit, weights in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import static

from .. import compat
from ..qat.convert import bake
from ..qat.lower import lowered
from ..scope import read, write
from .compact import Compact, Table, compact
from .formats import write_format
from .freeze import freeze
from .program import ProgramReader
from .program_writer import stored


def write_paddle_float(
    program: static.Program,
    scope: Any,
    path: str | Path,
    *,
    outputs: Sequence[str] | None = None,
    inputs: Sequence[str] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write ``path.float.pdmodel`` and ``path.float.pdiparams``.

    They hold the trained test program itself, in Paddle's own operators: batch norm is not folded,
    activations keep their quantizers. Run without oneDNN and without Paddle's graph passes
    (``config.disable_mkldnn()``, ``config.switch_ir_optim(False)``) and with the same batch size,
    they give the outputs that the program has without oneDNN (``pcq.use_onednn(program, False)``)
    bit for bit. Quantized weights are stored in 8 bits where that gives the same floats.

    Args:
        program: a trained, quantized test program of the old kind.
        scope: holds the trained values, and is not changed; ``None`` for the global scope.
        path: without a suffix.
        outputs: names to fetch; by default what no operator reads.
        inputs: names to feed; by default the program's data variables.
        overwrite: replace files that are there.

    Returns:
        The two paths.

    Raises:
        TypeError: ``program`` is no program of the old kind.
        ValueError: it cannot be frozen (:func:`.freeze`); the message says why.
        FileExistsError: a file is there and ``overwrite`` is not set.
        OSError: the files cannot be written; what was there stays whole.
    """

    def contents() -> tuple[bytes, bytes]:
        freeze(program, scope, inputs=inputs, outputs=outputs)
        return serialized_float(program, scope, inputs=inputs, outputs=outputs)

    return write_format(path, "paddle-float", contents, overwrite)


def serialized_float(
    program: static.Program,
    scope: Any = None,
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> tuple[bytes, bytes]:
    """The contents of the two files that :func:`write_paddle_float` writes.

    The program must be one that :func:`.freeze` takes.
    """
    scope = scope or static.global_scope()
    place = paddle.CPUPlace()
    program = lowered(program)
    reader = ProgramReader(program, scope, inputs, outputs)
    model = reader.read()
    own = static.Scope()
    with compat.legacy_static():
        baked, values = bake(program, place, scope)
        block = baked.global_block()
        for name, value in values.items():
            site = reader.sites.get(name)
            axis = site.target.channel_axis if site else None
            form = compact(value, model.weights.get(name), axis) if _is_float32(value) else None
            if form is None:
                write(own, place, name, value)
            else:
                _put_together(block, name, form, own)
        for variable in block.vars.values():
            if variable.persistable and own.find_var(variable.name) is None:
                kept = read(scope, variable.name)
                if kept is not None:
                    write(own, place, variable.name, kept)
        return stored(baked, own, list(model.inputs), reader.outputs)


def _is_float32(value: np.ndarray) -> bool:
    return value.dtype == np.float32 and value.ndim > 0


def _put_together(block: Any, name: str, form: Compact, scope: Any) -> None:
    """Let operators at the beginning of the block compute a weight from what is stored of it."""
    block.var(name).persistable = False
    made: list[tuple[str, dict[str, str], dict[str, str], dict[str, Any]]] = []
    if isinstance(form, Table):
        ids = _cast(block, made, _constant(block, scope, f"{name}/indices", form.indices), "int32")
        if form.offsets is not None:
            start = _constant(block, scope, f"{name}/offsets", form.offsets)
            row = _variable(block, f"{name}/rows", "int32")
            made.append(("elementwise_add", {"X": ids, "Y": start}, {"Out": row}, {"axis": -1}))
            ids = row
        table = _constant(block, scope, f"{name}/levels", form.levels)
        found = _variable(block, f"{name}/values", "float32")
        reads = {"W": table, "Ids": ids}
        made.append(("lookup_table_v2", reads, {"Out": found}, {"padding_idx": -1}))
        shape = {"shape": list(form.indices.shape)}
        writes = {"Out": name, "XShape": _variable(block, f"{name}/shape", "float32")}
        made.append(("reshape2", {"X": found}, writes, shape))
    else:
        held = _constant(block, scope, f"{name}/integers", form.integers)
        reads = {
            "X": _cast(block, made, held, "float32"),
            "Y": _constant(block, scope, f"{name}/step", form.step),
        }
        made.append(("elementwise_mul", reads, {"Out": name}, {"axis": -1}))
    for position, (kind, inputs, outputs, attributes) in enumerate(made):
        block._insert_op(
            position,
            type=kind,
            inputs={slot: [held] for slot, held in inputs.items()},
            outputs={slot: [held] for slot, held in outputs.items()},
            attrs=attributes,
        )


def _cast(block: Any, made: list[Any], name: str, dtype: str) -> str:
    wide = _variable(block, f"{name}/{dtype}", dtype)
    kinds = {"in_dtype": block.var(name).dtype, "out_dtype": block.var(wide).dtype}
    made.append(("cast", {"X": name}, {"Out": wide}, kinds))
    return wide


def _constant(block: Any, scope: Any, name: str, value: np.ndarray) -> str:
    name = _variable(block, name, str(value.dtype), list(value.shape), persistable=True)
    write(scope, paddle.CPUPlace(), name, np.ascontiguousarray(value))
    return name


def _variable(block: Any, name: str, dtype: str, shape: Any = None, **more: Any) -> str:
    while block.has_var(name):
        name += "/"
    block.create_var(name=name, dtype=dtype, shape=shape, stop_gradient=True, **more)
    return name


__all__ = ["serialized_float", "write_paddle_float"]
