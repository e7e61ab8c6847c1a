from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paddle_custom_quant.quantizers.fused import dsq
from tests.kernels.agreement import AXES, EXAMPLES, LONG, SEEDS, SHAPES, both, needs_kernels
from tests.quantizers.grid_points import along, off_ties

pytestmark = needs_kernels


@given(
    seed=SEEDS,
    shape=SHAPES,
    axis=AXES,
    bits=st.integers(1, 8),
    # The softness decides which form of tanh serves.
    alpha=st.sampled_from([1e-5, 0.02, 0.2, 0.5, 0.9]),
)
@example(1, LONG, None, 4, 0.2)
@example(2, LONG, 1, 2, 0.2)
@EXAMPLES
def test_agrees_with_the_composed_formula(
    seed: int, shape: Any, axis: Any, bits: int, alpha: float
) -> None:
    rng = np.random.default_rng(seed)
    steps, channels = 2**bits - 1, 1 if axis is None else shape[axis]
    # No cancellation in x - low, which would only compare two roundings of the same difference.
    tensors = {
        "low": -np.exp2(rng.integers(-3, 2, channels)),
        "high": np.exp2(rng.integers(-3, 2, channels)),
        "alpha": np.array([alpha]),
    }
    low, high = (along(tensors[name], 3, axis) for name in ("low", "high"))
    width = (high - low) / steps
    x = (off_ties(rng, shape, 0, steps) * width + low).astype("float32")
    gradient = rng.normal(size=shape).astype("float32")
    result = both(dsq, x, gradient, tensors, bits=bits, axis=axis)
    result.agree("y", rtol=2e-6, atol=1e-6 * np.abs(low).max())
    # f is off by units in the last place of v, and tanh turns that into steepness times as much.
    steepness = 0.5 / (1 - alpha) * np.log(2 / alpha - 1) ** 2
    ulp = 2.0**-22 * (steps + 1) * (1 + steepness)
    result.agree("x", rtol=2e-6, atol=ulp * np.abs(gradient).max())
    sizes = gradient * (1 + ulp * 1e6)
    result.agree_in_sum("low", 2 * sizes, axis)
    result.agree_in_sum("high", 2 * sizes, axis)
    slope = 1 / alpha + 1 / (1 - alpha) ** 2
    result.agree_in_sum("alpha", sizes * width * slope, None)


@pytest.mark.parametrize("bits", [2, 4])
def test_against_finite_differences(rng: np.random.Generator, bits: int) -> None:
    """The gradient of the soft function in doubles, rounded values in its place."""
    steps, low, high, alpha = 2**bits - 1, -1.0, 2.0, 0.2
    x = (off_ties(rng, (6, 40), 0, steps) * 3 / steps + low).astype("float32").astype("float64")
    gradient = rng.normal(size=x.shape).astype("float32").astype("float64")

    def soft(x: Any, low: float, high: float, alpha: float) -> Any:
        width = (high - low) / steps
        v = (np.clip(x, low, high) - low) / width
        middle = np.clip(np.floor(v), 0, steps - 1) + 0.5
        s, k = 1 / (1 - alpha), np.log(2 / alpha - 1)
        return width, v, 0.5 * s * np.tanh(k * (v - middle)) + middle

    _, v, there = soft(x, low, high, alpha)

    def loss(dx: Any = 0.0, low: float = low, high: float = high, alpha: float = alpha) -> float:
        width, _, value = soft(x + dx, low, high, alpha)
        return float((gradient * (low + width * (value + np.rint(v) - there))).sum())

    tensors = {"low": [low], "high": [high], "alpha": [alpha]}
    fused = both(dsq, x.astype("float32"), gradient, tensors, bits=bits).fused
    d = 1e-6
    for name, value in (("low", low), ("high", high), ("alpha", alpha)):
        slope = (loss(**{name: value + d}) - loss(**{name: value - d})) / (2 * d)
        np.testing.assert_allclose(fused[name], [slope], rtol=1e-4, atol=1e-4)
    dx = rng.normal(size=x.shape) * (np.abs(v - np.rint(v)) > 0.04)
    slope = (loss(d * dx) - loss(-d * dx)) / (2 * d)
    np.testing.assert_allclose((fused["x"] * dx).sum(), slope, rtol=1e-4, atol=1e-4)


def test_invalid_values_and_ends() -> None:
    """NaN stays, infinities become the ends, and the bounds' gradients stay finite for those."""
    x = np.float32([np.inf, -np.inf, -1, 2, 0.4, 300])
    tensors = {"low": [-1.0], "high": [2.0], "alpha": [0.2]}
    result = both(dsq, x, np.ones(6), tensors, bits=2)
    np.testing.assert_allclose(result.fused["y"], [2, -1, -1, 2, 0, 2], atol=1e-6)
    for name in ("x", "low", "high"):
        result.agree(name, rtol=1e-5, atol=1e-6)
    y = both(dsq, np.float32([np.nan, 0.1]), np.ones(2), tensors, bits=2).fused["y"]
    assert np.isnan(y[0]) and not np.isnan(y[1])


@pytest.mark.parametrize("low, high", [(1.0, 1.0), (2.0, -1.0)])
def test_bounds_that_meet_or_cross(low: float, high: float) -> None:
    x = np.float32([-3, 0.1, 0.9, 1.0, 5])
    tensors = {"low": [low], "high": [high], "alpha": [0.3]}
    result = both(dsq, x, np.ones(5), tensors, bits=3)
    result.agree("y", rtol=2e-6)
    if low != high:
        for name in ("x", "low", "high"):
            result.agree(name, rtol=1e-5, atol=1e-5)
