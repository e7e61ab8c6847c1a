"""The primitives that formulas are written in.

They work on dynamic-graph tensors, on old programs and on Paddle 3's new programs. In an old
program on Paddle 3 they must run inside :func:`paddle_custom_quant.compat.old_operators`, which
the engine opens around every quantizer.
"""

from __future__ import annotations

from typing import Any, Optional, Union

import paddle

from .base import check_bits

Scalar = Union[float, Any]


def detach(x: Any) -> Any:
    """The same values, through which no gradient flows."""
    return x.detach()


def straight_through(value: Any, x: Any) -> Any:
    """``value`` forward; backward the gradient of ``x``.

    Exact in floating point where ``value`` is ``round(x)`` (Sterbenz), and finite inputs only:
    pass ``x`` with its infinities clipped.
    """
    return x + detach(value - x)


def ste_round(x: Any) -> Any:
    """Round to nearest, ties to even; the derivative is 1 (straight-through estimator)."""
    return straight_through(paddle.round(x), x)


def clip(x: Any, low: Scalar, high: Scalar) -> Any:
    """Clip to [low, high]; the gradient to x is 1 on the closed interval and 0 outside.

    ``low`` and ``high`` are numbers or tensors; a tensor bound gets the gradient of the elements
    that are strictly outside it. NaN stays NaN; an infinity becomes the bound.
    """
    inside = paddle.logical_and(x >= low, x <= high)
    above = paddle.cast(x > high, x.dtype)
    below = paddle.cast(x < low, x.dtype)
    invalid = paddle.where(paddle.isnan(x), detach(x), paddle.zeros_like(x))
    kept = paddle.where(inside, x, paddle.zeros_like(x))
    return kept + above * high + below * low + invalid


def quantize_k(x: Any, k: int) -> Any:
    """DoReFa's ``quantize_k``: round x in [0, 1] to 2^k - 1 steps; the gradient is the identity.

    Args:
        x: tensor with values in [0, 1].
        k: bits, 1 to 16.

    Returns:
        round((2^k - 1) x) / (2^k - 1), shape and dtype of x.

    Source:
        DoReFa-Net, arXiv 1606.06160, equations 5 and 6.
    """
    steps = float(2 ** check_bits(k) - 1)
    return straight_through(paddle.round(x * steps) / steps, x)


def channel_shape(x: Any, axis: Optional[int]) -> list[int]:
    """Shape that broadcasts a per-channel vector along ``axis`` of ``x`` ([1] for per tensor)."""
    if axis is None:
        return [1]
    return [-1 if i == axis % len(x.shape) else 1 for i in range(len(x.shape))]


def max_abs(x: Any) -> Any:
    """max|x| over the whole tensor, shape [1].

    Through the infinity norm: the gradient of ``paddle.max`` is quadratic on a CPU.
    """
    return paddle.reshape(paddle.norm(paddle.flatten(x), p=float("inf")), [1])


__all__ = [
    "channel_shape",
    "clip",
    "detach",
    "max_abs",
    "quantize_k",
    "ste_round",
    "straight_through",
]
