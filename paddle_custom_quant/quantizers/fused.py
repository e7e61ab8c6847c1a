"""The four formulas that most methods are made of, composed of Paddle operators.

Each has a C++ counterpart of the same name and signature in ``kernels/ops.py``, which serves where
it can; the versions here serve elsewhere, and say what the kernels must compute. With
u = (x - offset) / step, "inside" means ``qmin - m <= u <= qmax + m`` with
m = 2^-20 max(|qmin|, |qmax|): an element on a bound counts as inside whichever way the division
rounds.
"""

from __future__ import annotations

from typing import Any

import paddle

from ..kernels import ops, with_kernel
from .base import check_bits
from .functional import (
    along,
    detach,
    max_abs,
    mean_abs,
    no_gradient,
    positive,
    round_half_even,
    scale_gradient,
    ste_round,
    straight_through,
)
from .look_up import nearest_level

RULES = ("range", "clip", "lsq")


def margin(qmin: float, qmax: float) -> float:
    """How far outside [qmin, qmax], in steps, still counts as on the bound."""
    return 2.0**-20 * max(abs(qmin), abs(qmax))


@with_kernel(ops.fake_quantize)
def fake_quantize(
    x: Any,
    step: float | Any,
    qmin: int,
    qmax: int,
    *,
    offset: Any | None = None,
    axis: int | None = None,
    rule: str = "range",
    gradient_scale: float = 1.0,
    unit: float = 1.0,
) -> Any:
    """Uniform fake quantization: ``step * round(clip((x - offset) / step, qmin, qmax)) + offset``.

    Rounding is to nearest, ties to even. With g the incoming gradient, u = (x - offset) / step and
    r = round(clip(u, qmin, qmax)):

    - to x: g inside, 0 outside (see the module for "inside"); NaN is outside;
    - to step, summed over the elements that share it, times ``gradient_scale``:
      ``"range"``: none; ``"clip"``: g qmax where u >= qmax - m, g qmin where u <= qmin + m, else 0;
      ``"lsq"``: g (r - u) inside, g r outside;
    - to offset: ``"range"``: none; ``"clip"`` and ``"lsq"``: g outside, 0 inside, summed and times
      ``gradient_scale``.

    NaN in x gives NaN in y (and in the gradient of step); an infinity gives the end of the grid.

    Args:
        x: float32, any shape (-1 allowed in a program).
        step: a positive number, or float32 [1], or [channels] with ``axis``; of these the size
            counts, as :func:`.functional.positive` gives it, times ``unit``.
        qmin: smallest integer.
        qmax: largest integer, at most 2^16.
        offset: real value of integer 0, the shape of step; ``None`` for 0.
        axis: dimension of x that step and offset run along; ``None`` for one step.
        rule: the gradient of step and offset.
        gradient_scale: factor on the gradients of step and offset.
        unit: factor on a step that is a tensor; its gradient has it too.

    Returns:
        The tensor on its grid, shape and dtype of x.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}.")
    edge = margin(qmin, qmax)
    fixed = step if isinstance(step, float) else along(in_units(step, unit), x, axis)
    shift = None if offset is None else along(offset, x, axis)
    learned = None
    if rule == "range":
        fixed = fixed if isinstance(fixed, float) else detach(fixed)
        shift = None if shift is None else detach(shift)
    else:
        learned, fixed = fixed, detach(fixed)
        shift = None if shift is None else scale_gradient(shift, gradient_scale)
    u = (x if shift is None else x - shift) / fixed
    # Paddle 2.6 and 3 differ in the gradient of clip exactly on a bound; nothing lies on these.
    c = paddle.clip(u, qmin - edge, qmax + edge)
    error = no_gradient(round_half_even(c) - c)
    q = c + error
    y = q * fixed
    if learned is not None:
        slope = no_gradient(_step_slope(u, c, q, error, qmin, qmax, rule))
        y = y + slope * ((learned - fixed) * gradient_scale)
    return y if shift is None else y + shift


def in_units(step: Any, unit: float) -> Any:
    """The size of a learned step, times the unit it counts in."""
    size = positive(step)
    return size if unit == 1.0 else size * unit


def _step_slope(u: Any, c: Any, q: Any, error: Any, qmin: int, qmax: int, rule: str) -> Any:
    """dy/dstep of each element, from u, u clipped, that rounded, and the rounding error."""
    if rule == "lsq":
        return paddle.where(paddle.equal(u, c), error, q)
    edge = margin(qmin, qmax)
    slope = paddle.cast(c >= qmax - edge, c.dtype) * float(qmax)
    if qmin:
        slope = slope + paddle.cast(c <= qmin + edge, c.dtype) * float(qmin)
    return slope


@with_kernel(ops.dorefa_weight)
def dorefa_weight(
    w: Any,
    bits: int,
    *,
    detach_max: bool = False,
    rescale: bool = False,
    axis: int | None = None,
) -> Any:
    """DoReFa's weights: ``2 quantize_k(tanh(w) / (2 max|tanh w|) + 1/2) - 1``.

    The gradient goes through the rounding as identity, then through the division and tanh; and,
    unless ``detach_max``, through the maximum: with t = tanh w, M = max|t| and g the incoming
    gradient (times the rescaling factor), ``dw_i = (1 - t_i^2) (g_i / M - [|t_i| = M] sign(t_i)
    sum(g t) / M^2)``. One bit: ``sign(w) E|w|`` with sign(0) = +1, E|w| detached, gradient
    identity (``rescale`` and ``detach_max`` do nothing). All-zero weights give zeros.

    Args:
        w: float32 weights, any shape.
        bits: 1 to 16.
        detach_max: let no gradient through the maximum.
        rescale: multiply the result by max|w|, detached.
        axis: take the maximum (or mean) per index of this dimension; ``None``: of the whole tensor.

    Returns:
        The quantized weights, shape and dtype of w.
    """
    steps = float(2 ** check_bits(bits) - 1)
    if bits == 1:
        sign = paddle.cast(w >= 0.0, w.dtype) * 2.0 - 1.0
        return straight_through(sign * along(mean_abs(w, axis), w, axis), w)
    t = paddle.tanh(w)
    largest = max_abs(t, axis)
    if detach_max:
        largest = no_gradient(largest)
    # One instead of a zero maximum: tanh(0) / 1 is 0 where 0 / 0 would be NaN.
    empty = paddle.cast(paddle.equal(largest, paddle.zeros_like(largest)), w.dtype)
    height = no_gradient(max_abs(w, axis) if rescale else 1.0 - empty)
    u = t * along(0.5 * steps / (largest + empty), w, axis) + 0.5 * steps
    return (ste_round(u) - 0.5 * steps) * along(height * (2.0 / steps), w, axis)


@with_kernel(ops.dsq)
def dsq(
    x: Any,
    low: Any,
    high: Any,
    alpha: Any,
    bits: int,
    *,
    axis: int | None = None,
) -> Any:
    """Differentiable soft quantization on [low, high]: rounded forward, a chain of tanh backward.

    With D = max(|high - low|, 2^-60) / (2^bits - 1), v = (clip(x, low, high) - low) / D,
    f = v - floor(v), S = 1 / (1 - alpha), K = ln(2 / alpha - 1) and
    soft = floor(v) + 1/2 S tanh(K (f - 1/2)) + 1/2: forward ``low + D round(v)``; backward the
    gradient of ``low + D soft`` to x, low, high and alpha, with round(v) in the place of soft
    where its value (not its derivative) enters.

    Args:
        x: float32, any shape.
        low: [1], or [channels] with ``axis``.
        high: the shape of low, above it.
        alpha: softness in (0, 1): the distance of the tanh's ends from the levels; [1].
        bits: 1 to 16; 2^bits levels.
        axis: dimension of x that low and high run along.

    Returns:
        The tensor on its grid, shape and dtype of x.
    """
    steps = float(2 ** check_bits(bits) - 1)
    step = positive(high - low) / steps
    base, width = along(low, x, axis), along(step, x, axis)
    edge = margin(0, steps)
    # Finite, so that the gradient of an infinite x to the bounds is not 0 times infinity.
    v = paddle.clip((paddle.clip(x, -(2.0**96), 2.0**96) - base) / width, -edge, steps + edge)
    # The tanh of the interval that holds v; the last one also serves v = steps.
    middle = no_gradient(paddle.clip(paddle.floor(v), 0.0, steps - 1.0) + 0.5)
    sharpness = paddle.log(2.0 / alpha - 1.0)
    soft = paddle.tanh((v - middle) * sharpness) * (0.5 / (1.0 - alpha)) + middle
    return (soft + no_gradient(round_half_even(v) - soft)) * width + base


__all__ = ["RULES", "dorefa_weight", "dsq", "fake_quantize", "in_units", "margin", "nearest_level"]
