"""A frozen model as oneDNN's own int8 operators, for Paddle Inference's oneDNN int8 mode."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from paddle import static

from .. import compat
from .formats import write_format
from .frozen import (
    QUANTIZE,
    WEIGHTED,
    FrozenModel,
    Grid,
    IntegerWeight,
    Layer,
    moves_values,
    quantizer_of,
    refuse_layout,
)
from .one_producer import one_producer_each
from .operators import OPERATORS
from .pointwise import linear_as_convolution
from .program_writer import ProgramWriter, fits_int8, stored
from .weights import in_int8

_INT8 = {"use_mkldnn": True, "mkldnn_data_type": "int8"}
# As they stand where a program gives no settings: of one pixel.
_CONV_OF_A_PIXEL = dict(OPERATORS["conv2d"].attributes or {})
_POOL_OF_A_PIXEL = dict(OPERATORS["pool2d"].attributes or {})


def write_paddle_onednn(
    frozen: FrozenModel, path: str | Path, *, overwrite: bool = False
) -> list[Path]:
    """Write ``path.onednn.pdmodel`` and ``path.onednn.pdiparams``.

    Convolutions, linear layers and residual additions are written as the int8 operators into which
    Paddle Inference's passes would turn them, with the steps of the frozen model. The passes
    themselves round each channel's weights to 127 steps of its largest, and add before they round.

    Weights whose integers do not fit int8 (DoReFa's at 8 bits) are rounded to 127 steps of each
    channel's largest.

    Load it with ``enable_mkldnn()`` and ``enable_mkldnn_int8()``, on an x86 processor.

    Args:
        frozen: what to write.
        path: without a suffix.
        overwrite: replace files that are there.

    Returns:
        The two paths.

    Raises:
        ValueError: a convolution or pool has its channels last.
        FileExistsError: a file is there and ``overwrite`` is not set.
        OSError: the files cannot be written; what was there stays whole.
    """
    return write_format(path, "paddle-onednn", lambda: serialized_onednn(frozen), overwrite)


def serialized_onednn(frozen: FrozenModel) -> tuple[bytes, bytes]:
    """The contents of the two files that :func:`write_paddle_onednn` writes."""
    scope = static.Scope()
    with compat.legacy_static():
        writer = _Writer(one_producer_each(linear_as_convolution(frozen)), scope)
        with static.program_guard(writer.program, static.Program()):
            writer.write()
        return stored(writer.program, scope, list(frozen.inputs), list(frozen.outputs))


@dataclass(frozen=True)
class _Integers:
    """A tensor's integers: the variable that holds them, their step and whether it is uint8."""

    variable: str
    step: float
    unsigned: bool

    @property
    def scale(self) -> float:
        """What oneDNN multiplies real values by."""
        return 1.0 / self.step


class _Writer(ProgramWriter):
    """Appends a frozen model's layers, tensors of integers between them."""

    def __init__(self, frozen: FrozenModel, scope: Any) -> None:
        super().__init__(frozen, scope)
        self.readers = frozen.readers()
        self.held: dict[str, _Integers] = {}
        self.real: set[str] = set()
        self.prepared: set[str] = set()
        self.integer = {
            layer.name
            for layer in frozen.integer_layers()
            # A linear layer on rows of unknown number could not become a convolution.
            if layer.kind != "matmul_v2" and self._reads_integers(layer)
        }

    def write(self) -> None:
        """Append everything."""
        for name, info in self.frozen.inputs.items():
            static.data(name, [*info.shape], info.dtype)
        for name, value in self.frozen.constants.items():
            self._constant(name, value)
        fitted = {layer.inputs[1] for layer in self.frozen.layers if layer.name in self.integer}
        for name, weight in self.frozen.weights.items():
            if name not in fitted:
                self._constant(name, weight.real())
        for layer in self.frozen.layers:
            if "data_format" in layer.attributes:
                refuse_layout(layer, "data_format", "oneDNN")
            if layer.name in self.integer:
                self._convolution(layer)
            elif layer.kind == QUANTIZE:
                if layer.name not in self.held:
                    self._quantize_apart(layer)
            elif moves_values(layer) and layer.inputs[0] in self.held:
                self._move(layer)
            elif self._adds_integers(layer):
                self._addition(layer)
            else:
                self._float(layer)
        for name in self.frozen.outputs:
            self._dequantize(name)

    def _float(self, layer: Layer) -> None:
        for name in layer.inputs:
            self._dequantize(name)
        if len(layer.inputs) > 2 and layer.kind in WEIGHTED:
            self._with_bias(layer)
        else:
            self._append(layer.kind, layer.inputs, layer.outputs, layer.attributes)

    def _dequantize(self, name: str) -> None:
        if name in self.held and name not in self.real:
            integers = self.held[name]
            self._operator(
                "dequantize",
                {"Input": [integers.variable]},
                name,
                "float32",
                {"Scale": integers.scale},
            )
            self.real.add(name)

    def _convolution(self, layer: Layer) -> None:
        source, name = layer.inputs[:2]
        weight, _ = in_int8(self.frozen.weights[name], 0)
        taken = self.held[source].variable
        if name in self.prepared:
            # A copy of a layer: Paddle finds what it prepared by the names of input and weight.
            taken = self._copy(self.held[source], f"{layer.name}.input")
        else:
            self._weight(name, weight)
            self.prepared.add(name)
        inputs = {"Input": [taken], "Filter": [name]}
        if len(layer.inputs) > 2:
            inputs["Bias"] = [layer.inputs[2]]
        settings = dict(layer.attributes)
        settings["Scale_weights"] = [float(1.0 / step) for step in weight.grid.step]
        self._fused(layer, self.held[source], inputs, settings)

    def _addition(self, layer: Layer) -> None:
        """One branch through a convolution that changes nothing, the other added to it."""
        first, second = layer.inputs
        if self.held[second].unsigned:
            first, second = second, first
        added = self.held[second]
        # oneDNN adds to the memory it is given.
        summand = added.variable
        if first == second or not self._read_once(second):
            summand = self._copy(added, f"{layer.name}.summand")
        channels = self.frozen.shapes[layer.name].shape[1]
        inputs = {
            "Input": [self.held[first].variable],
            "Filter": [self._ones(f"{layer.name}.ones", channels)],
            "ResidualData": [summand],
        }
        settings = {
            **_CONV_OF_A_PIXEL,
            "groups": channels,
            "Scale_weights": [1.0],
            "Scale_in_eltwise": added.scale,
            "fuse_residual_connection": True,
        }
        self._fused(layer, self.held[first], inputs, settings, signed=True)

    def _read_once(self, name: str) -> bool:
        alone = len(self.readers[name]) == 1 and name not in self.frozen.outputs
        return alone and self.producers[name].kind == QUANTIZE

    def _copy(self, integers: _Integers, name: str) -> str:
        kind = "uint8" if integers.unsigned else "int8"
        self._operator("pool2d", {"X": [integers.variable]}, name, kind, _POOL_OF_A_PIXEL)
        return name

    def _fused(
        self,
        layer: Layer,
        source: _Integers,
        inputs: dict[str, list[str]],
        settings: dict[str, Any],
        signed: bool = False,
    ) -> None:
        """A convolution that rounds for the quantizer behind it, if one is."""
        settings = {**settings, "Scale_in": source.scale, "is_test": True}
        quantizer = self._rounded_for(layer, signed)
        if quantizer is None or quantizer.grid is None:
            settings["force_fp32_output"] = True
            self._operator("fused_conv2d", inputs, layer.name, "float32", settings)
            return
        grid = quantizer.grid
        step, unsigned = float(grid.step[0]), grid.qmin >= 0 and not signed
        variable = f"{quantizer.name}.integers"
        settings.update(_activation(grid, unsigned), Scale_out=1.0 / step)
        self._operator("fused_conv2d", inputs, variable, "uint8" if unsigned else "int8", settings)
        self.held[quantizer.name] = _Integers(variable, step, unsigned)

    def _ones(self, name: str, channels: int) -> str:
        """Append weights that change nothing and return their name.

        Paddle finds a prepared kernel by the name of its weights, whatever else it was prepared
        for: each use has its own.
        """
        grid = Grid(np.ones(channels, "float32"), -1, 1, axis=0)
        self._weight(name, IntegerWeight(np.ones([channels, 1, 1, 1], "int8"), grid))
        return name

    def _rounded_for(self, layer: Layer, signed: bool) -> Layer | None:
        """The quantizer that reads this layer, if the layer's own kernel can round for it."""
        readers = self.readers.get(layer.name, [])
        if layer.name in self.frozen.outputs or len(readers) != 1:
            return None
        (reader,) = readers
        if reader.kind != QUANTIZE or reader.grid is None or not fits_int8(reader.grid):
            return None
        if signed and reader.grid.qmax > 127:
            return None
        return reader if self._stays_integer(reader.name) else None

    def _stays_integer(self, name: str) -> bool:
        """Whether an integer layer reads it; Paddle drops the rounding of what none reads."""
        return any(
            reader.name in self.integer
            or self._adds_integers(reader)
            or (moves_values(reader) and self._stays_integer(reader.name))
            for reader in self.readers.get(name, [])
        )

    def _adds_integers(self, layer: Layer) -> bool:
        """Whether both branches are integers, and the sum is rounded to signed ones again."""
        if layer.kind != "elementwise_add" or layer.name in self.frozen.outputs:
            return False
        makers = [quantizer_of(name, self.producers) for name in layer.inputs]
        grids = [maker.grid for maker in makers if maker is not None and maker.grid is not None]
        shapes = [self.frozen.shapes.get(name) for name in layer.inputs]
        if len(grids) < 2 or shapes[0] is None or shapes[0] != shapes[1]:
            return False
        if len(shapes[0].shape) != 4:
            return False
        if not all(fits_int8(grid) for grid in grids) or all(grid.qmin >= 0 for grid in grids):
            return False
        return self._rounded_for(layer, signed=True) is not None

    def _quantize_apart(self, layer: Layer) -> None:
        grid = layer.grid
        assert grid is not None
        self._dequantize(layer.inputs[0])
        if not fits_int8(grid):
            self._round(layer.inputs[0], layer.name, grid)
            return
        source, step, unsigned = layer.inputs[0], float(grid.step[0]), grid.qmin >= 0
        if (grid.qmin, grid.qmax) not in ((0, 255), (-128, 127)):
            clipped = f"{layer.name}.clipped"
            bounds = {"min": grid.qmin * step, "max": grid.qmax * step}
            self._append("clip", (source,), (clipped,), bounds)
            source = clipped
        self._rounded(source, layer.name, _Integers("", step, unsigned))

    def _rounded(self, source: str, name: str, like: _Integers) -> None:
        settings = {
            "Scale": like.scale,
            "is_negative_input": not like.unsigned,
            "output_format": "NHWC",
        }
        variable = f"{name}.integers"
        kind = "uint8" if like.unsigned else "int8"
        self._operator("quantize", {"Input": [source]}, variable, kind, settings)
        self.held[name] = replace(like, variable=variable)

    def _move(self, layer: Layer) -> None:
        taken = self.held[layer.inputs[0]]
        settings = self._moving(layer)
        if settings is None:
            self._float(layer)
            self._rounded(layer.name, layer.name, taken)
            return
        kind = layer.kind if layer.kind in ("pool2d", "transpose2") else "reshape2"
        variable = f"{layer.name}.integers"
        dtype = "uint8" if taken.unsigned else "int8"
        self._operator(kind, {"X": [taken.variable]}, variable, dtype, settings)
        self.held[layer.name] = _Integers(variable, taken.step, taken.unsigned)

    def _moving(self, layer: Layer) -> dict[str, Any] | None:
        """Settings of the int8 operator that moves values; ``None`` if oneDNN has none for them."""
        held = layer.attributes
        if layer.kind == "transpose2":
            return dict(held)
        if layer.kind == "pool2d":
            uneven = held["adaptive"] and list(held["ksize"]) != [1, 1]
            return None if uneven or held["ceil_mode"] else dict(held)
        shape = self.frozen.shapes.get(layer.name)
        if shape is None or sum(size < 0 for size in shape.shape) > 1:
            return None
        return {"shape": list(shape.shape)}

    def _operator(
        self,
        kind: str,
        inputs: dict[str, list[str]],
        name: str,
        dtype: str,
        attributes: dict[str, Any],
    ) -> None:
        slot = "Output" if kind in ("quantize", "dequantize", "fused_conv2d") else "Out"
        outputs = {slot: [name]}
        self.block.create_var(name=name, dtype=dtype)
        if kind in ("reshape2", "transpose2"):
            outputs["XShape"] = [f"{name}.xshape"]
            self.block.create_var(name=f"{name}.xshape", dtype="float32")
        self.block.append_op(
            type=kind, inputs=inputs, outputs=outputs, attrs={**_INT8, **attributes}
        )


def _activation(grid: Grid, unsigned: bool) -> dict[str, Any]:
    """The clip behind a layer; its end at 255, -128 or 127 is that of the integer type."""
    step = float(grid.step[0])
    if unsigned and grid.qmax == 255:
        return {"fuse_activation": "relu", "fuse_alpha": 0.0, "fuse_beta": 0.0}
    if (grid.qmin, grid.qmax) == (-128, 127):
        return {}
    kind = "relu6" if unsigned else "clip"
    return {"fuse_activation": kind, "fuse_alpha": grid.qmin * step, "fuse_beta": grid.qmax * step}


__all__ = ["serialized_onednn", "write_paddle_onednn"]
