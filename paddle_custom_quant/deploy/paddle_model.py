"""A frozen model as ``.pdmodel`` and ``.pdiparams``, for Paddle Inference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from paddle import static

from .. import compat
from .fold import channel_axis
from .formats import write_format
from .frozen import (
    QUANTIZE,
    WEIGHTED,
    FrozenModel,
    Grid,
    Layer,
    quantizer_of,
)
from .pointwise import linear_as_convolution
from .program_writer import INT8_MAX, ProgramWriter, eight_bits, fits_int8, stored
from .weights import in_int8, reaching_127


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


def build_program(frozen: FrozenModel, scope: Any) -> ProgramWriter:
    """The frozen model as a program of the old kind, its values set in ``scope``."""
    writer = _Writer(linear_as_convolution(frozen), scope)
    with static.program_guard(writer.program, static.Program()):
        writer.write()
    return writer


class _Writer(ProgramWriter):
    """Appends a frozen model's layers, a quantize / dequantize pair for each quantizer."""

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

    def _fed_by_quantizer(self, layer: Layer) -> Layer:
        """oneDNN wants the quantizer right in front: values of its grid pass it unchanged."""
        source = layer.inputs[0]
        maker = self.producers[source]
        quantizer = quantizer_of(source, self.producers)
        if maker is quantizer or quantizer is None or quantizer.grid is None:
            return layer
        again = f"{source}.again"
        if not self.block.has_var(again):
            if quantizer.grid.qmax > INT8_MAX:
                # Without it, oneDNN would take what was moved for signed, with half the levels.
                positive = f"{source}.positive"
                self._append("relu", (source,), (positive,), {})
                source = positive
            self._pair(source, again, quantizer.grid)
        return replace(layer, inputs=(again, *layer.inputs[1:]))

    def _quantize(self, layer: Layer, grid: Grid) -> None:
        step = float(grid.step[0])
        source = layer.inputs[0]
        if not fits_int8(grid):
            self._round(source, layer.name, grid)
            return
        if grid.qmax > INT8_MAX:
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
        limit = 255 if grid.qmax > INT8_MAX else INT8_MAX
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
                attrs={"quant_axis": -1, **eight_bits(signed=limit == INT8_MAX)},
            )


__all__ = ["build_program", "serialized", "write_paddle"]
