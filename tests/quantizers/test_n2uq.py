"""N2UQ: learned thresholds for activations, scaled clip for weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_custom_quant.quantizers import N2UQ, Sample
from paddle_custom_quant.target import WEIGHT, Target
from tests.quantizers.evaluate import evaluate
from tests.quantizers.grid_points import derivative, off_ties


def soft(x: Any, start: Any, widths: Any, at: Any = None) -> Any:
    """The number of the level; with ``at`` piecewise linear, and the level at that point."""

    def linear(x: Any, start: Any, widths: Any) -> Any:
        ends = start + np.append(0, np.cumsum(widths))
        return np.interp(x, ends, np.arange(len(ends)))

    value = linear(x, start, widths)
    return np.rint(value) if at is None else value + np.rint(linear(*at)) - linear(*at)


@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_activations(seed: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    n = 2**bits - 1
    start = float(np.float32(rng.uniform(-0.3, 0.3)))
    widths = rng.uniform(0.2, 1, n).astype("float32").astype("float64")
    step = float(np.float32(rng.uniform(0.1, 2)))
    ends = start + np.append(0, np.cumsum(widths))
    u = off_ties(rng, (4, 5), 0, n, beyond=1)
    x = np.interp(u, np.arange(-1, n + 2), [ends[0] - 1, *ends, ends[-1] + 1])
    x = x.astype("float32").astype("float64")
    g = rng.normal(size=x.shape).astype("float32")
    result = evaluate(
        N2UQ(bits, signed=False), x, g, start={"start": start, "widths": widths, "step": step}
    )
    level = soft(x, start, widths)
    np.testing.assert_allclose(result.y, level * step, rtol=1e-6)
    at = (x, start, widths)

    def loss(x: Any = x, start: Any = start, widths: Any = widths) -> float:
        return float((g * step * soft(x, start, widths, at)).sum())

    close = {"rtol": 2e-3, "atol": 2e-3}
    np.testing.assert_allclose(result.dx, derivative(lambda v: loss(x=v), x), **close)
    expected = derivative(lambda v: loss(start=v[0]), np.array([start]))
    np.testing.assert_allclose(result.gradients["start"], expected, **close)
    expected = derivative(lambda v: loss(widths=v), widths)
    np.testing.assert_allclose(result.gradients["widths"], expected, **close)
    np.testing.assert_allclose(result.gradients["step"], [(g * level).sum()], rtol=1e-4, atol=1e-4)


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(1, 5),
    axis=st.sampled_from([None, 0, 1]),
    clip=st.floats(0.2, 1.5),
)
@settings(max_examples=30, deadline=None)
def test_weights(seed: int, bits: int, axis: int | None, clip: float) -> None:
    rng = np.random.default_rng(seed)
    clip = float(np.float32(clip))
    w = rng.normal(size=(4, 30)).astype("float32")
    g = rng.normal(size=w.shape).astype("float32")
    others = None if axis is None else 1 - axis
    w64 = w.astype("float64")
    n = 2**bits - 1
    m = np.abs(w64).mean(axis=others, keepdims=True) * n / 2 ** (bits - 1)
    reach = clip * m
    u = (np.clip(w64, -reach, reach) + reach) / (2 * reach) * n
    if np.any(np.abs(u % 1 - 0.5) < 1e-3) or np.any(np.abs(np.abs(w64) - reach) < 1e-4):
        return
    result = evaluate(
        N2UQ(bits, per_channel=axis is not None),
        w,
        g,
        role=WEIGHT,
        channel_axis=axis,
        start={"clip": clip},
    )
    np.testing.assert_allclose(result.y, np.rint(u) * 2 * reach / n - reach, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.dx, np.where(np.abs(w64) <= reach, g, 0), rtol=1e-6)
    outside = (w64 > reach).astype(float) - (w64 < -reach)
    np.testing.assert_allclose(
        result.gradients["clip"], [(g * outside * m).sum()], rtol=1e-3, atol=1e-3
    )


def test_start_values(rng: np.random.Generator) -> None:
    values = np.abs(rng.normal(size=1000))
    target = Target("x", (-1, 4))
    owned = N2UQ(2, signed=False).parameters(target)
    np.testing.assert_allclose(owned["widths"].value, [2 / 3] * 3, rtol=1e-6)
    owned = N2UQ(2, signed=False).parameters(target, Sample(values, range=(0.0, 6.0)))
    np.testing.assert_allclose(owned["widths"].value, [2.0] * 3)
    np.testing.assert_allclose(owned["step"].value, [2.0])
    calibrated = N2UQ(2, signed=False).parameters(target, Sample(values))["step"].value
    assert 0 < calibrated < values.max() / 2
    weight = Target("w", (3, 4), role=WEIGHT, channel_axis=0)
    assert N2UQ(4).parameters(weight)["clip"].value == pytest.approx(1.0)
