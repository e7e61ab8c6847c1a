"""The proof: a quantized program and what was made of it, on the same batches, engine by engine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Union

import numpy as np
import paddle
from paddle import static

from .. import compat
from ..qat.onednn import use_onednn
from .engines import ENGINES
from .float_model import serialized_float
from .formats import files_of, opened, write_format
from .freeze import freeze
from .frozen import QUANTIZE, FrozenModel
from .onednn_model import write_paddle_onednn
from .onnx_model import write_onnx
from .paddle_model import write_paddle
from .reference import check_inputs, run_reference
from .report import Comparison, LayerRow, Row
from .worker import Measured, measure

REFERENCE = "integer reference"
_REFERENCE_SAMPLES = 32
PROGRAM = "paddle-float"  # the format that is written from the program, not from what is frozen
Inputs = Union[np.ndarray, Mapping[str, np.ndarray]]


def compare(
    program: paddle.static.Program,
    scope: Any,
    inputs: Inputs,
    *,
    frozen: FrozenModel | None = None,
    outputs: Sequence[str] | None = None,
    models: Mapping[str, str | Path] | None = None,
    engines: Sequence[str] | None = None,
    batch_size: int = 100,
    threads: int = 1,
    timed: tuple[int, ...] = (),
    repeats: int = 20,
    layers: bool = False,
) -> Comparison:
    """Run the fake-quantized program and its deployed forms on the same inputs.

    Args:
        program: the trained test program.
        scope: holds its values.
        inputs: samples along the first axis; by name where the program has several inputs.
        frozen: what :func:`.freeze` made of the program; made here if left out.
        outputs: names of results, where ``frozen`` is left out; by default what nothing reads.
        models: files that were exported before, by format: the path without suffix that was given
            to :func:`.export` (Paddle's formats), the file itself (``"onnx"``).
            Written to a temporary folder if left out. Plain Paddle takes ``"paddle-float"``,
            oneDNN ``"paddle-onednn"``, both of them ``"paddle"`` where theirs is not named.
        engines: names of :data:`.engines.ENGINES`; all by default. Those that are not installed
            are listed as skipped.
        batch_size: samples that are run together; a program of a fixed batch has its own.
        threads: at most so many at work in an engine.
        timed: batch sizes to time, against the same net in float in the same engine.
        repeats: timed runs.
        layers: also compare layer by layer, with the integer reference.

    Raises:
        ValueError: inputs of the wrong shape or name, an engine that is not known, a batch size
            below 1, or a program that cannot be frozen.
    """
    scope = scope or static.global_scope()
    compat.require_legacy_static(program)
    unknown = [name for name in engines or () if name not in ENGINES]
    if unknown:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {unknown[0]!r}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}.")
    frozen = frozen or freeze(program, scope, outputs=outputs)
    batch_size = _fixed_batch(frozen) or batch_size
    fed = as_feed(frozen, inputs)
    expected = _run_program(program, scope, frozen, fed, batch_size)
    rows = [_reference_row(frozen, fed, expected)]
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(path) for kind, path in (models or {}).items()}
        for name in ENGINES if engines is None else engines:
            engine = ENGINES[name]
            if not engine.installed:
                rows.append(Row(name, skipped=f"{engine.package} is not installed"))
                continue
            try:
                path = _given(files, engine.format)
                if path is None and engine.format == PROGRAM:
                    path = _write_program(program, scope, frozen, Path(folder, name))
                elif path is None:
                    path = _write(frozen, engine.format, Path(folder, name))
                kind = "onnx" if engine.format == "onnx" else "paddle"
                as_float = _write(float_form(frozen), kind, Path(folder, f"{name}-float"))
                measured = measure(
                    name, path, fed, batch_size=batch_size, threads=threads, timed=timed,
                    float_model=as_float, repeats=repeats,
                )  # fmt: skip
                row = _row(name, measured, expected)
            except (RuntimeError, ImportError, ValueError) as error:
                rows.append(Row(name, failed=" ".join(str(error).split())))
                continue
            rows.append(replace(row, size=_bytes(path), float_size=_bytes(as_float)))
    table = _layer_rows(program, scope, frozen, fed) if layers else []
    notes = [f"{note.tensor}: {note.text}" for note in frozen.notes]
    return Comparison(len(next(iter(fed.values()))), rows, table, notes)


def as_feed(frozen: FrozenModel, inputs: Inputs) -> dict[str, np.ndarray]:
    """Inputs by name, checked.

    Raises:
        ValueError: a name is missing, or a shape is wrong.
    """
    if isinstance(inputs, Mapping):
        fed = {name: np.asarray(value) for name, value in inputs.items() if name in frozen.inputs}
    elif len(frozen.inputs) == 1:
        fed = {next(iter(frozen.inputs)): np.asarray(inputs)}
    else:
        raise ValueError(f"the program has inputs {', '.join(frozen.inputs)}: give them by name.")
    check_inputs(frozen, fed)
    counts = {name: len(value) for name, value in fed.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"all inputs must have the same number of samples, got {counts}.")
    return {name: value.astype(frozen.inputs[name].dtype) for name, value in fed.items()}


def run_one_sample(program: Any, scope: Any, frozen: FrozenModel, inputs: Inputs) -> None:
    """Check inputs and run the program on the first of them; a fixed batch where it has one.

    Raises:
        ValueError: a name is missing, or a shape is wrong.
    """
    fed, size = as_feed(frozen, inputs), _fixed_batch(frozen) or 1
    _run_program(program, scope, frozen, {n: v[:size] for n, v in fed.items()}, size)


def float_form(frozen: FrozenModel) -> FrozenModel:
    """The same net without quantizers, its weights as floats: what speed and size compare with."""
    source: dict[str, str] = {}
    layers = []
    for layer in frozen.layers:
        inputs = tuple(source.get(name, name) for name in layer.inputs)
        if layer.kind != QUANTIZE:
            layers.append(replace(layer, inputs=inputs))
            continue
        grid = layer.grid
        assert grid is not None
        if grid.qmin == 0:
            # The quantizer took the ReLU's place; the float net has one.
            layers.append(replace(layer, kind="relu", inputs=inputs, grid=None))
        else:
            source[layer.name] = inputs[0]
    constants = {**frozen.constants, **{n: w.real() for n, w in frozen.weights.items()}}
    outputs = tuple(source.get(name, name) for name in frozen.outputs)
    return replace(frozen, layers=layers, weights={}, constants=constants, outputs=outputs)


def _given(files: Mapping[str, Path], kind: str) -> Path | None:
    """What an engine opens, of the files that are there."""
    if kind.startswith("paddle"):
        kind = kind if kind in files else "paddle"
        return opened(files[kind], kind) if kind in files else None
    return files.get(kind)


def _write(frozen: FrozenModel, kind: str, path: Path) -> Path:
    writers: dict[str, Callable[[FrozenModel, Path], Any]] = {
        "paddle": write_paddle,
        "paddle-onednn": write_paddle_onednn,
        "onnx": write_onnx,
    }
    writers[kind](frozen, path)
    return opened(path, kind)


def _write_program(program: Any, scope: Any, frozen: FrozenModel, path: Path) -> Path:
    """The program itself, which is known to be one that can be frozen."""
    names = {"inputs": list(frozen.inputs), "outputs": _program_outputs(program, frozen)}
    write_format(path, PROGRAM, lambda: serialized_float(program, scope, **names), False)
    return opened(path, PROGRAM)


def _bytes(path: Path) -> int:
    files = [path] if path.suffix == ".onnx" else files_of(path, "paddle")
    return sum(file.stat().st_size for file in files)


def _run_program(
    program: Any, scope: Any, frozen: FrozenModel, fed: dict[str, np.ndarray], size: int,
    names: Sequence[str] | None = None,
) -> list[np.ndarray]:  # fmt: skip
    wanted = list(names or _program_outputs(program, frozen))
    pruned = program._prune([program.global_block().var(name) for name in wanted])
    # As it was trained: oneDNN's convolutions differ in the last bit.
    use_onednn(pruned, False)
    parts = []
    with static.scope_guard(scope):
        executor = static.Executor(paddle.CPUPlace())
        for at in range(0, len(next(iter(fed.values()))), size):
            batch = {name: value[at : at + size] for name, value in fed.items()}
            parts.append(executor.run(pruned, batch, fetch_list=wanted))
    return [np.concatenate(pieces) for pieces in zip(*parts)]


def _program_outputs(program: Any, frozen: FrozenModel) -> list[str]:
    return [name for name in frozen.outputs if program.global_block().has_var(name)]


def _reference_row(
    frozen: FrozenModel, fed: dict[str, np.ndarray], expected: list[np.ndarray]
) -> Row:
    count = _fixed_batch(frozen) or _REFERENCE_SAMPLES
    try:
        values = run_reference(frozen, {name: value[:count] for name, value in fed.items()})
    except ValueError as error:
        return Row(REFERENCE, skipped=str(error))
    measured = Measured([values[name] for name in frozen.outputs], [])
    row = _row(REFERENCE, measured, [e[:count] for e in expected], expected)
    layers = frozen.weighted_layers()
    return replace(row, integer_layers=len(frozen.integer_layers()), all_layers=len(layers))


def _fixed_batch(frozen: FrozenModel) -> int:
    """The only number of samples that the program takes; 0 if it takes any."""
    sizes = [info.shape[0] for info in frozen.inputs.values() if info.shape]
    return max([0, *sizes])


def _row(
    name: str,
    measured: Measured,
    expected: list[np.ndarray],
    whole: list[np.ndarray] | None = None,
) -> Row:
    if len(measured.outputs) < len(expected):
        raise ValueError(
            f"the model gives {len(measured.outputs)} results, the program {len(expected)}: it was "
            f"made from another net."
        )
    spans = [float(np.ptp(output)) or 1.0 for output in whole or expected]
    errors = []
    for got, wanted, span in zip(measured.outputs, expected, spans):
        if got.shape != wanted.shape:
            raise ValueError(
                f"the model gives results of shape {list(got.shape)}, the program "
                f"{list(wanted.shape)}: it was made from another net."
            )
        errors.append(np.abs(got.astype("float64") - wanted) / span)
    got, wanted = measured.outputs[0], expected[0]
    return Row(
        name,
        samples=len(got),
        top1_agreement=float((got.argmax(axis=-1) == wanted.argmax(axis=-1)).mean()),
        # NaN is a difference: np.max hands it on, and it is not within a step.
        largest=float(np.max([error.max() for error in errors])),
        mean=float(np.max([error.mean() for error in errors])),
        beyond_step=max(float((~(error <= 1 / 255)).mean()) for error in errors),
        integer_layers=sum(kernel.integer for kernel in measured.kernels),
        all_layers=len(measured.kernels),
        float_kernels=[f"{k.name} ({k.kind})" for k in measured.kernels if not k.integer],
        milliseconds=measured.milliseconds,
    )


def _layer_rows(
    program: Any, scope: Any, frozen: FrozenModel, fed: dict[str, np.ndarray]
) -> list[LayerRow]:
    """Each quantized tensor in the program and in the reference, in steps."""
    count = _fixed_batch(frozen) or _REFERENCE_SAMPLES
    few = {name: value[:count] for name, value in fed.items()}
    values = run_reference(frozen, few)
    block = program.global_block()
    names = {}
    for layer in frozen.layers:
        if layer.kind == QUANTIZE and layer.grid is not None:
            name = layer.name
            while not block.has_var(name) and name.endswith(".before"):
                name = name[: -len(".before")]
            if block.has_var(name):
                names[name] = float(layer.grid.step[0])
    held = _run_program(program, scope, frozen, few, count, list(names))
    rows = []
    for (name, step), value in zip(names.items(), held):
        off = np.abs(np.round((values[name] - value) / step))
        rows.append(LayerRow(name, float((off > 0).mean()), int(off.max())))
    return rows


__all__ = ["Comparison", "as_feed", "compare", "float_form", "run_one_sample"]
