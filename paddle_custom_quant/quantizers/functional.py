"""The primitives that formulas are written in.

They work on dynamic-graph tensors, on old programs and on Paddle 3's new programs. In an old
program on Paddle 3 they must run inside :func:`paddle_custom_quant.compat.old_operators`, which
the engine opens around every quantizer.

The larger formulas that have C++ kernels (``fake_quantize``, ``dorefa_weight``, ``dsq``,
``nearest_level``) are in :mod:`.fused`, with the signatures that the kernels share.

Every function here lets NaN through as NaN and turns an infinity into the clip value.
"""

from __future__ import annotations

from typing import Any, Union

import paddle

from ..compat import PADDLE3
from .base import check_bits

Scalar = Union[float, Any]

# Adding and taking away 1.5 * 2^(mantissa bits) leaves the nearest integer, ties to even.
_ROUNDING_OFFSET = {"float32": 1.5 * 2.0**23, "float64": 1.5 * 2.0**52}


def detach(x: Any) -> Any:
    """A copy of x through which no gradient flows.

    Not ``x.detach()``: in a program that shares memory without the executor's knowledge, and an
    operator that reuses its input's memory then overwrites x.
    """
    if paddle.in_dynamic_mode():
        return x.detach()
    return no_gradient(paddle.assign(x))


def no_gradient(result: Any) -> Any:
    """``result`` itself, marked as a constant for the backward pass; costs nothing.

    For a value just computed, which nothing differentiable reads; use :func:`detach` for others.
    """
    if paddle.in_dynamic_mode():
        return result.detach()
    result.stop_gradient = True
    return result


def straight_through(value: Any, x: Any) -> Any:
    """``value`` forward, exactly; backward the gradient of ``x``.

    Pass ``x`` with its infinities clipped: an infinity gives NaN.
    """
    return detach(value) + (x - detach(x))


def round_half_even(x: Any) -> Any:
    """Round to the nearest integer, ties to even; exact for abs(x) < 2^22; no gradient."""
    if PADDLE3:
        return no_gradient(paddle.round(x))
    # Paddle 2.6 rounds halves away from zero.
    offset = _ROUNDING_OFFSET[str(x.dtype).rsplit(".", 1)[-1]]
    return no_gradient((x + offset) - offset)


def ste_round(x: Any) -> Any:
    """Round to nearest, ties to even; the derivative is 1 (straight-through estimator).

    Exact: the difference of a number and its rounding is a float (Sterbenz).
    """
    return x + no_gradient(round_half_even(x) - x)


def clip(x: Any, low: Scalar, high: Scalar) -> Any:
    """Clip to [low, high]; the gradient to x is 1 on the closed interval and 0 outside.

    ``low`` and ``high`` are numbers, or tensors that broadcast to x; a tensor bound gets the
    gradient of the elements strictly outside it.
    """
    above = paddle.cast(x > high, x.dtype)
    below = paddle.cast(x < low, x.dtype)
    return paddle.where(above + below > 0.0, above * high + below * low, x)


def max_abs(x: Any, axis: int | None = None) -> Any:
    """max|x| over the whole tensor, shape [1]; or along every dimension but ``axis``, [channels].

    Through the infinity norm: the gradient of ``paddle.max`` is quadratic on a CPU. Elements that
    tie for the maximum each get its gradient.
    """
    if axis is None:
        return paddle.reshape(paddle.norm(paddle.flatten(x), p=float("inf")), [1])
    return paddle.norm(by_channel(x, axis), p=float("inf"), axis=1)


def mean_abs(x: Any, axis: int | None = None) -> Any:
    """E|x| over the whole tensor, shape [1]; or along every dimension but ``axis``, [channels]."""
    if axis is None:
        return paddle.reshape(paddle.mean(paddle.abs(x)), [1])
    return paddle.mean(paddle.abs(by_channel(x, axis)), axis=1)


def by_channel(x: Any, axis: int) -> Any:
    """x as a matrix [channels, elements of a channel]."""
    order = [axis, *(i for i in range(len(x.shape)) if i != axis)]
    if axis != 0:
        x = paddle.transpose(x, order)
    return paddle.reshape(x, [x.shape[0], -1])


def along(vector: Any, x: Any, axis: int | None) -> Any:
    """``vector`` [channels] shaped to broadcast along ``axis`` of x; as it is if axis is None."""
    if axis is None or not hasattr(vector, "shape"):
        return vector
    return paddle.reshape(vector, [-1 if i == axis else 1 for i in range(len(x.shape))])


def positive(x: Any) -> Any:
    """max(|x|, 2^-60): a step size or clip value that training cannot bring to zero or below.

    A value that an optimizer step takes through zero is mirrored, with its gradient; NaN and
    infinity stay.
    """
    return paddle.clip(paddle.abs(x), 2.0**-60, float("inf"))


def scale_gradient(x: Any, factor: float) -> Any:
    """x forward; backward the gradient times ``factor``."""
    return detach(x) + (x - detach(x)) * factor


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
    return ste_round(x * steps) / steps


__all__ = [
    "along",
    "by_channel",
    "clip",
    "detach",
    "max_abs",
    "mean_abs",
    "no_gradient",
    "positive",
    "quantize_k",
    "round_half_even",
    "scale_gradient",
    "ste_round",
    "straight_through",
]
