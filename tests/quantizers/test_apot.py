"""APoT: its levels, its normalisation and its gradients."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_custom_quant.quantizers import APoT, Sample
from paddle_custom_quant.quantizers.apot import apot_levels
from paddle_custom_quant.target import ACTIVATION, WEIGHT, Target
from tests.quantizers.evaluate import evaluate


@pytest.mark.parametrize(
    ("bits", "terms"),
    [
        (2, [[0, 2**-1, 2**-2, 2**-3]]),
        (3, [[0, 2**-1, 2**-2, 2**-4], [0, 2**-3]]),
        (4, [[0, 2**-1, 2**-3, 2**-5], [0, 2**-2, 2**-4, 2**-6]]),
    ],
)
def test_levels_of_the_paper(bits: int, terms: list[list[float]]) -> None:
    sums = sorted(sum(choice) for choice in product(*terms))
    np.testing.assert_allclose(apot_levels(bits), np.array(sums) / max(sums), rtol=1e-6)


@pytest.mark.parametrize("bits", range(1, 7))
def test_number_of_levels(bits: int) -> None:
    levels = apot_levels(bits)
    assert len(np.unique(levels)) == 2**bits
    assert (levels[0], levels[-1]) == (0, 1)
    signed = APoT(bits + 1).levels
    np.testing.assert_array_equal(signed, -signed[::-1])
    assert len(np.unique(signed)) == 2 ** (bits + 1) - 1


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(2, 6),
    weights=st.booleans(),
    rescale=st.booleans(),
    axis=st.sampled_from([None, 0, 1]),
)
@settings(max_examples=40, deadline=None)
def test_apot(seed: int, bits: int, weights: bool, rescale: bool, axis: int | None) -> None:
    rng = np.random.default_rng(seed)
    axis = axis if weights else None
    x = rng.normal(0.3, 1.2, size=(7, 6)).astype("float32")
    g = rng.normal(size=x.shape).astype("float32")
    quantizer = APoT(bits, signed=weights, rescale=rescale, per_channel=axis is not None)
    others = None if axis is None else 1 - axis
    channels = 1 if axis is None else x.shape[axis]
    alpha = rng.uniform(0.8, 1.5, channels).astype("float32")
    a = alpha.astype("float64").reshape(-1, 1) if axis == 0 else alpha.astype("float64")
    v, mean, sigma = x.astype("float64"), 0.0, 1.0
    if weights:
        mean, sigma = v.mean(axis=others, keepdims=True), v.std(axis=others, keepdims=True)
        v = (v - mean) / sigma
    levels = quantizer.levels.astype("float64")
    u = v / a
    distance = np.abs(u[..., None] - levels)
    nearest = levels[distance.argmin(-1)]
    ordered = np.sort(distance, axis=-1)
    safe = (ordered[..., 1] - ordered[..., 0] > 1e-4) & (np.abs(np.abs(u) - 1) > 1e-4)
    if not safe.all():
        return
    inside = (u <= 1) & (u >= (-1 if weights else 0))
    y = a * nearest
    result = evaluate(
        quantizer,
        x,
        g,
        role=WEIGHT if weights else ACTIVATION,
        channel_axis=axis,
        start={"alpha": alpha},
    )
    undo = rescale and weights
    np.testing.assert_allclose(result.y, y * sigma + mean if undo else y, rtol=1e-4, atol=1e-5)
    factor = 1.0 if undo else 1 / sigma
    np.testing.assert_allclose(result.dx, np.where(inside, g * factor, 0), rtol=1e-4)
    slope = g * (nearest - np.where(inside, u, 0)) * (sigma if undo else 1)
    expected = slope.sum().reshape(1) if axis is None else slope.sum(axis=others)
    np.testing.assert_allclose(result.gradients["alpha"], expected, rtol=1e-3, atol=1e-3)


def test_start_values(rng: np.random.Generator) -> None:
    values = np.abs(rng.normal(size=2000))
    weight = Target("w", (4, 5), role=WEIGHT, channel_axis=0)
    activation = Target("x", (-1, 5))
    assert APoT(4).parameters(weight, Sample(values))["alpha"].value == 3
    per_channel = APoT(4, per_channel=True, alpha=2.0).parameters(weight)["alpha"].value
    np.testing.assert_array_equal(per_channel, [2.0] * 4)
    quantizer = APoT(4, signed=False)
    assert quantizer.parameters(activation)["alpha"].value == 8
    sample = Sample(values, range=(0.0, 2.5))
    assert quantizer.parameters(activation, sample)["alpha"].value == 2.5
    alpha = float(quantizer.parameters(activation, Sample(values))["alpha"].value[0])

    def error(alpha: float) -> float:
        near = np.abs(values[:, None] / alpha - quantizer.levels).argmin(1)
        return ((quantizer.levels[near] * alpha - values) ** 2).sum()

    assert error(alpha) <= 1.01 * min(error(a) for a in np.linspace(0.2, values.max(), 100))
