"""Layers that several quantizers read, once for each of them."""

from __future__ import annotations

from dataclasses import replace

from .frozen import QUANTIZE, WEIGHTED, FrozenModel, Layer, quantizer_of


def one_producer_each(frozen: FrozenModel) -> FrozenModel:
    """A layer that several quantizers read is there once for each.

    ONNX Runtime and oneDNN's operators round for the one quantizer that reads a layer; a copy costs
    less than leaving integer arithmetic, and rounds once where a quantizer behind another would
    round twice.
    Where something else reads the layer too, it stays float anyway, and there is no copy.
    """
    readers = frozen.readers()
    producers = frozen.producers()
    copies: dict[str, list[Layer]] = {}
    redirected: dict[str, str] = {}
    shapes = dict(frozen.shapes)
    for layer in frozen.layers:
        quantizers = [r for r in readers.get(layer.name, []) if r.kind == QUANTIZE]
        integer = layer.kind in (*WEIGHTED, "elementwise_add") and all(
            quantizer_of(name, producers) for name in layer.inputs[:1]
        )
        alone = len(quantizers) == len(readers.get(layer.name, [])) > 1
        if not integer or not alone or layer.name in frozen.outputs:
            continue
        for number, quantizer in enumerate(quantizers[1:], start=1):
            name = f"{layer.name}.copy{number}"
            copies.setdefault(layer.name, []).append(replace(layer, outputs=(name,)))
            redirected[quantizer.name] = name
            if layer.name in shapes:
                shapes[name] = shapes[layer.name]
    layers = []
    for layer in frozen.layers:
        if layer.name in redirected:
            layer = replace(layer, inputs=(redirected[layer.name],))
        layers += [layer, *copies.get(layer.name, [])]
    return replace(frozen, layers=layers, shapes=shapes)


__all__ = ["one_producer_each"]
