"""Layers in the one form that every writer and the reference know."""

from __future__ import annotations

from dataclasses import replace

from .frozen import FrozenModel, IntegerWeight, Layer, TensorInfo


def standardized(model: FrozenModel) -> FrozenModel:
    """Settings that only Paddle has become layers, numbers or values; the model is changed.

    An embedding's padding row becomes zeros in its table, a transposed first factor a transposition
    of its own, dimensions that are told by -1 or left out are counted.
    """
    layers: list[Layer] = []
    for layer in model.layers:
        if layer.kind == "lookup_table_v2" and layer.attributes["padding_idx"] >= 0:
            layer = _padded(model, layer)
        elif layer.kind == "matmul_v2" and layer.attributes["trans_x"]:
            layers.append(_transposition(model, layer))
            held = {**layer.attributes, "trans_x": False}
            inputs = (layers[-1].name, *layer.inputs[1:])
            layer = replace(layer, inputs=inputs, attributes=held)
        elif layer.kind == "squeeze2" and not layer.attributes["axes"]:
            ones = [i for i, size in enumerate(_known(model, layer, None)) if size == 1]
            layer = replace(layer, attributes={**layer.attributes, "axes": ones})
        elif layer.kind == "split" and -1 in layer.attributes["sections"]:
            layer = _counted(model, layer)
        layers.append(layer)
    model.layers = layers
    return model


def _padded(model: FrozenModel, layer: Layer) -> Layer:
    """Paddle writes zeros for the padding index, whatever the table holds there."""
    table, row = layer.inputs[0], layer.attributes["padding_idx"]
    name = f"{table}.padded{row}"
    if table in model.weights:
        held = model.weights[table]
        integers = held.integers.copy()
        integers[row] = 0
        model.weights[name] = IntegerWeight(integers, held.grid)
    else:
        value = model.constants[table].copy()
        value[row] = 0
        model.constants[name] = value
    attributes = {**layer.attributes, "padding_idx": -1}
    return replace(layer, inputs=(name, *layer.inputs[1:]), attributes=attributes)


def _transposition(model: FrozenModel, layer: Layer) -> Layer:
    source, name = layer.inputs[0], f"{layer.name}.transposed"
    info = model.shapes[source]
    axes = list(range(len(info.shape)))
    axes[-2:] = axes[-1], axes[-2]
    model.shapes[name] = TensorInfo(tuple(info.shape[axis] for axis in axes), info.dtype)
    return Layer("transpose2", (source,), (name,), {"axis": axes})


def _counted(model: FrozenModel, layer: Layer) -> Layer:
    sections = list(layer.attributes["sections"])
    axis = layer.attributes["axis"]
    size = _known(model, layer, axis)[axis]
    sections[sections.index(-1)] = size - sum(part for part in sections if part > 0)
    return replace(layer, attributes={**layer.attributes, "sections": sections})


def _known(model: FrozenModel, layer: Layer, axis: int | None) -> tuple[int, ...]:
    """The shape that a layer reads, known on ``axis``; the first dimension may be any batch."""
    shape = model.shapes[layer.inputs[0]].shape
    asked = shape[1:] if axis is None else (shape[axis],)
    if any(size < 0 for size in asked):
        raise ValueError(
            f"{layer.kind}, which computes {layer.name!r}, leaves to its input's shape "
            f"{list(shape)} what it does: give numbers."
        )
    return shape


__all__ = ["standardized"]
