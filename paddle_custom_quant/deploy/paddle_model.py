"""A frozen model as ``.pdmodel`` and ``.pdiparams``, for Paddle Inference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import static

from .. import compat
from ..scope import write
from .fold import channel_axis
from .formats import write_format
from .frozen import (
    QUANTIZE,
    WEIGHTED,
    FrozenModel,
    Grid,
    IntegerWeight,
    Layer,
    quantizer_of,
)
from .operators import OPERATORS
from .pointwise import linear_as_convolution
from .weights import in_int8, reaching_127

_INT8_MAX = 127


def write_paddle(frozen: FrozenModel, path: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write ``path.pdmodel`` and ``path.pdiparams``.

    They hold standard operators only. Weights are int8, each with one ``dequantize_linear``;
    quantized activations pass through a clip and a ``quantize_linear`` / ``dequantize_linear``
    pair, the form that Paddle Inference's oneDNN int8 passes turn into integer kernels. Weights are
    written as these kernels hold them: each channel reaches 127.

    Args:
        frozen: what to write.
        path: without a suffix.
        overwrite: replace files that are there.

    Returns:
        The two paths.

    Raises:
        FileExistsError: a file is there and ``overwrite`` is not set.
        OSError: the files cannot be written; what was there stays whole.
    """
    return write_format(path, "paddle", lambda: serialized(frozen), overwrite)


def serialized(frozen: FrozenModel) -> tuple[bytes, bytes]:
    """The contents of the two files that :func:`write_paddle` writes."""
    scope = static.Scope()
    with compat.legacy_static():
        writer = build_program(frozen, scope)
        return stored(writer.program, scope, list(frozen.inputs), list(frozen.outputs))


def stored(program: Any, scope: Any, inputs: list[str], outputs: list[str]) -> tuple[bytes, bytes]:
    """What to write of a program of the old kind: the program from inputs to outputs, its values.

    Call it inside ``legacy_static()``.
    """
    block = program.global_block()
    feeds, fetches = [block.var(name) for name in inputs], [block.var(name) for name in outputs]
    with static.scope_guard(scope):
        executor = static.Executor(paddle.CPUPlace())
        content = static.serialize_program(feeds, fetches, program=program)
        values = static.serialize_persistables(feeds, fetches, executor, program=program)
    return without_origins(content), values


def without_origins(content: bytes) -> bytes:
    """Drop where in Python each operator was appended: paths, and half of a small file."""
    program = static.Program.parse_from_string(content)
    for op in program.global_block().ops:
        op.desc.remove_attr("op_callstack")
    return program.desc.serialize_to_string()


def build_program(frozen: FrozenModel, scope: Any) -> ProgramWriter:
    """The frozen model as a program of the old kind, its values set in ``scope``."""
    writer = ProgramWriter(linear_as_convolution(frozen), scope)
    with static.program_guard(writer.program, static.Program()):
        writer.write()
    return writer


class ProgramWriter:
    """Appends a frozen model's layers to a new program."""

    def __init__(self, frozen: FrozenModel, scope: Any) -> None:
        self.frozen, self.scope = frozen, scope
        self.producers = frozen.producers()
        self.program = static.Program()
        self.block = self.program.global_block()
        self.place = paddle.CPUPlace()

    def write(self) -> None:
        """Append everything."""
        integers = self.frozen.integer_layers()
        for name, info in self.frozen.inputs.items():
            static.data(name, [*info.shape], info.dtype)
        for name, value in self.frozen.constants.items():
            self._constant(name, value)
        axes = {
            layer.inputs[1]: channel_axis(layer, self.frozen.weights[layer.inputs[1]].integers.ndim)
            for layer in self.frozen.layers
            if layer.kind in WEIGHTED and layer.inputs[1] in self.frozen.weights
        }
        # Paddle's integers have no zero point: what they do not hold is computed in float.
        unfit = {layer.inputs[1] for layer in integers if not self._reads_integers(layer)}
        multiplied = {layer.inputs[1] for layer in integers}
        for name, weight in self.frozen.weights.items():
            axis = axes.get(name, weight.grid.axis or 0)
            if name in unfit:
                self._constant(name, weight.real())
            else:
                fitted, _ = in_int8(weight, axis)
                self._weight(name, reaching_127(fitted, axis) if name in multiplied else fitted)
        integer = {layer.name for layer in integers if self._reads_integers(layer)}
        for layer in self.frozen.layers:
            if layer.name in integer:
                layer = self._fed_by_quantizer(layer)
            if layer.kind == QUANTIZE:
                assert layer.grid is not None
                self._quantize(layer, layer.grid)
            elif layer.kind in WEIGHTED and len(layer.inputs) > 2:
                self._with_bias(layer)
            else:
                self._append(layer.kind, layer.inputs, layer.outputs, layer.attributes)

    def _reads_integers(self, layer: Layer) -> bool:
        quantizer = quantizer_of(layer.inputs[0], self.producers)
        return bool(quantizer and quantizer.grid and fits_int8(quantizer.grid))

    def _append(
        self,
        kind: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        attributes: dict[str, Any],
    ) -> None:
        spec = OPERATORS[kind]
        writes = _fill(spec.outputs, outputs)
        for slot in spec.unused:
            writes[slot] = [f"{outputs[0]}.{slot.lower()}"]
        if kind == "batch_norm":
            writes["MeanOut"], writes["VarianceOut"] = [inputs[3]], [inputs[4]]
            attributes = {**attributes, "is_test": True, "use_global_stats": True}
        made = [name for names in writes.values() for name in names]
        for name in made:
            if not self.block.has_var(name):
                info = self.frozen.shapes.get(name)
                dtype = info.dtype if info else "float32"
                self.block.create_var(name=name, dtype=dtype, shape=info.shape if info else None)
        reads = _fill(spec.inputs, inputs)
        self.block.append_op(type=kind, inputs=reads, outputs=writes, attrs=attributes)

    def _fed_by_quantizer(self, layer: Layer) -> Layer:
        """oneDNN wants the quantizer right in front: values of its grid pass it unchanged."""
        source = layer.inputs[0]
        maker = self.producers[source]
        quantizer = quantizer_of(source, self.producers)
        if maker is quantizer or quantizer is None or quantizer.grid is None:
            return layer
        again = f"{source}.again"
        if not self.block.has_var(again):
            if quantizer.grid.qmax > _INT8_MAX:
                # Without it, oneDNN would take what was moved for signed, with half the levels.
                positive = f"{source}.positive"
                self._append("relu", (source,), (positive,), {})
                source = positive
            self._pair(source, again, quantizer.grid)
        return replace(layer, inputs=(again, *layer.inputs[1:]))

    def _with_bias(self, layer: Layer) -> None:
        inner = f"{layer.name}.product"
        self._append(layer.kind, layer.inputs[:2], (inner,), layer.attributes)
        axis = -1 if layer.kind == "matmul_v2" else 1
        self._append("elementwise_add", (inner, layer.inputs[2]), layer.outputs, {"axis": axis})

    def _quantize(self, layer: Layer, grid: Grid) -> None:
        step = float(grid.step[0])
        source = layer.inputs[0]
        if not fits_int8(grid):
            self._round(source, layer.name, grid)
            return
        if grid.qmax > _INT8_MAX:
            # oneDNN takes what a ReLU wrote for unsigned, and only that.
            clipped = f"{layer.name}.clipped"
            if grid.qmax == 255:
                self._append("relu", (source,), (clipped,), {})
            else:
                self._append("relu6", (source,), (clipped,), {"threshold": grid.qmax * step})
            source = clipped
        elif (grid.qmin, grid.qmax) != (-128, 127):
            clipped = f"{layer.name}.clipped"
            bounds = {"min": grid.qmin * step, "max": grid.qmax * step}
            self._append("clip", (source,), (clipped,), bounds)
            source = clipped
        self._pair(source, layer.name, grid)

    def _pair(self, source: str, name: str, grid: Grid) -> None:
        limit = 255 if grid.qmax > _INT8_MAX else _INT8_MAX
        step = float(grid.step[0])
        scale = self._constant(f"{name}.scale", np.array([limit * step], "float32"))
        zero = self._constant(f"{name}.zero", np.zeros([1], "int32"))
        inner = f"{name}.integers"
        for kind, read, wrote in (
            ("quantize_linear", source, inner),
            ("dequantize_linear", inner, name),
        ):
            self.block.create_var(name=wrote, dtype="float32")
            self.block.append_op(
                type=kind,
                inputs={"X": [read], "Scale": [scale], "ZeroPoint": [zero]},
                outputs={"Y": [wrote]},
                attrs={"quant_axis": -1, **_range(limit)},
            )

    def _round(self, source: str, name: str, grid: Grid) -> None:
        """More than 8 bits: no integer kernel, the formula itself."""
        step = float(grid.step[0])
        bounds = {"min": grid.qmin * step, "max": grid.qmax * step}
        self._append("clip", (source,), (f"{name}.clipped",), bounds)
        self._append("scale", (f"{name}.clipped",), (f"{name}.steps",), _times(1.0 / step))
        self.block.create_var(name=f"{name}.integers", dtype="float32")
        self.block.append_op(
            type="round",
            inputs={"X": [f"{name}.steps"]},
            outputs={"Out": [f"{name}.integers"]},
        )
        self._append("scale", (f"{name}.integers",), (name,), _times(step))

    def _weight(self, name: str, weight: IntegerWeight) -> None:
        stored = self._constant(f"{name}.int8", weight.integers)
        step = weight.grid.step.astype("float64") * _INT8_MAX
        scale = self._constant(f"{name}.scale", step.astype("float32"))
        zero = self._constant(f"{name}.zero", np.zeros(step.shape, "int32"))
        axis = -1 if step.size == 1 and weight.grid.axis is None else weight.grid.axis
        self.block.create_var(name=name, dtype="float32", shape=list(weight.integers.shape))
        self.block.append_op(
            type="dequantize_linear",
            inputs={"X": [stored], "Scale": [scale], "ZeroPoint": [zero]},
            outputs={"Y": [name]},
            attrs={"quant_axis": axis, **_range(_INT8_MAX)},
        )

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.block.create_var(
            name=name,
            shape=list(value.shape),
            dtype=str(value.dtype),
            persistable=True,
            stop_gradient=True,
        )
        write(self.scope, self.place, name, np.ascontiguousarray(value))
        return name


def fits_int8(grid: Grid) -> bool:
    """Whether signed or unsigned 8 bits hold the integers, without a zero point.

    Unsigned ones begin at 0: Paddle Inference keeps one of a clip and the ReLU behind it.
    """
    return grid.qmin >= -128 and grid.qmax <= (255 if grid.qmin == 0 else 127)


def _range(limit: int) -> dict[str, int]:
    """How Paddle's two lines are told the width; both passes to int8 want 8 bits."""
    held: dict[str, int] = {"bit_length": 8, "round_type": 0}
    if compat.PADDLE3:
        held.update(qmin=0 if limit == 255 else -limit - 1, qmax=limit)
    return held


def _times(factor: float) -> dict[str, Any]:
    return {"scale": factor, "bias": 0.0, "bias_after_scale": True}


def _fill(slots: tuple[str, ...], names: tuple[str, ...]) -> dict[str, list[str]]:
    """Distribute names over slots; a slot that holds a list takes the rest."""
    filled: dict[str, list[str]] = {}
    rest = list(names)
    for slot in slots:
        if slot.endswith("*"):
            filled[slot[:-1]], rest = rest, []
        elif rest:
            filled[slot.rstrip("?")] = [rest.pop(0)]
    return filled


__all__ = ["build_program", "serialized", "stored", "write_paddle"]
