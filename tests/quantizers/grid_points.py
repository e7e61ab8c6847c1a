"""Inputs that no rounding error can push over a tie or a bound, and what shares a parameter."""

from __future__ import annotations

import numpy as np


def off_ties(
    rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int, beyond: float = 2.0
) -> np.ndarray:
    """Numbers from low - beyond to high + beyond, a twentieth away from n and n + 1/2 at least."""
    whole = rng.integers(int(low - beyond), int(high + beyond) + 1, shape)
    return whole + rng.uniform(0.05, 0.45, shape) * rng.choice([-1.0, 1.0], shape)


def along(vector: np.ndarray, dims: int, axis: int | None) -> np.ndarray:
    """``vector`` shaped to broadcast along ``axis``."""
    return vector.reshape([-1 if i == axis else 1 for i in range(dims)])


def shared_sum(values: np.ndarray, axis: int | None) -> np.ndarray:
    """The sum over the elements that share a parameter: [1] or [channels]."""
    if axis is None:
        return values.sum().reshape(1)
    return values.sum(axis=tuple(i for i in range(values.ndim) if i != axis))


def derivative(function, at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central difference of a scalar function of an array (float64), element by element."""
    at = np.array(at, dtype="float64")
    result = np.empty_like(at)
    for index in np.ndindex(at.shape):
        high, low = at.copy(), at.copy()
        high[index] += step
        low[index] -= step
        result[index] = (function(high) - function(low)) / (2 * step)
    return result
