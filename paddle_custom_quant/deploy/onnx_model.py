"""A frozen model as ONNX, for ONNX Runtime and OpenVINO."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .fold import channel_axis
from .frozen import (
    QUANTIZE,
    FrozenModel,
    Grid,
    IntegerWeight,
    Layer,
    TensorInfo,
    moves_values,
    quantizer_of,
)
from .one_producer import one_producer_each
from .onnx_graph import OnnxGraph
from .onnx_integers import INT32_ROOM, packing, storage, turned, with_room_for
from .onnx_operators import CONVERT
from .storage import refuse_existing, write_files
from .weights import in_int8, widened

INT4_OPSET = 21


def write_onnx(
    frozen: FrozenModel, path: str | Path, *, int4: bool = False, overwrite: bool = False
) -> Path:
    """Write one ``.onnx`` file with quantize / dequantize pairs around integer layers.

    Operator set 13 (17 with layer norm). Activations are uint8 (zero point 128 where negative
    values occur), weights int8 with a step per output channel, biases int32: the form that ONNX
    Runtime fuses into QLinearConv, QLinearAdd and QGemm, and OpenVINO into int8 layers.

    Args:
        frozen: what to write.
        path: the file; ``.onnx`` is appended if it is missing.
        int4: store weights of 4 bits and less in 4 bits (operator set 21). This halves the file;
            engines run such layers in float.
        overwrite: replace a file that is there.

    Raises:
        ImportError: the ``onnx`` package is not installed.
        ValueError: an operator has a setting that cannot be written.
        FileExistsError: the file is there and ``overwrite`` is not set.
        OSError: the file cannot be written; what was there stays whole.
    """
    path = Path(path)
    path = path if path.suffix == ".onnx" else Path(f"{path}.onnx")
    refuse_existing([path], overwrite)
    write_files({path: build_onnx(frozen, int4=int4).SerializeToString()}, overwrite)
    return path


def build_onnx(frozen: FrozenModel, *, int4: bool = False) -> Any:
    """The ``onnx.ModelProto`` that :func:`write_onnx` writes."""
    try:
        import onnx
    except ImportError:
        raise ImportError(
            "writing ONNX needs the onnx package: pip install paddle-custom-quant[deploy]"
        ) from None
    return _Writer(one_producer_each(frozen), int4).model(onnx)


class _Writer:
    def __init__(self, frozen: FrozenModel, int4: bool) -> None:
        self.frozen, self.int4 = frozen, int4
        names = {n for layer in frozen.layers for n in (*layer.inputs, *layer.outputs)}
        self.graph = OnnxGraph(names)
        self.producers, self.readers = frozen.producers(), frozen.readers()
        self.integer = {layer.name for layer in frozen.integer_layers()}
        self.written: dict[str, str] = {}
        # What a tensor is in integers: name, scale, zero point.
        self.integers: dict[str, tuple[str, str, str]] = {}

    def model(self, onnx: Any) -> Any:
        if self.int4:
            self.graph.needs(INT4_OPSET)
        if any(layer.kind == "layer_norm" for layer in self.frozen.layers):
            self.graph.needs(17)
        for layer in self.frozen.layers:
            if moves_values(layer) and layer.inputs[0] in self.integers:
                self._move(layer)
                continue
            for name in layer.inputs:
                self._dequantize(name)
            if layer.kind == QUANTIZE:
                assert layer.grid is not None
                self._quantize(layer, layer.grid)
            elif layer.name in self.integer:
                self._integer(layer)
            else:
                self._plain(layer)
        for name in self.frozen.outputs:
            self._dequantize(name)
        return self._assembled(onnx)

    def _plain(self, layer: Layer) -> None:
        for name in layer.inputs:
            self._constant(name)
        if layer.kind == "reduce_mean" and self.graph.opset >= 18:
            held = layer.attributes
            rank = len(self.frozen.shapes[layer.inputs[0]].shape)
            axes = list(range(rank)) if held["reduce_all"] else list(held["dim"])
            value = self.graph.constant(f"{layer.name}.axes", axes, "int64")
            keep = int(held["keep_dim"])
            self.graph.add("ReduceMean", [layer.inputs[0], value], layer.name, keepdims=keep)
            return
        CONVERT[layer.kind](self.graph, self.frozen, layer)

    def _constant(self, name: str) -> None:
        if name in self.written:
            return
        if name in self.frozen.constants:
            value = self.frozen.constants[name]
            self.graph.initializers[name] = _named(value, name)
            self.written[name] = name
        elif name in self.frozen.weights:
            self.written[name] = name
            self._weight(name, self.frozen.weights[name], None, name)

    def _quantize(self, layer: Layer, grid: Grid) -> None:
        graph, name = self.graph, layer.name
        kind, zero = storage(grid)
        scale = graph.constant(f"{name}.scale", grid.step[0])
        point = graph.constant(f"{name}.zero", zero, kind)
        integers = graph.add("QuantizeLinear", [layer.inputs[0], scale, point])
        low, high = grid.qmin + zero, grid.qmax + zero
        limits = np.iinfo(kind)
        if (low, high) != (limits.min, limits.max):
            bounds = [graph.constant(f"{name}.bound", v, kind) for v in (low, high)]
            integers = graph.add("Clip", [integers, *bounds])
        if self._rounds_before_a_sum(layer):
            # Of one pixel: it changes nothing, but OpenVINO would add before it rounds.
            integers = graph.add("MaxPool", [integers], kernel_shape=[1, 1], strides=[1, 1])
        self.integers[name] = integers, scale, point

    def _rounds_before_a_sum(self, layer: Layer) -> bool:
        """Whether a convolution's result is quantized for one addition alone."""
        source = self.producers.get(layer.inputs[0])
        convolution = source is not None and source.kind in ("conv2d", "depthwise_conv2d")
        readers = self.readers.get(layer.name, [])
        return convolution and [reader.kind for reader in readers] == ["elementwise_add"]

    def _move(self, layer: Layer) -> None:
        """Integers move as values do; the engine need not leave them."""
        held, *scale = self.integers[layer.inputs[0]]
        name = self.graph.fresh(f"{layer.name}.integers")
        self.frozen.shapes.setdefault(held, self.frozen.shapes[layer.inputs[0]])
        moved = replace(layer, inputs=(held,), outputs=(name,))
        CONVERT[layer.kind](self.graph, self.frozen, moved)
        self.integers[layer.name] = name, scale[0], scale[1]

    def _dequantize(self, name: str) -> None:
        if name in self.integers and name not in self.written:
            self.graph.add("DequantizeLinear", list(self.integers[name]), name)
            self.written[name] = name

    def _integer(self, layer: Layer) -> None:
        graph = self.graph
        x, weight_name = layer.inputs[:2]
        weight = self.frozen.weights[weight_name]
        axis = channel_axis(layer, weight.integers.ndim)
        weight, _ = in_int8(weight, axis)
        quantizer = quantizer_of(x, self.producers)
        assert quantizer is not None and quantizer.grid is not None
        input_step = float(quantizer.grid.step[0])
        if self.int4:
            weight = turned(weight, axis)
        packed = self.int4 and packing(weight.integers)[0] != "INT8"
        bias = None
        if len(layer.inputs) > 2:
            bias = self.frozen.constants[layer.inputs[2]].astype("float64")
        if not packed:
            if bias is not None:
                weight = with_room_for(bias, input_step, weight, axis)
            weight = widened(weight, axis, bias, input_step)
        inputs = [x, self._weight(layer.name, weight, axis)]
        if bias is not None and packed:
            # Integers of a fine step of its own: ONNX Runtime rounds a float bias to steps of
            # input times weight, which are coarse at 4 bits.
            fine = np.full(bias.shape, max(np.abs(bias).max(), 1e-30) / INT32_ROOM)
            inputs.append(self._bias(layer.name, bias, fine))
        elif bias is not None:
            step = np.broadcast_to(weight.grid.step, [weight.integers.shape[axis]])
            inputs.append(self._bias(layer.name, bias, step.astype("float64") * input_step))
        flat = layer.kind == "matmul_v2" and len(self._shape(x)) == 2
        if flat:
            graph.add("Gemm", inputs, layer.name)
        else:
            CONVERT[layer.kind](graph, self.frozen, replace(layer, inputs=tuple(inputs)))

    def _info(self, name: str) -> TensorInfo:
        while name not in self.frozen.shapes:
            name = self.producers[name].inputs[0]
        return self.frozen.shapes[name]

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._info(name).shape

    def _weight(self, stem: str, weight: IntegerWeight, axis: int | None, output: str = "") -> str:
        graph, q = self.graph, weight.integers
        axis = weight.grid.axis if axis is None else axis
        step = weight.grid.step
        if axis is not None:
            step = np.broadcast_to(step, [q.shape[axis]])
        scale = graph.constant(f"{stem}.weight.scale", step if axis is not None else step[0])
        kind, stored, point, shift = packing(q) if self.int4 else ("INT8", q, 0, 0.0)
        zeros = np.full(step.shape if axis is not None else [], point)
        if kind == "INT8":
            integers = graph.constant(f"{stem}.weight.int8", stored, "int8")
            zero = graph.constant("zero", zeros, "int8")
        else:
            integers = graph.packed(f"{stem}.weight.int4", kind, stored)
            zero = graph.packed("zero", kind, zeros)
        on_axis: dict[str, Any] = {} if axis is None else {"axis": axis}
        if not shift:
            name = output or graph.fresh(f"{stem}.weight")
            return graph.add("DequantizeLinear", [integers, scale, zero], name, **on_axis)
        factor = 2.0  # odd multiples of the step: every second integer, half a step aside
        doubled = graph.constant(
            f"{stem}.weight.scale", factor * step if axis is not None else factor * step[0]
        )
        real = graph.add("DequantizeLinear", [integers, doubled, zero], **on_axis)
        spread = [-1 if i == axis else 1 for i in range(q.ndim)]
        aside = graph.constant(f"{stem}.weight.shift", (step * shift).reshape(spread))
        return graph.add("Add", [real, aside], output or graph.fresh(f"{stem}.weight"))

    def _bias(self, stem: str, bias: np.ndarray, product: np.ndarray) -> str:
        graph = self.graph
        scale = graph.constant(f"{stem}.bias.scale", product)
        held = np.round(bias / product.astype("float32").astype("float64"))
        integers = graph.constant(f"{stem}.bias.int32", held, "int32")
        zero = graph.constant("zero", np.zeros(product.shape), "int32")
        return graph.add("DequantizeLinear", [integers, scale, zero], axis=0)

    def _assembled(self, onnx: Any) -> Any:
        helper = onnx.helper

        def kind(dtype: str) -> Any:
            return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

        inputs = [
            helper.make_tensor_value_info(name, kind(info.dtype), _dimensions(info.shape))
            for name, info in self.frozen.inputs.items()
        ]
        outputs = [
            helper.make_tensor_value_info(
                name,
                kind(self._info(name).dtype),
                _dimensions(self._shape(name)) if name in self.frozen.shapes else None,
            )
            for name in self.frozen.outputs
        ]
        graph = helper.make_graph(
            self.graph.nodes,
            "frozen",
            inputs,
            outputs,
            list(self.graph.initializers.values()),
        )
        opset = helper.make_opsetid("", self.graph.opset)
        versions = {13: 7, 17: 8, 21: 10}
        model = helper.make_model(
            graph,
            opset_imports=[opset],
            ir_version=versions[self.graph.opset],
            producer_name="paddle-custom-quant",
        )
        onnx.checker.check_model(model)
        return model


def _named(value: np.ndarray, name: str) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(value), name)


def _dimensions(shape: tuple[int, ...]) -> list[Any]:
    return [size if size >= 0 else ("batch" if i == 0 else f"d{i}") for i, size in enumerate(shape)]


__all__ = ["build_onnx", "write_onnx"]
