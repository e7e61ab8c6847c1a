"""A frozen model executed in NumPy, its integer layers with integer arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .fold import channel_axis
from .frozen import QUANTIZE, FrozenModel, Grid, Layer, quantizer_of
from .onnx_operators import window_pads
from .reference_operators import OPERATIONS, check_layout, windows
from .weights import in_int8


def run_reference(frozen: FrozenModel, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values of every tensor, for locating where an engine or a program differs.

    Integer layers multiply int8 by int8 (or uint8) into integers that fit 32 bits and scale the
    sum once, in float32; quantizers divide by the step and round to nearest, ties to even, as the
    engines do.

    Args:
        frozen: the model.
        inputs: what it is fed, by name.

    Returns:
        Real (float32) values by tensor name.

    Raises:
        ValueError: an input is missing or has another shape, a sum would not fit 32 bits, or an
            operator has a setting that the reference does not know.
    """
    check_inputs(frozen, inputs)
    return _Reference(frozen, inputs).run()


def check_inputs(frozen: FrozenModel, inputs: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless ``inputs`` are what the model is fed."""
    for name, info in frozen.inputs.items():
        if name not in inputs:
            raise ValueError(f"input {name!r} is missing; given: {', '.join(inputs) or 'none'}.")
        shape = np.shape(inputs[name])
        fits = len(shape) == len(info.shape) and all(
            size in (-1, given) for size, given in zip(info.shape, shape)
        )
        if not fits or 0 in shape:
            wanted = ", ".join("any" if size < 0 else str(size) for size in info.shape)
            raise ValueError(f"input {name!r} must have the shape [{wanted}], got {list(shape)}.")


class _Reference:
    def __init__(self, frozen: FrozenModel, inputs: Mapping[str, np.ndarray]) -> None:
        self.frozen = frozen
        self.producers = frozen.producers()
        self.integer = {layer.name for layer in frozen.integer_layers()}
        self.values: dict[str, np.ndarray] = {
            name: np.asarray(inputs[name], dtype=info.dtype) for name, info in frozen.inputs.items()
        }

    def run(self) -> dict[str, np.ndarray]:
        for layer in self.frozen.layers:
            if layer.kind == QUANTIZE:
                assert layer.grid is not None
                self.values[layer.name] = on_grid(self.values[layer.inputs[0]], layer.grid)
            elif layer.name in self.integer:
                self.values[layer.name] = self._integer(layer)
            else:
                results = OPERATIONS[layer.kind](
                    layer, *[self._value(name) for name in layer.inputs]
                )
                held = results if isinstance(results, list) else [results]
                for name, value in zip(layer.outputs, held):
                    self.values[name] = value
        return self.values

    def _value(self, name: str) -> np.ndarray:
        if name in self.values:
            return self.values[name]
        if name in self.frozen.weights:
            return self.frozen.weights[name].real()
        return self.frozen.constants[name]

    def _integer(self, layer: Layer) -> np.ndarray:
        quantizer = quantizer_of(layer.inputs[0], self.producers)
        assert quantizer is not None and quantizer.grid is not None
        input_step = quantizer.grid.step[0]
        held = self.frozen.weights[layer.inputs[1]]
        axis = channel_axis(layer, held.integers.ndim)
        weight, _ = in_int8(held, axis)
        q = np.round(self.values[layer.inputs[0]] / input_step).astype("int64")
        w = weight.integers.astype("int64")
        if layer.kind == "matmul_v2":
            total = _exact(q.reshape(-1, q.shape[-1]), w).reshape(*q.shape[:-1], w.shape[-1])
            spread: tuple[int, ...] = (-1,)
        else:
            total = _convolve(layer, q, w)
            spread = (-1, 1, 1)
        if np.abs(total).max(initial=0) >= 2**31:
            raise ValueError(f"the sums of {layer.name!r} do not fit 32 bits.")
        step = np.broadcast_to(weight.grid.step, [w.shape[axis]]).reshape(spread)
        result = total.astype("float32") * (step * input_step).astype("float32")
        if len(layer.inputs) > 2:
            result = result + self.frozen.constants[layer.inputs[2]].reshape(spread)
        return result.astype("float32")


def on_grid(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Round to the grid, ties to even."""
    q = np.round(values.astype("float32") / grid.step[0])
    return (np.clip(q, grid.qmin, grid.qmax) * grid.step[0]).astype("float32")


def _exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A product of integer matrices; float64 holds every sum below 2^53 exactly."""
    return (a.astype("float64") @ b.astype("float64")).astype("int64")


def _convolve(layer: Layer, q: np.ndarray, w: np.ndarray) -> np.ndarray:
    held = layer.attributes
    check_layout(layer)
    groups, (outputs, inputs, height, width) = held["groups"], w.shape
    view = windows(q, (height, width), held["strides"], held["dilations"], window_pads(layer), 0)
    count, _, rows, columns = view.shape[:4]
    parts = []
    for group in range(groups):
        patch = view[:, group * inputs : (group + 1) * inputs]
        matrix = patch.transpose(0, 2, 3, 1, 4, 5).reshape(count * rows * columns, -1)
        kernel = w[group * (outputs // groups) : (group + 1) * (outputs // groups)]
        parts.append(_exact(matrix, kernel.reshape(len(kernel), -1).T))
    total = np.concatenate(parts, axis=1)
    return total.reshape(count, rows, columns, outputs).transpose(0, 3, 1, 2)


__all__ = ["check_inputs", "on_grid", "run_reference"]
