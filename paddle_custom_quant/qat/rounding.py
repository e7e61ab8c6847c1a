"""AdaRound: learn for each weight of a layer whether it is rounded up or down."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import static

from ..quantizers.base import UniformGrid
from .layers import QuantizedLayer

# The sigmoid is stretched from 0 .. 1 to these. The regulariser, which drives it to its ends, acts
# after a share of the steps; its exponent then falls.
_LOW, _HIGH = -0.1, 1.1
_STRENGTH, _WARM, _STEEP, _FLAT = 0.5, 0.2, 20.0, 2.0
_RATE, _BATCH = 1e-2, 32


def learn_rounding(
    layer: QuantizedLayer,
    weight: np.ndarray,
    grid: UniformGrid,
    inputs: np.ndarray,
    steps: int,
    place: Any,
) -> tuple[np.ndarray, float]:
    """The weight rounded so that the layer's output changes least.

    What is the largest of its channel (of the tensor, where the grid is one for all) keeps its
    value: a range that is measured must stay.

    Args:
        layer: its operator.
        weight: float values.
        grid: its levels.
        inputs: what the layer reads, samples along the first axis.
        steps: of Adam, on batches of 32 samples.
        place: where it runs.

    Returns:
        The weight on its grid, and the mean square of the output's error as a part of that of
        rounding to nearest (1.0 if that was not worse).

    Source:
        arXiv 2004.10568, equations 21 to 25.
    """
    shape = [-1 if axis == grid.axis else 1 for axis in range(weight.ndim)]
    step, offset = grid.step.reshape(shape), grid.offset.reshape(shape)
    u = np.clip((weight - offset) / step, grid.qmin, grid.qmax)
    down = np.minimum(np.floor(u), grid.qmax - 1)
    nearest = np.round(u)
    others = tuple(axis for axis in range(weight.ndim) if axis != grid.axis)
    top = np.abs(weight).max(axis=others if grid.axis is not None else None, keepdims=True)
    # Only where the range was taken from the extremes: there the top is a level.
    edge = max(-grid.qmin, grid.qmax) * step
    measured = np.isclose(edge, top, rtol=1e-5)
    fixed = measured & (np.abs(weight) >= top)

    def values_on(q: np.ndarray) -> np.ndarray:
        values = q * step + offset
        values = np.where(measured, np.clip(values, -top, top), values)
        return np.where(fixed, weight, values).astype("float32")

    learner = _Learner(layer, weight, step, offset, down, place)
    by_nearest = learner.error(nearest - down, inputs)
    if by_nearest == 0:
        return values_on(nearest), 1.0
    up = learner.learn(u - down, inputs, steps, by_nearest) >= 0
    rounding = np.where(fixed, nearest - down, up)
    learned = learner.error(rounding, inputs)
    if learned >= by_nearest:
        return values_on(nearest), 1.0
    return values_on(down + rounding), learned / by_nearest


class _Learner:
    """The layer with a soft rounding, beside the layer in float, in a program."""

    def __init__(
        self, layer: QuantizedLayer, weight: np.ndarray, step: Any, offset: Any, down: Any,
        place: Any,
    ) -> None:  # fmt: skip
        self.scope, self.executor, self.place = static.Scope(), static.Executor(place), place
        held = {"down": down, "step": step, "offset": offset, "weight": weight}
        self.fed = {name: np.asarray(value, "float32") for name, value in held.items()}
        self.main, self.hard, startup = static.Program(), static.Program(), static.Program()
        with static.program_guard(self.hard), paddle.utils.unique_name.guard():
            given = static.data("rounding", list(weight.shape))
            self.hard_error = self._error(layer, given).name
        with static.program_guard(self.main, startup), paddle.utils.unique_name.guard():
            scale, exponent, strength = (
                static.data(name, [1]) for name in ("scale", "exponent", "strength")
            )
            alpha = static.create_parameter(list(weight.shape), "float32", "alpha")
            stretched = paddle.nn.functional.sigmoid(alpha) * (_HIGH - _LOW) + _LOW
            soft = paddle.clip(stretched, 0.0, 1.0)
            undecided = (1.0 - paddle.pow((2.0 * soft - 1.0).abs(), exponent)).mean()
            loss = self._error(layer, soft) * scale + undecided * strength
            paddle.optimizer.Adam(_RATE).minimize(loss)
        with static.scope_guard(self.scope):
            self.executor.run(startup)

    def _error(self, layer: QuantizedLayer, rounding: Any) -> Any:
        """Mean square of what the rounding does to the layer's output."""
        x = static.data("x", [-1, *layer.input_shape])
        down, step, offset, weight = (
            static.data(name, list(value.shape)) for name, value in self.fed.items()
        )
        error = layer.append(x, (down + rounding) * step + offset) - layer.append(x, weight)
        return (error * error).mean()

    def error(self, rounding: np.ndarray, inputs: np.ndarray) -> float:
        """With a rounding of zeros and ones."""
        found = []
        with static.scope_guard(self.scope):
            for at in range(0, len(inputs), _BATCH):
                fed = {"x": inputs[at : at + _BATCH], "rounding": rounding.astype("float32")}
                (value,) = self.executor.run(self.hard, {**self.fed, **fed}, [self.hard_error])
                found.append(float(value) * len(fed["x"]))
        return sum(found) / len(inputs)

    def learn(self, part: np.ndarray, inputs: np.ndarray, steps: int, unit: float) -> np.ndarray:
        """Positive where rounding up is better; ``part`` is where each weight starts, 0 to 1."""
        start = -np.log((_HIGH - _LOW) / (np.clip(part, 1e-3, 1 - 1e-3) - _LOW) - 1)
        random = np.random.default_rng(0)
        with static.scope_guard(self.scope):
            alpha = self.scope.find_var("alpha").get_tensor()
            alpha.set(start.astype("float32"), self.place)
            for number in range(steps):
                left = 1 - max(number / steps - _WARM, 0) / (1 - _WARM)
                settings = {
                    "scale": 1 / unit,
                    "exponent": _FLAT + (_STEEP - _FLAT) * left,
                    "strength": _STRENGTH if left < 1 else 0.0,
                }
                now = {name: np.full([1], value, "float32") for name, value in settings.items()}
                now["x"] = inputs[random.integers(0, len(inputs), min(_BATCH, len(inputs)))]
                self.executor.run(self.main, {**self.fed, **now})
            return np.array(alpha)


__all__ = ["learn_rounding"]
