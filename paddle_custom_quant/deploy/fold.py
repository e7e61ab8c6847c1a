"""Batch norm folded into the integer layer in front of it: steps are scaled, integers stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .frozen import (
    QUANTIZE,
    WEIGHTED,
    FrozenModel,
    Grid,
    IntegerWeight,
    Layer,
    along,
    moves_values,
)
from .program import needed


def fold(model: FrozenModel) -> FrozenModel:
    """Apply every rewrite; the model is changed and returned."""
    _untranspose(model)
    _own_weights(model)
    _fold_affine(model)
    _absorb_clips(model)
    hoist_quantizers(model)
    _absorb_clips(model)
    _drop_unused(model)
    return model


def channel_axis(layer: Layer, rank: int) -> int:
    """The output-channel axis of a weighted layer's weight."""
    return rank - 1 if layer.kind == "matmul_v2" else 0


def weight_array(model: FrozenModel, name: str) -> np.ndarray | None:
    """Integers or floats of a weight; ``None`` if the name is no constant."""
    held = model.weights.get(name)
    return held.integers if held else model.constants.get(name)


def _untranspose(model: FrozenModel) -> None:
    """A weight that is read transposed is stored transposed."""
    for index, layer in enumerate(model.layers):
        if layer.kind != "matmul_v2" or not layer.attributes["trans_y"]:
            continue
        name = layer.inputs[1]
        array = weight_array(model, name)
        if array is None:
            continue
        turned = f"{name}.transposed"
        if name in model.weights:
            held = model.weights[name]
            axis = None if held.grid.axis is None else array.ndim - 1 - held.grid.axis
            weight = IntegerWeight(
                np.ascontiguousarray(np.swapaxes(array, -1, -2)), replace(held.grid, axis=axis)
            )
            model.weights[turned] = weight
        else:
            model.constants[turned] = np.ascontiguousarray(np.swapaxes(array, -1, -2))
        model.layers[index] = replace(
            layer,
            inputs=(layer.inputs[0], turned, *layer.inputs[2:]),
            attributes={**layer.attributes, "trans_y": False},
        )


def _own_weights(model: FrozenModel) -> None:
    """A weight that several layers read becomes one for each: each folds what follows it."""
    readers = model.readers()
    for index, layer in enumerate(model.layers):
        if layer.kind not in WEIGHTED or len(layer.inputs) < 2:
            continue
        name = layer.inputs[1]
        if weight_array(model, name) is None or len(readers[name]) < 2:
            continue
        own = f"{layer.name}.weight"
        if name in model.weights:
            model.weights[own] = model.weights[name]
        else:
            model.constants[own] = model.constants[name]
        model.layers[index] = replace(layer, inputs=(layer.inputs[0], own, *layer.inputs[2:]))


def _fold_affine(model: FrozenModel) -> None:
    """Batch norm and constants behind a weighted layer become its scale and bias."""
    changed = True
    while changed:
        changed = False
        readers, producers = model.readers(), model.producers()
        for layer in model.layers:
            source = producers.get(layer.inputs[0])
            if source is None or source.kind not in WEIGHTED or source.name in model.outputs:
                continue
            if len(readers[source.name]) > 1 or weight_array(model, source.inputs[1]) is None:
                continue
            folded = _affine(model, layer, source)
            if folded is not None:
                scale, shift = folded
                merged = _scaled(model, source, scale, shift)
                _replace_pair(model, source, layer, merged)
                # A factor scales what was added before: no parameter is a summand any more.
                if layer.kind in ("batch_norm", "elementwise_add"):
                    added = layer.inputs[2 if layer.kind == "batch_norm" else 1]
                    model.added_last[merged.inputs[2]] = added
                changed = True
                break


def _affine(
    model: FrozenModel, layer: Layer, source: Layer
) -> tuple[np.ndarray | None, np.ndarray] | None:
    """(factor, summand) for each output channel, if that is what ``layer`` does."""
    array = weight_array(model, source.inputs[1])
    assert array is not None
    channels = array.shape[channel_axis(source, array.ndim)]
    if layer.kind == "batch_norm":
        if layer.attributes["data_layout"] != "NCHW" or _output_axis(model, source) != 1:
            return None
        gamma, beta, mean, variance = (
            model.constants[name].astype("float64") for name in layer.inputs[1:]
        )
        scale = gamma / np.sqrt(variance + layer.attributes["epsilon"])
        return scale, beta - mean * scale
    if layer.kind not in ("elementwise_add", "elementwise_div", "elementwise_mul"):
        return None
    number = _one_a_channel(model, layer, source, channels)
    if number is None:
        return None
    if layer.kind == "elementwise_add":
        return None, number
    nothing = np.zeros_like(number)
    return (number if layer.kind == "elementwise_mul" else 1 / number), nothing


def _one_a_channel(
    model: FrozenModel, layer: Layer, source: Layer, channels: int
) -> np.ndarray | None:
    """The second operand, if it is a constant with one number for each output channel."""
    number = model.constants.get(layer.inputs[1])
    if number is None or number.size != channels:
        return None
    conv = source.kind != "matmul_v2"
    own = (1,) if conv else (-1, _output_axis(model, source))
    along_channels = number.ndim == 1 and layer.attributes["axis"] in own
    spread = conv and number.ndim == 4 and number.shape == (1, channels, 1, 1)
    return number.reshape(-1).astype("float64") if along_channels or spread else None


def _output_axis(model: FrozenModel, source: Layer) -> int:
    """The dimension of a layer's result that its channels lie on; -1 if its rank is not known."""
    if source.kind != "matmul_v2":
        return 1
    info = model.shapes.get(source.name)
    return -1 if info is None else len(info.shape) - 1


def _scaled(model: FrozenModel, layer: Layer, scale: np.ndarray | None, shift: np.ndarray) -> Layer:
    name = layer.inputs[1]
    array = weight_array(model, name)
    assert array is not None
    axis = channel_axis(layer, array.ndim)
    channels = array.shape[axis]
    bias = model.constants[layer.inputs[2]].astype("float64") if len(layer.inputs) > 2 else 0.0
    if scale is not None:
        bias = bias * scale
        if name in model.weights:
            model.weights[name] = _scaled_integers(model.weights[name], scale, axis)
        else:
            spread = along(scale, array.ndim, axis)
            model.constants[name] = (array.astype("float64") * spread).astype("float32")
    total = np.broadcast_to(np.asarray(bias) + shift, [channels]).astype("float32")
    bias_name = f"{layer.name}.bias"
    model.constants[bias_name] = total
    return replace(layer, inputs=(layer.inputs[0], name, bias_name))


def _scaled_integers(weight: IntegerWeight, scale: np.ndarray, axis: int) -> IntegerWeight:
    """Integers stay, steps change; a negative factor turns the integers' sign."""
    grid, q = weight.grid, weight.integers
    if grid.axis not in (None, axis):
        raise ValueError(f"a weight has steps along axis {grid.axis}, its channels are on {axis}.")
    step = np.broadcast_to(grid.step.astype("float64"), scale.shape) * np.abs(scale)
    sign = np.where(scale < 0, -1, 1)
    dead = step <= 0
    if dead.any():
        # A channel that batch norm multiplies by zero: no integers, any step.
        sign = np.where(dead, 0, sign)
        step = np.where(dead, step.max() if step.max() > 0 else 1.0, step)
    q = q.astype("int16") * along(sign, q.ndim, axis).astype("int16")
    low, high = grid.qmin, grid.qmax
    if (sign < 0).any():
        low, high = min(low, -high), max(high, -low)
    small = q.min() >= -128 and q.max() <= 127
    held = Grid(step.astype("float32"), low, high, axis)
    return IntegerWeight(q.astype("int8") if small else q, held)


def _replace_pair(model: FrozenModel, first: Layer, second: Layer, merged: Layer) -> None:
    """``merged`` takes the place of both and writes what the second wrote."""
    merged = replace(merged, outputs=second.outputs)
    layers = []
    for layer in model.layers:
        if layer is second:
            layers.append(merged)
        elif layer is not first:
            layers.append(layer)
    model.layers = layers


def _absorb_clips(model: FrozenModel) -> None:
    """A quantizer that clips anyway reads what stands before a ReLU or clip."""
    producers = model.producers()
    for index, layer in enumerate(model.layers):
        if layer.kind != QUANTIZE:
            continue
        grid, source = layer.grid, layer.inputs[0]
        assert grid is not None
        while True:
            maker = producers.get(source)
            limits = _limits(maker) if maker else None
            if maker is None or limits is None:
                break
            low, high = (limit / float(grid.step[0]) for limit in limits)
            # A clip between two levels would round to either: only whole levels are absorbed
            # exactly, and rounding is monotone, so that the clip's own level bounds the rest.
            qmin = max(grid.qmin, int(np.round(max(low, -(2**30)))))
            qmax = min(grid.qmax, int(np.round(min(high, 2**30))))
            grid, source = replace(grid, qmin=qmin, qmax=qmax), maker.inputs[0]
        model.layers[index] = replace(layer, inputs=(source,), grid=grid)
    model.layers = needed(model.layers, model.outputs)


def _limits(layer: Layer) -> tuple[float, float] | None:
    if layer.kind == "relu":
        return 0.0, np.inf
    if layer.kind == "relu6":
        return 0.0, 6.0
    if layer.kind == "clip":
        return layer.attributes["min"], layer.attributes["max"]
    return None


def hoist_quantizers(model: FrozenModel) -> None:
    """Quantize before values are moved, wherever that is possible; the model is changed."""
    while _hoist_one(model):
        pass


def _hoist_one(model: FrozenModel) -> bool:
    """Quantize in front of what only moves values, so that it runs on integers."""
    producers, readers = model.producers(), model.readers()
    for layer in model.layers:
        if layer.kind != QUANTIZE:
            continue
        mover = producers.get(layer.inputs[0])
        if mover is None or not moves_values(mover) or mover.name in model.outputs:
            continue
        if len(readers[mover.name]) > 1:
            continue
        before = f"{layer.name}.before"
        model.shapes[before] = model.shapes.get(mover.inputs[0], model.shapes[mover.name])
        model.shapes[layer.name] = model.shapes[mover.name]
        quantize = replace(layer, inputs=mover.inputs[:1], outputs=(before,))
        moved = replace(mover, inputs=(before, *mover.inputs[1:]), outputs=layer.outputs)
        layers = []
        for other in model.layers:
            if other is mover:
                layers += [quantize, moved]
            elif other is not layer:
                layers.append(other)
        model.layers = layers
        return True
    return False


def _drop_unused(model: FrozenModel) -> None:
    model.layers = needed(model.layers, model.outputs)
    read = {name for layer in model.layers for name in layer.inputs}
    model.weights = {n: w for n, w in model.weights.items() if n in read}
    model.constants = {n: c for n, c in model.constants.items() if n in read}


__all__ = ["channel_axis", "fold", "hoist_quantizers", "weight_array"]
