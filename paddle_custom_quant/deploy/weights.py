"""Trained weights -> integers, where their values lie on a uniform grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..quantizers.base import LevelGrid, UniformGrid
from .frozen import Grid, IntegerWeight, along

_TOLERANCE = 1e-5  # of the largest weight: rounding of float32 products
_OFF_GRID = 2e-3  # steps, for a grid that was found in the values
_MOST_LEVELS = 256


def on_grid(values: np.ndarray, grid: UniformGrid) -> IntegerWeight | str:
    """The integers of weights that a quantizer with this grid wrote.

    Args:
        values: float32, what the quantizer wrote.
        grid: its levels. Half a step of offset (levels that are odd multiples of half the step)
            is served by doubling the integers; any other fraction is not.

    Returns:
        The integers, or why there are none.
    """
    step = np.asarray(grid.step, dtype="float64").reshape(-1)
    offset = np.asarray(grid.offset, dtype="float64").reshape(-1)
    doubled = 2 * offset / step
    if np.abs(doubled - np.round(doubled)).max() > 1e-4:
        return "its grid is shifted by a fraction of a step"
    doubled = np.round(doubled)
    factor = 1 if not (doubled % 2).any() else 2
    shift = doubled * factor / 2
    spread = [along(v, values.ndim, grid.axis) for v in (step, offset, shift)]
    q = factor * np.round((values - spread[1]) / spread[0]) + spread[2]
    low = int(factor * grid.qmin + shift.min())
    high = int(factor * grid.qmax + shift.max())
    # The step as the quantizer multiplied by it: halving is exact.
    fitted = Grid((step / factor).astype("float32"), low, high, grid.axis)
    return _checked(values, q, fitted)


def found_grid(values: np.ndarray, channel_axis: int | None) -> IntegerWeight | str:
    """The integers of weights whose values turn out to lie on a uniform grid through zero.

    Args:
        values: float32.
        channel_axis: looked along where there is no grid for the whole tensor.

    Returns:
        The integers, or why there are none.
    """
    step = _common_step(values)
    if step is not None:
        return _checked(values, np.round(values / step), _symmetric(values, np.array([step]), None))
    if channel_axis is None:
        return "its values lie on no uniform grid"
    rows = np.moveaxis(values, channel_axis, 0).reshape(values.shape[channel_axis], -1)
    steps = [_common_step(row) for row in rows]
    if any(step is None for step in steps):
        return "its values lie on no uniform grid"
    known = np.array(steps, dtype="float64")
    grid = _symmetric(values, known, channel_axis)
    return _checked(values, np.round(values / along(known, values.ndim, channel_axis)), grid)


def _symmetric(values: np.ndarray, step: np.ndarray, axis: int | None) -> Grid:
    most = int(np.abs(np.round(values / along(step, values.ndim, axis))).max())
    return Grid(step.astype("float32"), -most, most, axis)


def _common_step(values: np.ndarray) -> float | None:
    """The largest step of which all values are multiples, if at most 256 levels do."""
    levels = np.unique(np.abs(values.astype("float64")))
    largest = levels[-1]
    if largest == 0:
        return 1.0
    # What rounding of float32 split counts as one level.
    keep = np.concatenate([[True], np.diff(levels) > _TOLERANCE * largest])
    levels = levels[keep]
    if len(levels) > _MOST_LEVELS:
        return None
    gaps = np.diff(levels)
    smallest = levels[0] if levels[0] > _TOLERANCE * largest else np.inf
    step = min(smallest, gaps.min() if len(gaps) else np.inf)
    for part in (1, 2):
        q = np.round(levels / (step / part))
        if q[-1] > _MOST_LEVELS:
            return None
        fitted = float(levels @ q / (q @ q))
        if np.abs(levels / fitted - q).max() < _OFF_GRID:
            return fitted
    return None


def _checked(values: np.ndarray, q: np.ndarray, grid: Grid) -> IntegerWeight | str:
    real = q * along(grid.step.astype("float64"), values.ndim, grid.axis)
    error = float(np.abs(real - values).max())
    if error > _TOLERANCE * float(np.abs(values).max()):
        return f"its values are up to {error:.3g} away from the grid of its quantizer"
    if max(-grid.qmin, grid.qmax) > 2**15 - 1:
        return f"its integers {grid.qmin} to {grid.qmax} need more than 16 bits"
    small = q.min() >= -128 and q.max() <= 127
    return IntegerWeight(q.astype("int8" if small else "int16"), grid)


def why_not_uniform(grid: UniformGrid | LevelGrid | None) -> str:
    """What to tell of a grid that has no integers."""
    if isinstance(grid, LevelGrid):
        return "its levels are not equidistant"
    return "its quantizer names no grid"


def in_int8(weight: IntegerWeight, axis: int) -> tuple[IntegerWeight, float]:
    """The weight with integers in [-127, 127], and the largest error this made.

    Channels whose integers fit stay as they are. Others are rounded to 127 steps of their own
    largest value.

    Args:
        weight: any integers.
        axis: output-channel axis.

    Returns:
        int8 weight with one step a channel where any channel was rounded; the largest absolute
        error, in real units (0.0 if nothing was rounded).
    """
    q = weight.integers.astype("float64")
    others = tuple(i for i in range(q.ndim) if i != axis)
    most = np.abs(q).max(axis=others)
    if (most <= 127).all():
        return replace(weight, integers=weight.integers.astype("int8")), 0.0
    ratio = np.where(most > 127, most / 127.0, 1.0)
    spread = along(ratio, q.ndim, axis)
    rounded = np.round(q / spread)
    step = weight.grid.step.astype("float64") * ratio
    error = float((np.abs(rounded * spread - q) * along(step / ratio, q.ndim, axis)).max())
    grid = Grid(step.astype("float32"), -127, 127, axis)
    return IntegerWeight(rounded.astype("int8"), grid), error


def widened(
    weight: IntegerWeight, axis: int, bias: np.ndarray | None = None, input_step: float = 1.0
) -> IntegerWeight:
    """The same values with larger integers and smaller steps.

    A bias counts in steps of input times weight: with the few integers of a low-bit weight it
    would be rounded coarsely, and activations near a rounding boundary would flip.

    Args:
        weight: int8, in [-127, 127].
        axis: output-channel axis.
        bias: of each channel; each channel gets the factor that rounds its bias least. Without
            it, the largest that int8 holds.
        input_step: step of the layer's input.
    """
    q = weight.integers
    others = tuple(i for i in range(q.ndim) if i != axis)
    most = np.abs(q.astype("int16")).max(axis=others)
    factor = np.maximum(127 // np.maximum(most, 1), 1)
    if bias is not None:
        factor = _least_rounding(factor, np.abs(bias) / (weight.grid.step * input_step))
    wide = (q * along(factor, q.ndim, axis)).astype("int8")
    step = (weight.grid.step.astype("float64") / factor).astype("float32")
    return IntegerWeight(wide, Grid(step, -128, 127, axis))


def _least_rounding(largest: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """For each channel the factor, at most ``largest``, with which its bias is rounded least.

    ``bias`` is in steps of the product at factor 1.
    """
    factors = np.arange(1, int(largest.max()) + 1)[:, None]
    scaled = bias * factors
    error = np.abs(scaled - np.round(scaled)) / factors
    error = np.where(factors <= largest, error, np.inf)
    return error.argmin(axis=0) + 1


def reaching_127(weight: IntegerWeight, axis: int) -> IntegerWeight:
    """Integers whose largest is 127 in each channel, as oneDNN would make them itself.

    oneDNN rounds each channel's weights to 127 steps of its largest, so only channels whose
    largest integer is 1 or 127 stay exact. For all others the scale and the rounding are chosen
    here, such that the error of the channel's sum is small. Inputs behind a ReLU have a mean, and
    neighbouring pixels resemble each other: what counts is the sum of the errors of each kernel
    and of all, besides the errors themselves.

    Args:
        weight: int8, in [-127, 127].
        axis: output-channel axis.
    """
    rows = np.moveaxis(weight.integers, axis, 0)
    kernels = rows.reshape(len(rows), -1, int(np.prod(rows.shape[2:]))).astype("float64")
    step = np.broadcast_to(weight.grid.step.astype("float64"), [len(rows)]).copy()
    wide = np.zeros_like(kernels)
    for index, row in enumerate(kernels):
        most = np.abs(row).max()
        if most == 0:
            continue
        whole = 127 // most
        factors = (whole,) if whole * most == 127 else (127 / most, whole, whole + 1)
        groups = (1, row.shape[1], row.size)
        found = [_rounded(row * f, f, size) for f in factors for size in groups]
        _, factor, wide[index] = min(found, key=lambda one: one[0])
        step[index] /= factor
    integers = np.moveaxis(wide.astype("int8").reshape(rows.shape), 0, axis)
    grid = Grid(step.astype("float32"), -127, 127, axis)
    return IntegerWeight(np.ascontiguousarray(integers), grid)


def _rounded(scaled: np.ndarray, factor: float, size: int) -> tuple[float, float, np.ndarray]:
    """(cost, factor, integers up to 127) of a channel; errors cancel in groups of ``size``."""
    exact = scaled.reshape(-1, size)
    q = np.clip(np.round(exact), -127, 127)
    at = np.unravel_index(int(np.abs(exact).argmax()), exact.shape)
    q[at] = np.copysign(127, exact[at])
    if size > 1:
        count = np.round((exact - q).sum(axis=1, keepdims=True))
        sign = np.sign(count)
        gain = np.where(np.abs(q + sign) <= 127, sign * (exact - q), -np.inf)
        gain[at] = -np.inf
        rank = np.argsort(np.argsort(-gain, axis=1, kind="stable"), axis=1)
        q += np.where((rank < np.abs(count)) & np.isfinite(gain), sign, 0)
    error = (q - exact).reshape(scaled.shape) / factor
    cost = np.square(error).sum() + np.square(error.sum(axis=1)).sum() + error.sum() ** 2
    return float(cost), factor, q.reshape(scaled.shape)


__all__ = ["found_grid", "in_int8", "on_grid", "reaching_127", "why_not_uniform", "widened"]
