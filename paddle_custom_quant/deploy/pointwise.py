"""Linear layers as convolutions of one pixel, for Paddle's oneDNN int8 mode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .fold import hoist_quantizers
from .frozen import FrozenModel, IntegerWeight, Layer, TensorInfo
from .operators import OPERATORS
from .program import needed

_PIXEL = {"axes": [2, 3]}


def linear_as_convolution(frozen: FrozenModel) -> FrozenModel:
    """Integer linear layers on ``[..., K]`` become convolutions on ``[N, K, 1, 1]``.

    Paddle's oneDNN int8 mode takes the scales of a linear layer's weights from the wrong elements
    (stretches of its memory, not output channels), so that weights saturate or lose bits; those of
    a convolution it takes rightly. The frozen model itself is left as it is.
    """
    integer = {layer.name for layer in frozen.integer_layers()}
    model = replace(frozen, layers=[], weights=dict(frozen.weights), shapes=dict(frozen.shapes))
    for layer in frozen.layers:
        if layer.kind == "matmul_v2" and layer.name in integer and _has_rows(frozen, layer):
            model.layers += _convolution(model, frozen, layer)
        else:
            model.layers.append(layer)
    hoist_quantizers(model)
    _join(model)
    return model


def _convolution(model: FrozenModel, frozen: FrozenModel, layer: Layer) -> list[Layer]:
    x, name, *bias = layer.inputs
    held = frozen.weights[name]
    kernel, wide, out = f"{name}.kernel", f"{layer.name}.pixel", f"{layer.name}.pixels"
    grid = held.grid if held.grid.axis is None else replace(held.grid, axis=0)
    integers = np.ascontiguousarray(held.integers.T)[:, :, None, None]
    model.weights[kernel] = IntegerWeight(integers, grid)
    model.weights.pop(name, None)
    *rows, size = _shape(frozen, x)
    batch = rows[0] if len(rows) == 1 else -1
    model.shapes[wide] = TensorInfo((batch, size, 1, 1))
    model.shapes[out] = TensorInfo((batch, len(integers), 1, 1))
    model.shapes.setdefault(layer.name, TensorInfo((*rows, len(integers))))
    before = Layer("unsqueeze2", (x,), (wide,), dict(_PIXEL))
    after = Layer("squeeze2", (out,), layer.outputs, dict(_PIXEL))
    if len(rows) > 1:
        before = Layer("reshape2", (x,), (wide,), {"shape": [-1, size, 1, 1]})
        after = Layer("reshape2", (out,), layer.outputs, {"shape": [*rows, len(integers)]})
    pixels = dict(OPERATORS["conv2d"].attributes or {})
    return [before, Layer("conv2d", (wide, kernel, *bias), (out,), pixels), after]


def _has_rows(frozen: FrozenModel, layer: Layer) -> bool:
    """Whether a reshape can put the rows back: at most one dimension is any."""
    rows = _shape(frozen, layer.inputs[0])[:-1]
    return len(frozen.weights[layer.inputs[1]].integers.shape) == 2 and rows.count(-1) < 2


def _shape(frozen: FrozenModel, name: str) -> tuple[int, ...]:
    producers = frozen.producers()
    while name not in frozen.shapes:
        name = producers[name].inputs[0]
    return tuple(frozen.shapes[name].shape)


def _join(model: FrozenModel) -> None:
    """A pixel's dimensions dropped and added again are kept."""
    producers = model.producers()
    kept: dict[str, str] = {}
    for layer in model.layers:
        source = producers.get(layer.inputs[0])
        pair = source is not None and (source.kind, layer.kind) == ("squeeze2", "unsqueeze2")
        if source is not None and pair and layer.attributes == source.attributes == _PIXEL:
            kept[layer.name] = source.inputs[0]
    model.layers = needed(
        [
            replace(layer, inputs=tuple(kept.get(name, name) for name in layer.inputs))
            for layer in model.layers
        ],
        model.outputs,
    )


__all__ = ["linear_as_convolution"]
