"""The operators between integer layers, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from math import erf
from typing import Any, Callable

import numpy as np

from .frozen import Layer
from .onnx_operators import window_pads

Operation = Callable[..., Any]
_erf = np.vectorize(erf, otypes=["float32"])


def windows(
    x: np.ndarray,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    fill: float,
) -> np.ndarray:
    """Sliding windows of ``x`` [N, C, H, W]: ``[N, C, rows, columns, height, width]``."""
    top, left, bottom, right = pads
    padded = np.pad(
        x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=x.dtype.type(fill)
    )
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, kernel))
    windows: Any = np.lib.stride_tricks.sliding_window_view  # its stubs want a single axis
    view: np.ndarray = windows(padded, reach, axis=(2, 3))
    return view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def _needs(layer: Layer, holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(
            f"the integer reference has no {layer.kind} {what}, which computes {layer.name!r}."
        )


def check_layout(layer: Layer) -> None:
    """Raise ValueError if channels are last."""
    _needs(layer, layer.attributes["data_format"] in ("NCHW", "AnyLayout"), "with channels last")


def _pool(layer: Layer, x: np.ndarray) -> np.ndarray:
    held = layer.attributes
    check_layout(layer)
    _needs(layer, not held["ceil_mode"] or held["global_pooling"], "that rounds its size up")
    average = held["pooling_type"] == "avg"
    reduce = np.mean if average else np.max
    if held["global_pooling"] or (held["adaptive"] and list(held["ksize"]) == [1, 1]):
        return reduce(x, axis=(2, 3), keepdims=True).astype(x.dtype)
    if held["adaptive"]:
        rows, columns = held["ksize"]
        whole = x.shape[2] % rows == 0 and x.shape[3] % columns == 0
        _needs(layer, whole, f"from {list(x.shape[2:])} to {[rows, columns]} adaptively")
        parts = x.reshape(*x.shape[:2], rows, x.shape[2] // rows, columns, x.shape[3] // columns)
        return reduce(parts, axis=(3, 5)).astype(x.dtype)
    settings = held["ksize"], held["strides"], (1, 1), window_pads(layer)
    if not average:
        return windows(x, *settings, -np.inf if x.dtype.kind == "f" else 0).max(axis=(4, 5))
    total = windows(x, *settings, 0).sum(axis=(4, 5))
    if held["exclusive"]:
        return total / windows(np.ones_like(x), *settings, 0).sum(axis=(4, 5))
    return total / (held["ksize"][0] * held["ksize"][1])


def _binary(function: Callable[..., np.ndarray]) -> Operation:
    def apply(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        axis = layer.attributes["axis"]
        if axis != -1 and axis + y.ndim < x.ndim:
            y = y.reshape(*y.shape, *[1] * (x.ndim - axis - y.ndim))
        return function(x, y)

    return apply


def _unary(function: Callable[[np.ndarray], np.ndarray]) -> Operation:
    return lambda layer, x: function(x)


def _conv(layer: Layer, x: np.ndarray, w: np.ndarray, bias: Any = None) -> np.ndarray:
    held = layer.attributes
    check_layout(layer)
    view = windows(x, w.shape[2:], held["strides"], held["dilations"], window_pads(layer), 0)
    size, each = w.shape[1], w.shape[0] // held["groups"]
    parts = [
        np.einsum(
            "nchwij,ocij->nohw",
            view[:, g * size : (g + 1) * size],
            w[g * each : (g + 1) * each],
            optimize=True,
        )
        for g in range(held["groups"])
    ]
    y = np.concatenate(parts, axis=1)
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def _matmul(layer: Layer, x: np.ndarray, y: np.ndarray, bias: Any = None) -> np.ndarray:
    x = np.swapaxes(x, -1, -2) if layer.attributes["trans_x"] else x
    y = np.swapaxes(y, -1, -2) if layer.attributes["trans_y"] else y
    return x @ y if bias is None else x @ y + bias


def _batch_norm(layer: Layer, x: np.ndarray, *parameters: np.ndarray) -> np.ndarray:
    shape = [1, -1] + [1] * (x.ndim - 2)
    gamma, beta, mean, variance = (p.reshape(shape) for p in parameters)
    return (x - mean) / np.sqrt(variance + layer.attributes["epsilon"]) * gamma + beta


def _layer_norm(layer: Layer, x: np.ndarray, scale: Any = 1.0, bias: Any = 0.0) -> np.ndarray:
    axes = tuple(range(layer.attributes["begin_norm_axis"], x.ndim))
    _needs(layer, len(axes) == 1, f"over {len(axes)} dimensions")
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = (centred**2).mean(axis=axes, keepdims=True)
    y = centred / np.sqrt(variance + layer.attributes["epsilon"])
    return y * np.reshape(scale, (-1,)) + np.reshape(bias, (-1,))


def _softmax(layer: Layer, x: np.ndarray) -> np.ndarray:
    axis = layer.attributes["axis"]
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _gelu(layer: Layer, x: np.ndarray) -> np.ndarray:
    if layer.attributes["approximate"]:
        return x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x * 0.5 * (1 + _erf(x / np.sqrt(2)))


def _reshape(layer: Layer, x: np.ndarray) -> np.ndarray:
    shape = layer.attributes["shape"]
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _flatten(layer: Layer, x: np.ndarray) -> np.ndarray:
    start, stop = (layer.attributes[k] % x.ndim for k in ("start_axis", "stop_axis"))
    return x.reshape(*x.shape[:start], -1, *x.shape[stop + 1 :])


def _split(layer: Layer, x: np.ndarray) -> list[np.ndarray]:
    held = layer.attributes
    if not held["sections"]:
        return np.split(x, held["num"], axis=held["axis"])
    return np.split(x, np.cumsum(held["sections"])[:-1], axis=held["axis"])


def _slice(layer: Layer, x: np.ndarray) -> np.ndarray:
    held = layer.attributes
    chosen = [slice(None)] * x.ndim
    for axis, start, end in zip(held["axes"], held["starts"], held["ends"]):
        chosen[axis] = slice(start, end)
    y = x[tuple(chosen)]
    return np.squeeze(y, tuple(held["decrease_axis"])) if held["decrease_axis"] else y


def _mean(layer: Layer, x: np.ndarray) -> np.ndarray:
    held = layer.attributes
    axes = None if held["reduce_all"] else tuple(held["dim"])
    return x.mean(axis=axes, keepdims=held["keep_dim"])


def _scale(layer: Layer, x: np.ndarray) -> np.ndarray:
    factor, bias = (np.float32(layer.attributes[k]) for k in ("scale", "bias"))
    return x * factor + bias if layer.attributes["bias_after_scale"] else (x + bias) * factor


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _hard_swish(layer: Layer, x: np.ndarray) -> np.ndarray:
    held = layer.attributes
    return x * np.clip(x + held["offset"], 0, held["threshold"]) / held["scale"]


_TYPES = {0: "bool", 2: "int32", 3: "int64", 5: "float32", 6: "float64"}

OPERATIONS: dict[str, Operation] = {
    "abs": _unary(np.abs),
    "batch_norm": _batch_norm,
    "cast": lambda layer, x: x.astype(_TYPES[layer.attributes["out_dtype"]]),
    "clip": lambda layer, x: np.clip(x, layer.attributes["min"], layer.attributes["max"]),
    "concat": lambda layer, *parts: np.concatenate(parts, axis=layer.attributes["axis"]),
    "conv2d": _conv,
    "depthwise_conv2d": _conv,
    "elementwise_add": _binary(np.add),
    "elementwise_div": _binary(np.divide),
    "elementwise_mul": _binary(np.multiply),
    "elementwise_sub": _binary(np.subtract),
    "exp": _unary(np.exp),
    "flatten_contiguous_range": _flatten,
    "gelu": _gelu,
    "hard_sigmoid": lambda layer, x: np.clip(
        x * layer.attributes["slope"] + layer.attributes["offset"], 0, 1
    ),
    "hard_swish": _hard_swish,
    "layer_norm": _layer_norm,
    "leaky_relu": lambda layer, x: np.where(x > 0, x, x * layer.attributes["alpha"]),
    "lookup_table_v2": lambda layer, table, ids: table[ids],
    "matmul_v2": _matmul,
    "pool2d": _pool,
    "reduce_mean": _mean,
    "relu": _unary(lambda x: np.maximum(x, 0)),
    "relu6": _unary(lambda x: np.clip(x, 0, 6)),
    "reshape2": _reshape,
    "scale": _scale,
    "sigmoid": _unary(_sigmoid),
    "silu": _unary(lambda x: x * _sigmoid(x)),
    "slice": _slice,
    "softmax": _softmax,
    "split": _split,
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "squeeze2": lambda layer, x: np.squeeze(x, tuple(layer.attributes["axes"])),
    "swish": lambda layer, x: x * _sigmoid(x * layer.attributes["beta"]),
    "tanh": _unary(np.tanh),
    "transpose2": lambda layer, x: x.transpose(layer.attributes["axis"]),
    "unsqueeze2": lambda layer, x: np.expand_dims(x, tuple(layer.attributes["axes"])),
}

__all__ = ["OPERATIONS", "check_layout", "windows"]
