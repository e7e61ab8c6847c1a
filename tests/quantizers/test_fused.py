"""The shared formulas against NumPy in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_custom_quant.quantizers import Parameter, Quantizer
from paddle_custom_quant.quantizers import fused as formulas
from tests.quantizers.evaluate import MODES, evaluate
from tests.quantizers.grid_points import along, derivative, off_ties, shared_sum

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = settings(max_examples=40, deadline=None)


@dataclass(frozen=True)
class Formula(Quantizer):
    """Any function of x and named parameters, as a quantizer."""

    function: Any
    values: Any
    bits: int = 8
    signed: bool = True

    def parameters(self, target: Any, sample: Any = None) -> dict[str, Parameter]:
        return {k: Parameter(np.asarray(v, "float32")) for k, v in self.values.items()}

    def quantize(self, x: Any, target: Any, **parameters: Any) -> Any:
        return self.function(x, **parameters)


@given(
    seed=SEEDS,
    shape=SHAPES,
    bits=st.integers(1, 16),
    signed=st.booleans(),
    per_channel=st.booleans(),
    with_offset=st.booleans(),
    rule=st.sampled_from(formulas.RULES),
    unit=st.sampled_from([1.0, 0.375, 1 / 15]),
)
@EXAMPLES
def test_fake_quantize(
    seed: int,
    shape: tuple[int, ...],
    bits: int,
    signed: bool,
    per_channel: bool,
    with_offset: bool,
    rule: str,
    unit: float,
) -> None:
    rng = np.random.default_rng(seed)
    axis = int(rng.integers(len(shape))) if per_channel else None
    channels = 1 if axis is None else shape[axis]
    n, p = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    learned = (rng.uniform(0.01, 2, channels) / unit).astype("float32")
    step = learned * np.float32(unit)
    offset = (rng.normal(size=channels) * with_offset).astype("float32")
    s, b = (along(v.astype("float64"), len(shape), axis) for v in (step, offset))
    x = (off_ties(rng, shape, n, p) * s + b).astype("float32")
    g = rng.normal(size=shape).astype("float32")
    scale = float(rng.uniform(0.1, 2))

    u = (x - b) / s
    inside = (u >= n) & (u <= p)
    r = np.rint(np.clip(u, n, p))
    slopes = {
        "range": np.zeros(shape),
        "clip": np.where(u >= p, p, 0) + np.where(u <= n, n, 0),
        "lsq": np.where(inside, r - u, r),
    }
    result = evaluate(
        Formula(
            lambda x, step, offset=None: formulas.fake_quantize(
                x,
                step,
                n,
                p,
                offset=offset,
                axis=axis,
                rule=rule,
                gradient_scale=scale,
                unit=unit,
            ),
            {"step": learned, **({"offset": offset} if with_offset else {})},
        ),
        x,
        g,
    )
    # One unit in the last place of u, of which all else is computed.
    ulp = 2.0**-22 * max(abs(n), p, np.abs(u).max())
    np.testing.assert_allclose(result.y, r * s + b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.dx, np.where(inside, g, 0), rtol=1e-6, atol=1e-30)
    # The extra offset error is that of x - offset.
    near = ulp + 2.0**-22 * np.abs(b / s).max()
    np.testing.assert_allclose(
        result.gradients["step"],
        unit * scale * shared_sum(g * slopes[rule], axis),
        rtol=1e-5,
        atol=unit * scale * near * np.abs(g).sum(),
    )
    if with_offset:
        expected = scale * shared_sum(np.where(inside, 0, g), axis) * (rule != "range")
        atol = 1e-5 * scale * np.abs(g).sum()
        np.testing.assert_allclose(result.gradients["offset"], expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("rule", formulas.RULES)
def test_fake_quantize_bounds_ties_and_invalid_values(rule: str) -> None:
    """On a bound is inside; ties go to even; NaN stays, infinities become the ends."""
    x = np.array([-2.0, 2.0, 0.5, 1.5, -0.5, -1.5, np.nan, np.inf, -np.inf], dtype="float32")
    quantize = Formula(
        lambda x, step: formulas.fake_quantize(x, step, -2, 2, rule=rule), {"step": [1.0]}
    )
    result = evaluate(quantize, x)
    np.testing.assert_array_equal(result.y, [-2, 2, 0, 2, 0, -2, np.nan, 2, -2])
    np.testing.assert_array_equal(result.dx, [1, 1, 1, 1, 1, 1, 0, 0, 0])
    slope = evaluate(quantize, x[7:]).gradients["step"]
    np.testing.assert_array_equal(slope, [0.0])
    assert (np.isnan(result.gradients["step"][0])) == (rule == "lsq")


def test_fake_quantize_refuses_unknown_rules() -> None:
    with pytest.raises(ValueError, match="rule must be one of range, clip, lsq, got 'ste'"):
        formulas.fake_quantize(paddle.ones([2]), 1.0, 0, 3, rule="ste")


def dorefa(w: np.ndarray, bits: int, axis: int | None, height: Any, at: Any = None) -> Any:
    """DoReFa's weights in float64; with ``at``, the soft function whose gradient is the STE's."""
    steps = 2**bits - 1
    others = None if axis is None else tuple(i for i in range(w.ndim) if i != axis)

    def u(w: np.ndarray) -> np.ndarray:
        t = np.tanh(w)
        return t / (2 * np.abs(t).max(axis=others, keepdims=True)) + 0.5

    at = w if at is None else at
    rounded = np.rint(u(at) * steps) / steps
    return height * (2 * (u(w) + rounded - u(at)) - 1)


@given(
    seed=SEEDS,
    shape=SHAPES,
    bits=st.integers(2, 8),
    per_channel=st.booleans(),
    rescale=st.booleans(),
    detach_max=st.booleans(),
)
@EXAMPLES
def test_dorefa_weight(
    seed: int,
    shape: tuple[int, ...],
    bits: int,
    per_channel: bool,
    rescale: bool,
    detach_max: bool,
) -> None:
    rng = np.random.default_rng(seed)
    axis = int(rng.integers(len(shape))) if per_channel else None
    others = None if axis is None else tuple(i for i in range(len(shape)) if i != axis)
    # Distinct magnitudes: where two share the maximum it has no derivative.
    w = np.linspace(0.1, 1.5, int(np.prod(shape))) * rng.choice([-1, 1], int(np.prod(shape)))
    w = rng.permutation(w).reshape(shape).astype("float32").astype("float64")
    t = np.tanh(w)
    largest = np.abs(t).max(axis=others, keepdims=True)
    tie = (t / largest + 1) / 2 * (2**bits - 1) % 1
    if np.any(np.abs(tie - 0.5) < 1e-4):
        return
    height = np.abs(w).max(axis=others, keepdims=True) if rescale else 1.0
    g = rng.normal(size=shape).astype("float32")
    result = evaluate(
        Formula(
            lambda x: formulas.dorefa_weight(
                x, bits, detach_max=detach_max, rescale=rescale, axis=axis
            ),
            {},
        ),
        w,
        g,
    )
    np.testing.assert_allclose(result.y, dorefa(w, bits, axis, height), rtol=1e-5, atol=1e-6)
    if detach_max:
        expected = g * height * (1 - t**2) / largest
    else:
        expected = derivative(lambda v: float((g * dorefa(v, bits, axis, height, w)).sum()), w)
    np.testing.assert_allclose(result.dx, expected, rtol=1e-3, atol=1e-4)


def test_dorefa_weight_one_bit(rng: np.random.Generator) -> None:
    w = rng.normal(size=(4, 6)).astype("float32")
    w[0, 0] = 0
    g = rng.normal(size=w.shape).astype("float32")
    for axis in (None, 0, 1):
        result = evaluate(Formula(lambda x, a=axis: formulas.dorefa_weight(x, 1, axis=a), {}), w, g)
        mean = np.abs(w).mean() if axis is None else np.abs(w).mean(axis=1 - axis, keepdims=True)
        np.testing.assert_allclose(result.y, np.where(w >= 0, 1, -1) * mean, rtol=1e-6)
        np.testing.assert_array_equal(result.dx, g)


def soft_dsq(x: Any, low: Any, high: Any, alpha: Any, bits: int, at: Any = None) -> Any:
    """DSQ in float64: forward, or with ``at`` the soft function with its value at that point."""

    def parts(x: Any, low: Any, high: Any, alpha: Any) -> tuple[Any, Any, Any]:
        step = (high - low) / (2**bits - 1)
        v = (np.clip(x, low, high) - low) / step
        floor = np.minimum(np.floor(v), 2**bits - 2)
        k, s = np.log(2 / alpha - 1), 1 / (1 - alpha)
        return step, floor + 0.5 * s * np.tanh(k * (v - floor - 0.5)) + 0.5, np.rint(v)

    step, soft, rounded = parts(x, low, high, alpha)
    if at is not None:
        _, soft_there, rounded_there = parts(*at)
        rounded = soft + rounded_there - soft_there
    return low + step * rounded


@given(
    seed=SEEDS,
    shape=SHAPES,
    bits=st.integers(1, 8),
    per_channel=st.booleans(),
    alpha=st.floats(0.02, 0.5),
)
@EXAMPLES
def test_dsq(seed: int, shape: tuple[int, ...], bits: int, per_channel: bool, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    axis = int(rng.integers(len(shape))) if per_channel else None
    channels = 1 if axis is None else shape[axis]
    low = rng.uniform(-2, -0.5, channels).astype("float32").astype("float64")
    high = rng.uniform(0.5, 3, channels).astype("float32").astype("float64")
    alpha = float(np.float32(alpha))
    lows, highs = (along(v, len(shape), axis) for v in (low, high))
    steps = 2**bits - 1
    x = off_ties(rng, shape, 0, steps) * (highs - lows) / steps + lows
    x = x.astype("float32").astype("float64")
    g = rng.normal(size=shape).astype("float32")
    result = evaluate(
        Formula(
            lambda x, low, high, alpha: formulas.dsq(x, low, high, alpha, bits, axis=axis),
            {"low": low, "high": high, "alpha": [alpha]},
        ),
        x,
        g,
    )
    at = (x, lows, highs, alpha)
    np.testing.assert_allclose(result.y, soft_dsq(*at, bits), rtol=1e-5, atol=2e-6)

    def loss(x: Any = x, low: Any = low, high: Any = high, alpha: Any = alpha) -> float:
        ends = (along(v, len(shape), axis) for v in (low, high))
        return float((g * soft_dsq(x, *ends, alpha, bits, at)).sum())

    sharp = np.log(2 / alpha - 1) * 2.0**-21 * steps * (1 + np.abs(g).sum())
    close = {"rtol": 1e-3, "atol": 1e-4 + sharp}
    np.testing.assert_allclose(result.dx, derivative(lambda v: loss(x=v), x), **close)
    for name, value in (("low", low), ("high", high), ("alpha", np.array([alpha]))):
        expected = derivative(lambda v, name=name: loss(**{name: v}), value)
        np.testing.assert_allclose(result.gradients[name], expected, **close, err_msg=name)


@given(
    seed=SEEDS,
    shape=SHAPES,
    count=st.integers(2, 16),
    per_channel=st.booleans(),
    with_scale=st.booleans(),
    own_levels=st.booleans(),
    rule=st.sampled_from(["range", "below"]),
)
@EXAMPLES
def test_nearest_level(
    seed: int,
    shape: tuple[int, ...],
    count: int,
    per_channel: bool,
    with_scale: bool,
    own_levels: bool,
    rule: str,
) -> None:
    rng = np.random.default_rng(seed)
    axis = int(rng.integers(len(shape))) if per_channel else None
    channels = 1 if axis is None else shape[axis]
    rows = channels if own_levels and per_channel else 1
    levels = np.cumsum(rng.uniform(0.2, 1, (rows, count)), axis=1) - 2
    levels = levels.astype("float32").astype("float64")
    thresholds = (levels[:, 1:] + levels[:, :-1]) / 2
    scale = rng.uniform(0.5, 2, channels) if with_scale else np.ones(channels)
    scale = scale.astype("float32").astype("float64")
    # Elements around a random level of their channel, off thresholds and ends.
    pick = rng.integers(0, count, shape)
    channel = along(np.arange(channels), len(shape), axis) if rows > 1 else 0
    u = levels[channel, pick] + rng.uniform(0.01, 0.09, shape) * rng.choice([-1, 1], shape)
    s = along(scale, len(shape), axis)
    x = (u * s).astype("float32").astype("float64")
    u = x / s
    g = rng.normal(size=shape).astype("float32")

    index = (u[..., None] > np.broadcast_to(thresholds[channel], (*shape, count - 1))).sum(-1)
    value = levels[channel, index]
    first, last = levels[channel, 0 * pick], levels[channel, 0 * pick + count - 1]
    inside = (u <= last) & ((u >= first) | (rule == "below"))
    slope = value - np.where(inside, u, 0)
    flat = rows == 1
    result = evaluate(
        Formula(
            lambda x, scale=None: formulas.nearest_level(
                x,
                (levels[0] if flat else levels).astype("float32"),
                (thresholds[0] if flat else thresholds).astype("float32"),
                scale=scale,
                axis=axis,
                rule=rule,
                gradient_scale=0.5,
            ),
            {"scale": scale} if with_scale else {},
        ),
        x,
        g,
    )
    np.testing.assert_allclose(result.y, value * s, rtol=1e-6)
    np.testing.assert_allclose(result.dx, np.where(inside, g, 0), rtol=1e-6)
    if with_scale:
        expected = 0.5 * shared_sum(g * slope, axis)
        atol = 1e-5 * (1 + np.abs(g).sum())
        np.testing.assert_allclose(result.gradients["scale"], expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("mode", MODES)
def test_nearest_level_ties_and_invalid_values(mode: str) -> None:
    x = np.array([[0.5, 1.0, np.nan, np.inf, -np.inf, -5.0]], dtype="float32")
    levels = np.array([0.0, 1.0, 3.0], dtype="float32")
    thresholds = np.array([0.5, 2.0], dtype="float32")
    for axis in (None, 0):
        tables = (levels, thresholds) if axis is None else (levels[None], thresholds[None])
        both, below = (
            evaluate(
                Formula(
                    lambda x, r=r, t=tables, a=axis: formulas.nearest_level(x, *t, axis=a, rule=r),
                    {},
                ),
                x,
                mode=mode,
            )
            for r in ("range", "below")
        )
        np.testing.assert_array_equal(both.y, [[0, 1, np.nan, 3, 0, 0]])
        np.testing.assert_array_equal(both.dx, [[1, 1, 0, 0, 0, 0]])
        np.testing.assert_array_equal(below.y, both.y)
        np.testing.assert_array_equal(below.dx, [[1, 1, 0, 0, 0, 1]])
