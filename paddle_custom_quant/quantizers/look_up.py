"""Rounding to the nearest of given levels."""

from __future__ import annotations

from typing import Any

import paddle

from ..kernels import ops, with_kernel
from .functional import along, by_channel, detach, no_gradient, straight_through

_END = 2**31 - 1


@with_kernel(ops.nearest_level)
def nearest_level(
    x: Any,
    levels: Any,
    thresholds: Any,
    *,
    scale: Any | None = None,
    axis: int | None = None,
    rule: str = "range",
    gradient_scale: float = 1.0,
) -> Any:
    """Look-up: ``scale * levels[i]``, i the number of thresholds below u = x / scale.

    A value equal to a threshold takes the lower level. With g the incoming gradient, L the first
    and H the last level, m = 2^-20 max(|L|, |H|), and "inside" for ``L - m <= u <= H + m`` (rule
    ``"range"``) or for ``-2^96 <= u <= H + m`` (rule ``"below"``):

    - to x: g inside, 0 outside; NaN is outside;
    - to scale, summed over the elements that share it, times ``gradient_scale``: g (level - u)
      inside, g level outside;
    - to levels and thresholds: none.

    Args:
        x: float32, any shape.
        levels: ascending, float32 tensor or array [levels]; or [channels, levels] with ``axis``.
        thresholds: ascending, [levels - 1]; or [channels, levels - 1] with ``axis``.
        scale: [1], or [channels] with ``axis``; positive; ``None`` for 1.
        axis: dimension of x that scale, and levels and thresholds of two dimensions, run along.
        rule: where the gradient to x passes.
        gradient_scale: factor on the gradient of scale.

    Returns:
        The tensor on its levels, shape and dtype of x.
    """
    levels, thresholds = (no_gradient(paddle.assign(v)) for v in (levels, thresholds))
    fixed = None if scale is None else along(detach(scale), x, axis)
    u = x if fixed is None else x / fixed
    value, low, high = _look_up(u, levels, thresholds, axis)
    edge = paddle.maximum(paddle.abs(low), paddle.abs(high)) * 2.0**-20
    lowest = low - edge if rule == "range" else -(2.0**96)
    inside = paddle.logical_and(u >= lowest, u <= high + edge)
    kept = paddle.where(inside, u, paddle.zeros_like(u))
    # NaN is above no threshold: it is carried over from u.
    value = no_gradient(paddle.where(paddle.isnan(u), u, value))
    y = straight_through(value, kept)
    if fixed is None:
        return y
    slope = no_gradient(value - kept)
    return y * fixed + slope * ((along(scale, x, axis) - fixed) * gradient_scale)


def level_index(u: Any, thresholds: Any, axis: int | None) -> Any:
    """How many thresholds are below each element: int64 of u's shape, or [channels, elements]."""
    # Paddle's search takes -inf for the largest value.
    u = no_gradient(paddle.clip(u, -(2.0**96), 2.0**96))
    rows = u if len(thresholds.shape) == 1 else by_channel(u, axis or 0)
    return paddle.searchsorted(thresholds, rows)


def _look_up(u: Any, levels: Any, thresholds: Any, axis: int | None) -> tuple[Any, Any, Any]:
    """The level of each element; the first and the last level, shaped to broadcast over u."""
    last = len(levels.shape) - 1
    low = paddle.slice(levels, [last], [0], [1])
    high = paddle.slice(levels, [last], [-1], [_END])
    index = level_index(u, thresholds, axis)
    if last == 0:
        return paddle.gather_nd(levels, paddle.unsqueeze(index, -1)), low, high
    assert axis is not None
    rows = paddle.take_along_axis(levels, index, axis=1)
    order = [axis, *(i for i in range(len(u.shape)) if i != axis)]
    value = paddle.reshape(rows, [u.shape[i] for i in order])
    value = paddle.transpose(value, [order.index(i) for i in range(len(order))])
    return value, along(low, u, axis), along(high, u, axis)


__all__ = ["level_index", "nearest_level"]
