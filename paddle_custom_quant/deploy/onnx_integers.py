"""Integers as ONNX stores them: their types, zero points and the room they have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .frozen import Grid, IntegerWeight, along

# Of a bias; twice as much would do.
INT32_ROOM = 2.0**30


def storage(grid: Grid) -> tuple[str, int]:
    """Integer type and zero point of an activation."""
    if grid.qmin >= 0 and grid.qmax <= 255:
        return "uint8", 0
    if grid.qmin >= -128 and grid.qmax <= 127:
        return "uint8", 128
    if grid.qmin <= 0 <= grid.qmax <= 255 + grid.qmin:
        return "uint8", -grid.qmin
    raise ValueError(
        f"an activation with integers {grid.qmin} to {grid.qmax} does not fit 8 bits: ONNX's "
        f"engines have no kernels for it; quantize it with 8 bits or fewer."
    )


def packing(q: np.ndarray) -> tuple[str, np.ndarray, int, float]:
    """4-bit type, integers, zero point, and shift in steps; int8 where 4 bits do not do."""
    low, high = int(q.min()), int(q.max())
    if low >= -8 and high <= 7:
        return "INT4", q, 0, 0.0
    if low >= -15 and high <= 15 and (np.abs(q) % 2 == 1).all():
        return "UINT4", (q + 15) // 2, 8, 1.0
    return "INT8", q, 0, 0.0


def turned(weight: IntegerWeight, axis: int) -> IntegerWeight:
    """Channels that reach 8 with the other sign, if all then fit 4 bits.

    Batch norm with a negative factor has turned them from [-8, 7] to [-7, 8].
    """
    q = weight.integers
    others = tuple(i for i in range(q.ndim) if i != axis)
    sign = np.where(q.max(axis=others) > 7, -1, 1).astype("int8")
    turned = q * along(sign, q.ndim, axis)
    if q.max() <= 7 or turned.min() < -8 or turned.max() > 7:
        return weight
    step = (np.broadcast_to(weight.grid.step, sign.shape) * sign).astype("float32")
    return IntegerWeight(turned, replace(weight.grid, step=step, axis=axis))


def with_room_for(
    bias: np.ndarray, input_step: float, weight: IntegerWeight, axis: int
) -> IntegerWeight:
    """Raise the step of channels so small that their bias would not fit 32 bits."""
    step = np.broadcast_to(weight.grid.step.astype("float64"), bias.shape)
    least = np.abs(bias) / (INT32_ROOM * input_step) * 127
    if (step >= least).all():
        return weight
    ratio = np.where(step < least, least / step, 1.0)
    q = np.round(weight.integers / along(ratio, weight.integers.ndim, axis)).astype("int8")
    grid = replace(weight.grid, step=(step * ratio).astype("float32"), axis=axis)
    return IntegerWeight(q, grid)


__all__ = ["INT32_ROOM", "packing", "storage", "turned", "with_room_for"]
