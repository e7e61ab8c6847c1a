"""How far quantized values are from the float ones, summed up over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..quantizers.base import Grid, LevelGrid, UniformGrid
from .scales import along, bounds, clipped, level_count, levels_used

BINS = 96
MAX_LEVELS = 256


@dataclass(frozen=True)
class Histogram:
    """Counts in equal bins from ``low`` to ``high``, and the grid's levels where there are few.

    Where a tensor has a scale for each channel, its values are divided by their steps.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    levels: tuple[float, ...]
    in_steps: bool = False


@dataclass(frozen=True)
class TensorError:
    """What quantization does to a tensor.

    Attributes:
        snr: signal-to-noise ratio in dB: ten times the logarithm of the sum of squares of the
            float values over that of the differences; infinite without a difference.
        cosine: of the angle between the float and the quantized values.
        clipped: share of the float values outside the grid's range, 0 to 1; ``None`` without a
            grid.
        levels_used: share of the grid's levels that the quantized values take; ``None`` without
            a grid.
        histogram: of the float values.
    """

    snr: float
    cosine: float
    clipped: float | None = None
    levels_used: float | None = None
    histogram: Histogram | None = field(default=None, repr=False)


class ErrorSum:
    """Adds batches up to a :class:`TensorError`; sums are in float64."""

    def __init__(self, grid: Grid | None = None) -> None:
        self._grid = grid
        self._in_steps = isinstance(grid, UniformGrid) and grid.step.size > 1
        self._levels = _levels(grid)
        self._signal = self._noise = self._dot = self._power = 0.0
        self._outside = self._size = 0.0
        self._used: set[float] = set()
        self._bins: np.ndarray | None = None
        self._counts = np.zeros(BINS, dtype="int64")

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """Add float values and their quantized form, of one shape."""
        x, q = before.astype("float64"), after.astype("float64")
        self._signal += float(np.sum(x * x))
        self._noise += float(np.sum((x - q) ** 2))
        self._power += float(np.sum(q * q))
        self._dot += float(np.sum(x * q))
        self._size += x.size
        drawn = self._drawn(x)
        if self._bins is None:
            ends = [float(drawn.min()), float(drawn.max()), *self._levels]
            low, high = min(ends), max(ends)
            if low == high:
                low, high = low - 0.5, high + 0.5
            self._bins = np.linspace(low, high, BINS + 1)
        self._counts += np.histogram(np.clip(drawn, self._bins[0], self._bins[-1]), self._bins)[0]
        if self._grid is not None:
            self._outside += clipped(x, self._grid) * x.size
            self._used |= levels_used(q, self._grid)

    def _drawn(self, x: np.ndarray) -> np.ndarray:
        if not self._in_steps:
            return x
        grid = self._grid
        assert isinstance(grid, UniformGrid)
        step, offset = (along(v, x, grid.axis) for v in (grid.step, grid.offset))
        return (x - offset) / np.where(step == 0, 1, step)

    def total(self) -> TensorError:
        """The facts on everything added."""
        snr = (
            10 * math.log10(self._signal / self._noise)
            if self._noise and self._signal
            else (math.inf if not self._noise else -math.inf)
        )
        length = math.sqrt(self._signal * self._power)
        grid = self._grid
        histogram = None
        if self._bins is not None:
            histogram = Histogram(
                float(self._bins[0]), float(self._bins[-1]), tuple(self._counts.tolist()),
                self._levels, self._in_steps,
            )  # fmt: skip
        return TensorError(
            snr=snr,
            cosine=self._dot / length if length else float(self._signal == self._power),
            clipped=None if grid is None else self._outside / self._size,
            levels_used=None if grid is None else len(self._used) / level_count(grid),
            histogram=histogram,
        )


def _levels(grid: Grid | None) -> tuple[float, ...]:
    """Where the levels of a grid are drawn; nowhere if they are too many or differ by channel."""
    if grid is None or level_count(grid) > MAX_LEVELS:
        return ()
    if isinstance(grid, LevelGrid):
        return tuple(float(v) for v in grid.levels) if grid.levels.ndim == 1 else ()
    if grid.step.size > 1:
        return tuple(float(q) for q in range(grid.qmin, grid.qmax + 1))
    low, high = (float(end[0]) for end in bounds(grid))
    return tuple(np.linspace(low, high, level_count(grid)).tolist())


def decibels(value: Any) -> str:
    """A ratio for a table."""
    return "exact" if value == math.inf else f"{value:.1f}"


__all__ = ["ErrorSum", "Histogram", "TensorError", "decibels"]
