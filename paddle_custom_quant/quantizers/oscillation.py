"""Weights that jump to and fro between two levels (arXiv 2203.11086): damp them, or freeze them.

Both go around any uniform weight quantizer, inside one another too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ..target import Target
from .base import Parameter, Sample, UniformGrid
from .functional import along, no_gradient, round_half_even
from .wrapper import UniformWrapper


@dataclass(frozen=True)
class DampOscillation(UniformWrapper):
    """Another quantizer with the damping loss ``strength * sum((w^ - clip(w))^2)`` on its weight.

    The gradient ``2 strength (clip(w) - w^)`` is added to the weight's own; neither w^ nor the
    step gets any of it. ``strength`` is a state named ``<tensor>.<method>.damping`` that starts
    at the value given; :func:`damping_schedule` says how the paper raises it.

    Args:
        quantizer: a uniform weight quantizer.
        strength: lambda at the start, 0 or more.

    Source:
        arXiv 2203.11086, equation 5.
    """

    strength: float = 0.0
    adds_gradient = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.strength >= 0:
            raise ValueError(f"strength should be 0 or more, got {self.strength!r}.")

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """Those of the inner quantizer and ``damping``, [1]."""
        strength = Parameter(np.full([1], self.strength, "float32"), trainable=False)
        return {**self.quantizer.parameters(target, sample), "damping": strength}

    def added_gradient(self, x: Any, y: Any, target: Target, **parameters: Any) -> Any:
        """``2 strength (clip(x) - y)``, on top of what the inner quantizer adds."""
        strength = parameters.pop("damping")
        if self.quantizer.adds_gradient:
            inner = self.quantizer.added_gradient(x, y, target, **parameters)
        else:
            inner = 0.0
        scale = self.quantizer.scale(x, target, **parameters)
        step = along(scale.step, x, self.axis(target))
        offset = 0.0 if scale.offset is None else along(scale.offset, x, self.axis(target))
        low, high = step * float(self.qmin) + offset, step * float(self.qmax) + offset
        clipped = paddle.minimum(paddle.maximum(x, low + 0.0 * x), high + 0.0 * x)
        return (clipped - y) * (strength * 2.0) + inner

    def scale(self, x: Any, target: Target, **parameters: Any) -> Any:
        """That of the inner quantizer."""
        parameters.pop("damping", None)
        return self.quantizer.scale(x, target, **parameters)

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """The inner quantizer's formula."""
        parameters.pop("damping", None)
        return self.quantizer.quantize(x, target, **parameters)


def damping_schedule(step: int, steps: int, final: float) -> float:
    """Strength at ``step`` of ``steps``: from 0 up to ``final`` along half a cosine."""
    part = min(max(step / max(steps, 1), 0.0), 1.0)
    return final * 0.5 * (1.0 - float(np.cos(np.pi * part)))


@dataclass(frozen=True)
class FreezeOscillation(UniformWrapper):
    """Another quantizer that freezes weights which oscillate too often.

    At each training step an integer weight oscillates if it changes against the direction of its
    last change. The frequency is averaged, ``f <- momentum o + (1 - momentum) f``; where it passes
    ``threshold`` the integer is frozen at its rounded moving average, for good, and its weight gets
    no gradient. Integers, directions, frequencies, averages and marks are states of the weight's
    shape.

    Args:
        quantizer: a uniform weight quantizer.
        threshold: frequency above which a weight is frozen, in (0, 1].
        momentum: m of the averages, in (0, 1).

    Source:
        arXiv 2203.11086, section 4.3 and algorithm 1.
    """

    threshold: float = 0.1
    momentum: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("threshold", "momentum"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} should be in (0, 1], got {getattr(self, name)!r}.")

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """Those of the inner quantizer and the five states."""
        inner = self.quantizer.parameters(target, sample)
        shape = [max(size, 1) for size in target.shape]
        integers = np.zeros(shape, "float32")
        if sample is not None:
            values = {name: parameter.value for name, parameter in inner.items()}
            grid = self.quantizer.grid(target, sample.values, **values)
            if isinstance(grid, UniformGrid):
                integers = _integers(sample.values, grid)
        zeros = np.zeros(shape, "float32")
        states = {
            "integer": integers, "direction": zeros, "frequency": zeros, "average": integers,
            "frozen": zeros,
        }  # fmt: skip
        held = {key: Parameter(value.copy(), trainable=False) for key, value in states.items()}
        return {**inner, **held}

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """The inner quantizer's formula, frozen integers in the place of theirs."""
        state, inner = _split(parameters)
        y = self.quantizer.quantize(x, target, **inner)
        scale = self.quantizer.scale(x, target, **inner)
        step = along(scale.step, x, self.axis(target))
        offset = 0.0 if scale.offset is None else along(scale.offset, x, self.axis(target))
        frozen, average = state["frozen"], state["average"]
        if target.training:
            q = no_gradient(round_half_even((y - offset) / step))
            frozen, average = self._observe(q, **state)
        held = no_gradient(round_half_even(average))
        return paddle.where(no_gradient(frozen > 0.5), held * step + offset, y)

    def _observe(
        self, q: Any, integer: Any, direction: Any, frequency: Any, average: Any, frozen: Any
    ) -> tuple[Any, Any]:
        """Update the states with this step's integers; the new marks and averages."""
        m = self.momentum
        change = paddle.sign(q - integer)
        opposite = paddle.cast(change * direction < 0.0, q.dtype)
        now = opposite * m + frequency * (1.0 - m)
        tracked = q * m + average * (1.0 - m)
        kept = paddle.where(frozen > 0.5, average, tracked)
        marks = paddle.maximum(frozen, paddle.cast(now > self.threshold, q.dtype))
        turned = paddle.where(paddle.equal(change, paddle.zeros_like(change)), direction, change)
        results = [no_gradient(v) for v in (turned, now, kept, marks)]
        for new, state in zip([q, *results], (integer, direction, frequency, average, frozen)):
            paddle.assign(new, state)
        return results[3], results[2]

    def scale(self, x: Any, target: Target, **parameters: Any) -> Any:
        """That of the inner quantizer."""
        return self.quantizer.scale(x, target, **_split(parameters)[1])

    def incoming_gradient(
        self, gradient: Any, x: Any, y: Any, target: Target, **parameters: Any
    ) -> Any:
        """That of the inner quantizer."""
        inner = _split(parameters)[1]
        return self.quantizer.incoming_gradient(gradient, x, y, target, **inner)

    def added_gradient(self, x: Any, y: Any, target: Target, **parameters: Any) -> Any:
        """That of the inner quantizer."""
        return self.quantizer.added_gradient(x, y, target, **_split(parameters)[1])


_STATES = ("integer", "direction", "frequency", "average", "frozen")


def _split(parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    inner = {key: value for key, value in parameters.items() if key not in _STATES}
    return {key: parameters[key] for key in _STATES if key in parameters}, inner


def _integers(values: np.ndarray, grid: UniformGrid) -> np.ndarray:
    shape = [1] * values.ndim
    if grid.axis is not None:
        shape[grid.axis] = -1
    step, offset = grid.step.reshape(shape), grid.offset.reshape(shape)
    return np.clip(np.rint((values - offset) / step), grid.qmin, grid.qmax).astype("float32")


__all__ = ["DampOscillation", "FreezeOscillation", "damping_schedule"]
