"""DSQ's ranges and softness (the formula: test_fused.py)."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant.quantizers import DSQ, Sample
from paddle_custom_quant.target import WEIGHT, Target
from tests.quantizers.evaluate import MODES, evaluate


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_weights_take_mean_and_deviation(axis: int | None, rng: np.random.Generator) -> None:
    w = rng.normal(0.2, 1.5, size=(5, 300)).astype("float32")
    target = Target("w", w.shape, role=WEIGHT, channel_axis=axis)
    quantizer = DSQ(3, per_channel=axis is not None)
    grid = quantizer.grid(target, w, alpha=np.float32([0.2]))
    others = None if axis is None else 1 - axis
    mean, deviation = (
        np.atleast_1d(f(w.astype("float64"), axis=others)) for f in (np.mean, np.std)
    )
    np.testing.assert_allclose(grid.offset, mean - 2.6 * deviation, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grid.step * 7, 5.2 * deviation, rtol=1e-4)
    assert set(quantizer.parameters(target, Sample(w))) == {"alpha"}


@pytest.mark.parametrize("mode", MODES)
def test_activations_keep_a_moving_average(mode: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(7, 9)).astype("float32")
    start = {"total": [-8.0, 4.0], "count": [2.0]}
    result = evaluate(DSQ(4, momentum=0.5), x, start=start, mode=mode)
    total = np.array([-8.0, 4.0]) * 0.5 + [x.min(), x.max()]
    np.testing.assert_allclose(result.states["total"], total, rtol=1e-6)
    np.testing.assert_allclose(result.states["count"], [2.0])
    low, high = total / 2
    q = (result.y - low) / (high - low) * 15
    np.testing.assert_allclose(q, np.rint(q), atol=1e-4)
    still = evaluate(DSQ(4), x, start=start, mode=mode, training=False)
    np.testing.assert_array_equal(still.states["total"], start["total"])


def test_learned_range_starts_where_the_measured_one_is(rng: np.random.Generator) -> None:
    w = rng.normal(size=(4, 50))
    target = Target("w", w.shape, role=WEIGHT, channel_axis=0)
    owned = DSQ(4, learn_range=True, per_channel=True).parameters(target, Sample(w))
    mean, reach = w.mean(axis=1), 2.6 * w.std(axis=1)
    np.testing.assert_allclose(owned["low"].value, mean - reach, rtol=1e-5)
    np.testing.assert_allclose(owned["high"].value, mean + reach, rtol=1e-5)
    activation = Target("x", (-1, 3))
    owned = DSQ(4, learn_range=True).parameters(activation, Sample(w, range=(-1.0, 2.0)))
    assert (owned["low"].value, owned["high"].value) == (-1, 2)
    assert set(DSQ(4, signed=False, learn_range=True).parameters(activation)) == {"alpha", "high"}
    owned = DSQ(4, learn_alpha=False).parameters(activation, Sample(w))
    np.testing.assert_allclose(owned["total"].value, [w.min(), w.max()], rtol=1e-6)
    assert set(owned) == {"total", "count"}


def test_alpha_is_held_at_one_half_and_can_come_back(rng: np.random.Generator) -> None:
    w = rng.normal(size=(6, 60))
    g = rng.normal(size=w.shape)
    half, above = (evaluate(DSQ(2), w, g, role=WEIGHT, start={"alpha": a}) for a in (0.5, 0.9))
    np.testing.assert_array_equal(half.dx, above.dx)
    np.testing.assert_array_equal(half.gradients["alpha"], above.gradients["alpha"])
    assert above.gradients["alpha"] != 0


def test_a_small_alpha_is_nearly_a_staircase(rng: np.random.Generator) -> None:
    """Most of the slope gathers in the middle between two levels."""
    x = np.linspace(0.01, 0.99, 99)
    start = {"low": 0.0, "high": 1.0}
    sharp, soft = (
        evaluate(DSQ(1, learn_range=True, learn_alpha=False, alpha=a), x, start=start).dx
        for a in (0.01, 0.5)
    )
    assert sharp[49] > 2 * soft[49]
    assert sharp[0] < 0.2 * soft[0]
