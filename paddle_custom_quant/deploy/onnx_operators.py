"""How each operator without quantized weights is written in ONNX."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .frozen import FrozenModel, Layer, refuse_layout
from .onnx_graph import OnnxGraph

Convert = Callable[[OnnxGraph, FrozenModel, Layer], None]


def _same(kind: str, **names: str) -> Convert:
    """One node; ``names`` maps ONNX's attributes to Paddle's."""

    def convert(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
        held = {key: layer.attributes[name] for key, name in names.items()}
        graph.add_many(kind, list(layer.inputs), list(layer.outputs), **held)

    return convert


def _binary(kind: str) -> Convert:
    def convert(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
        x, y = layer.inputs
        axis = layer.attributes["axis"]
        ranks = [_rank(model, name) for name in (x, y)]
        if axis != -1 and axis + ranks[1] < ranks[0]:
            shape = [0] * ranks[1] + [1] * (ranks[0] - axis - ranks[1])
            y = graph.add("Reshape", [y, graph.constant(f"{y}.shape", shape, "int64")])
        graph.add(kind, [x, y], layer.name)

    return convert


def _rank(model: FrozenModel, name: str) -> int:
    if name in model.constants:
        return model.constants[name].ndim
    if name in model.weights:
        return model.weights[name].integers.ndim
    return len(model.shapes[name].shape)


def _clip(low: str | float, high: str | float) -> Convert:
    def convert(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
        bounds = [layer.attributes[b] if isinstance(b, str) else b for b in (low, high)]
        graph.add("Clip", [layer.inputs[0], *_numbers(graph, layer, *bounds)], layer.name)

    return convert


def _numbers(graph: OnnxGraph, layer: Layer, *values: float) -> list[str]:
    return [graph.constant(f"{layer.name}.number", value) for value in values]


def _hard_swish(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    held = layer.attributes
    zero, top, offset, scale = _numbers(
        graph, layer, 0.0, held["threshold"], held["offset"], held["scale"]
    )
    x = layer.inputs[0]
    gate = graph.add("Clip", [graph.add("Add", [x, offset]), zero, top])
    graph.add("Div", [graph.add("Mul", [x, gate]), scale], layer.name)


def _swish(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    x = layer.inputs[0]
    beta = layer.attributes.get("beta", 1.0)
    scaled = x if beta == 1.0 else graph.add("Mul", [x, *_numbers(graph, layer, beta)])
    graph.add("Mul", [x, graph.add("Sigmoid", [scaled])], layer.name)


def _gelu(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    x = layer.inputs[0]
    half, one = _numbers(graph, layer, 0.5, 1.0)
    if layer.attributes["approximate"]:
        cubic, root = _numbers(graph, layer, 0.044715, np.sqrt(2 / np.pi))
        cube = graph.add("Mul", [graph.add("Mul", [x, x]), x])
        inner = graph.add("Add", [x, graph.add("Mul", [cube, cubic])])
        bent = graph.add("Tanh", [graph.add("Mul", [inner, root])])
    else:
        (root,) = _numbers(graph, layer, np.sqrt(0.5))
        bent = graph.add("Erf", [graph.add("Mul", [x, root])])
    gate = graph.add("Mul", [graph.add("Add", [bent, one]), half])
    graph.add("Mul", [x, gate], layer.name)


def _pool(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    held, x = layer.attributes, layer.inputs[0]
    refuse_layout(layer, "data_format", "ONNX")
    average = held["pooling_type"] == "avg"
    kernel, strides, pads = held["ksize"], held["strides"], window_pads(layer)
    if held["global_pooling"] or (held["adaptive"] and list(kernel) == [1, 1]):
        graph.add("GlobalAveragePool" if average else "GlobalMaxPool", [x], layer.name)
        return
    if held["adaptive"]:
        size = model.shapes[x].shape[2:]
        if any(n <= 0 or n % k for n, k in zip(size, kernel)):
            raise ValueError(
                f"pool2d, which computes {layer.name!r}, divides {list(size)} into {list(kernel)} "
                f"adaptively: only whole, known parts can be written to ONNX."
            )
        kernel = strides = [n // k for n, k in zip(size, kernel)]
        pads = [0, 0, 0, 0]
    more = {"count_include_pad": int(not held["exclusive"])} if average else {}
    graph.add(
        "AveragePool" if average else "MaxPool",
        [x],
        layer.name,
        kernel_shape=list(kernel),
        strides=list(strides),
        ceil_mode=int(held["ceil_mode"]),
        pads=pads,
        **more,
    )


def window_pads(layer: Layer) -> list[int]:
    """Top, left, bottom, right."""
    algorithm = layer.attributes["padding_algorithm"]
    if algorithm not in ("EXPLICIT", "VALID"):
        raise ValueError(
            f"{layer.kind}, which computes {layer.name!r}, pads by {algorithm!r}: give numbers."
        )
    pads = [0, 0] if algorithm == "VALID" else list(layer.attributes["paddings"])
    if len(pads) == 2:
        return [pads[0], pads[1], pads[0], pads[1]]
    return [pads[0], pads[2], pads[1], pads[3]]


def _batch_norm(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    refuse_layout(layer, "data_layout", "ONNX")
    graph.add(
        "BatchNormalization", list(layer.inputs), layer.name, epsilon=layer.attributes["epsilon"]
    )


def _layer_norm(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    graph.needs(17)
    inputs = list(layer.inputs)
    start = layer.attributes["begin_norm_axis"]
    if start != _rank(model, inputs[0]) - 1:
        raise ValueError(
            f"layer_norm, which computes {layer.name!r}, normalises from dimension {start}: only "
            f"the last dimension can be written to ONNX."
        )
    if len(inputs) == 1:
        (one,) = _numbers(graph, layer, 1.0)
        inputs.append(one)
    graph.add(
        "LayerNormalization", inputs, layer.name, axis=-1, epsilon=layer.attributes["epsilon"]
    )


def _flatten(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    x, held = layer.inputs[0], layer.attributes
    rank = _rank(model, x)
    start, stop = (a % rank for a in (held["start_axis"], held["stop_axis"]))
    if start == 1 and stop == rank - 1:
        graph.add("Flatten", [x], layer.name, axis=1)
        return
    tail = list(model.shapes[x].shape[stop + 1 :])
    if any(size < 0 for size in tail):
        raise ValueError(f"flatten, which computes {layer.name!r}, keeps unknown dimensions.")
    shape = graph.constant(f"{layer.name}.shape", [0] * start + [-1] + tail, "int64")
    graph.add("Reshape", [x, shape], layer.name)


def _with_integers(kind: str, name: str) -> Convert:
    """One node whose setting is a tensor of integers."""

    def convert(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
        value = graph.constant(f"{layer.name}.{name}", list(layer.attributes[name]), "int64")
        graph.add(kind, [layer.inputs[0], value], layer.name)

    return convert


def _split(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    held, x = layer.attributes, layer.inputs[0]
    axis = held["axis"]
    parts = list(held["sections"])
    if not parts:
        size = model.shapes[x].shape[axis]
        parts = [size // held["num"]] * held["num"]
    if -1 in parts:
        parts[parts.index(-1)] = model.shapes[x].shape[axis] - sum(p for p in parts if p > 0)
    sizes = graph.constant(f"{layer.name}.sections", parts, "int64")
    graph.add_many("Split", [x, sizes], list(layer.outputs), axis=axis)


def _slice(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    held = layer.attributes
    tensors = [
        graph.constant(f"{layer.name}.{key}", list(held[key]), "int64")
        for key in ("starts", "ends", "axes")
    ]
    drop = list(held["decrease_axis"] or [])
    sliced = graph.add("Slice", [layer.inputs[0], *tensors], "" if drop else layer.name)
    if drop:
        axes = graph.constant(f"{layer.name}.dropped", drop, "int64")
        graph.add("Squeeze", [sliced, axes], layer.name)


def _scale(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    held, x = layer.attributes, layer.inputs[0]
    factor, bias = _numbers(graph, layer, held["scale"], held["bias"])
    if held["bias_after_scale"]:
        graph.add("Add", [graph.add("Mul", [x, factor]), bias], layer.name)
    else:
        graph.add("Mul", [graph.add("Add", [x, bias]), factor], layer.name)


def _mean(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    held, x = layer.attributes, layer.inputs[0]
    rank = _rank(model, x)
    axes = list(range(rank)) if held["reduce_all"] else list(held["dim"])
    keep = int(held["keep_dim"])
    if sorted(a % rank for a in axes) == [2, 3] and rank == 4 and keep:
        graph.add("GlobalAveragePool", [x], layer.name)
    else:
        # Written after the operator set is known: see onnx_model.
        graph.add("ReduceMean", [x], layer.name, axes=axes, keepdims=keep)


def _matmul(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    x, y = layer.inputs[:2]
    for flag, which in (("trans_x", 0), ("trans_y", 1)):
        if layer.attributes[flag]:
            name = layer.inputs[which]
            order = list(range(_rank(model, name)))
            order[-2:] = order[-1], order[-2]
            turned = graph.add("Transpose", [name], perm=order)
            x, y = (turned, y) if which == 0 else (x, turned)
    if len(layer.inputs) < 3:
        graph.add("MatMul", [x, y], layer.name)
    else:
        graph.add("Add", [graph.add("MatMul", [x, y]), layer.inputs[2]], layer.name)


def _conv(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    refuse_layout(layer, "data_format", "ONNX")
    held = layer.attributes
    graph.add(
        "Conv",
        list(layer.inputs),
        layer.name,
        strides=list(held["strides"]),
        dilations=list(held["dilations"]),
        group=held["groups"],
        pads=window_pads(layer),
    )


def _cast(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    from onnx import TensorProto

    kinds = {0: "BOOL", 2: "INT32", 3: "INT64", 5: "FLOAT", 6: "DOUBLE"}
    wanted: Any = layer.attributes["out_dtype"]
    if wanted not in kinds:
        raise ValueError(f"cast, which computes {layer.name!r}, to Paddle's type {wanted}.")
    graph.add("Cast", [layer.inputs[0]], layer.name, to=getattr(TensorProto, kinds[wanted]))


def _square(graph: OnnxGraph, model: FrozenModel, layer: Layer) -> None:
    graph.add("Mul", [layer.inputs[0], layer.inputs[0]], layer.name)


CONVERT: dict[str, Convert] = {
    "abs": _same("Abs"),
    "batch_norm": _batch_norm,
    "cast": _cast,
    "clip": _clip("min", "max"),
    "concat": _same("Concat", axis="axis"),
    "conv2d": _conv,
    "depthwise_conv2d": _conv,
    "elementwise_add": _binary("Add"),
    "elementwise_div": _binary("Div"),
    "elementwise_mul": _binary("Mul"),
    "elementwise_sub": _binary("Sub"),
    "exp": _same("Exp"),
    "flatten_contiguous_range": _flatten,
    "gelu": _gelu,
    "hard_sigmoid": _same("HardSigmoid", alpha="slope", beta="offset"),
    "hard_swish": _hard_swish,
    "layer_norm": _layer_norm,
    "leaky_relu": _same("LeakyRelu", alpha="alpha"),
    "lookup_table_v2": _same("Gather"),
    "matmul_v2": _matmul,
    "pool2d": _pool,
    "reduce_mean": _mean,
    "relu": _same("Relu"),
    "relu6": _clip(0.0, 6.0),
    "reshape2": _with_integers("Reshape", "shape"),
    "scale": _scale,
    "sigmoid": _same("Sigmoid"),
    "silu": _swish,
    "slice": _slice,
    "softmax": _same("Softmax", axis="axis"),
    "split": _split,
    "sqrt": _same("Sqrt"),
    "square": _square,
    "squeeze2": _with_integers("Squeeze", "axes"),
    "swish": _swish,
    "tanh": _same("Tanh"),
    "transpose2": _same("Transpose", perm="axis"),
    "unsqueeze2": _with_integers("Unsqueeze", "axes"),
}

__all__ = ["CONVERT", "window_pads"]
