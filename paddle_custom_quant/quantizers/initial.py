"""Start values of step sizes and ranges, from values of the tensor (NumPy, before training)."""

from __future__ import annotations

import numpy as np

# Start values are statistics: this many elements of a tensor or a channel are enough.
_MOST = 65536
_FRACTIONS = np.linspace(0.02, 1.0, 50)


def by_channel(values: np.ndarray, axis: int | None) -> np.ndarray:
    """values as [channels, elements], or [1, elements] where axis is None."""
    if axis is None:
        return values.reshape(1, -1)
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def symmetric_step(low: float, high: float, qmin: int, qmax: int) -> float:
    """The step whose grid, with 0 on it, just covers [low, high]; 1 / qmax if that is no range."""
    step = max(high / qmax, low / qmin if qmin else 0.0)
    return step if step > 0 else 1.0 / qmax


def positive_or_default(steps: np.ndarray, qmax: int) -> np.ndarray:
    """Steps with 1 / qmax in the place of zeros (a tensor or channel that is all zero)."""
    return np.where(steps > 0, steps, 1.0 / qmax).astype("float32")


def least_error_step(
    values: np.ndarray, qmin: int, qmax: int, axis: int | None = None
) -> np.ndarray:
    """The step, [1] or [channels], whose grid has the least squared error on the values."""
    rows = _thinned(by_channel(values, axis))
    largest = np.maximum(rows.max(axis=1) / qmax, rows.min(axis=1) / qmin if qmin else 0.0)
    largest = positive_or_default(np.maximum(largest, 0.0), qmax).astype("float64")
    best, least = largest.copy(), np.full(len(rows), np.inf)
    for fraction in _FRACTIONS:
        step = largest * fraction
        rounded = np.clip(np.rint(rows / step[:, None]), qmin, qmax) * step[:, None]
        error = ((rounded - rows) ** 2).sum(axis=1)
        best, least = np.where(error < least, step, best), np.minimum(error, least)
    return best.astype("float32")


def least_error_scale(values: np.ndarray, levels: np.ndarray) -> float:
    """The scale at which ``levels`` (ascending, the largest 1) have the least squared error."""
    row = _thinned(values.reshape(1, -1))[0]
    largest = float(np.abs(row).max()) or 1.0
    thresholds = (levels[1:] + levels[:-1]) / 2

    def error(scale: float) -> float:
        return float(((levels[np.searchsorted(thresholds, row / scale)] * scale - row) ** 2).sum())

    return min((largest * f for f in _FRACTIONS), key=error)


def least_error_range(values: np.ndarray, steps: int) -> tuple[float, float]:
    """(low, high) whose ``steps`` equal steps have the least squared error on the values.

    The two ends are shrunk towards the middle one after the other, from the values' own range.
    """
    row = _thinned(values.reshape(1, -1))[0]
    low, high = float(row.min()), float(row.max())
    if low == high:
        low, high = min(low, 0.0), max(high, 0.0, low + 1e-6)

    def error(ends: tuple[float, float]) -> float:
        step = (ends[1] - ends[0]) / steps
        rounded = np.clip(np.rint((row - ends[0]) / step), 0, steps) * step + ends[0]
        return float(((rounded - row) ** 2).sum())

    start = low, high
    for _ in range(2):
        middle = float(np.median(row))
        high = min(
            (middle + (start[1] - middle) * f for f in _FRACTIONS if start[1] > middle),
            key=lambda h: error((low, h)),
            default=high,
        )
        low = min(
            (middle + (start[0] - middle) * f for f in _FRACTIONS if start[0] < middle),
            key=lambda v: error((v, high)),
            default=low,
        )
    return low, high


def _thinned(rows: np.ndarray) -> np.ndarray:
    """Every n-th element of each row, so that a row has at most _MOST."""
    return rows[:, :: -(-rows.shape[1] // _MOST)]


__all__ = [
    "by_channel",
    "least_error_range",
    "least_error_scale",
    "least_error_step",
    "positive_or_default",
    "symmetric_step",
]
