"""LSQ and LSQ+: the gradient scale and the start values (the formula: test_fused.py)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_custom_quant.quantizers import LSQ, LSQPlus, Sample
from paddle_custom_quant.quantizers.lsq import step_gradient_scale
from paddle_custom_quant.target import ACTIVATION, WEIGHT, Target
from tests.quantizers.evaluate import evaluate
from tests.quantizers.grid_points import along, off_ties, shared_sum


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(2, 8),
    signed=st.booleans(),
    axis=st.sampled_from([None, 0, 1]),
    role=st.sampled_from([WEIGHT, ACTIVATION]),
    plus=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_gradients(
    seed: int, bits: int, signed: bool, axis: int | None, role: str, plus: bool
) -> None:
    rng = np.random.default_rng(seed)
    axis = axis if role == WEIGHT else None
    shape = (6, 5, 4)
    n, p = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    channels = 1 if axis is None else shape[axis]
    step = rng.uniform(0.1, 2, channels).astype("float32").astype("float64")
    beta = float(np.float32(rng.normal())) if plus and role == ACTIVATION else 0.0
    s = along(step, 3, axis)
    x = (off_ties(rng, shape, n, p) * s + beta).astype("float32").astype("float64")
    g = rng.normal(size=shape).astype("float32")

    u = (x - beta) / s
    inside = (u >= n) & (u <= p)
    elements = (6 * 5 * 4) // channels if role == WEIGHT else 5 * 4
    scale = 1 / np.sqrt(elements * p)
    start = {"step": step, **({"offset": beta} if plus and role == ACTIVATION else {})}
    make = LSQPlus if plus else LSQ
    result = evaluate(
        make(bits, signed, per_channel=axis is not None),
        x,
        g,
        role=role,
        channel_axis=axis,
        start=start,
    )
    rounded = np.rint(np.clip(u, n, p))
    np.testing.assert_allclose(result.y, s * rounded + beta, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.dx, np.where(inside, g, 0), rtol=1e-6)
    expected = scale * shared_sum(g * (rounded - np.where(inside, u, 0)), axis)
    np.testing.assert_allclose(result.gradients["step"], expected, rtol=1e-4, atol=1e-3)
    if "offset" in start:
        expected = scale * (g * ~inside).sum()
        np.testing.assert_allclose(result.gradients["offset"], [expected], rtol=1e-4, atol=1e-4)


def test_a_step_below_zero_is_mirrored(rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 5))
    g = rng.normal(size=(5, 5))
    up, down = (evaluate(LSQ(3), x, g, start={"step": s}) for s in (0.3, -0.3))
    np.testing.assert_array_equal(up.y, down.y)
    np.testing.assert_array_equal(up.gradients["step"], -down.gradients["step"])


def test_gradient_scale_of_unknown_dimensions() -> None:
    activation = Target("x", (-1, 8, 3, -1))
    assert step_gradient_scale(activation, None, 7) == pytest.approx(1 / np.sqrt(8 * 3 * 7))
    weight = Target("w", (16, 8, 3, 3), role=WEIGHT, channel_axis=0)
    assert step_gradient_scale(weight, 0, 7) == pytest.approx(1 / np.sqrt(8 * 9 * 7))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_lsq_starts_from_the_mean(axis: int | None, rng: np.random.Generator) -> None:
    w = rng.normal(size=(3, 4, 5)) * np.array([1, 2, 3, 4])[:, None]
    target = Target("w", w.shape, role=WEIGHT, channel_axis=axis)
    step = LSQ(4, per_channel=axis is not None).parameters(target, Sample(w))["step"]
    others = None if axis is None else tuple(i for i in range(3) if i != axis)
    expected = 2 * np.abs(w).mean(axis=others) / np.sqrt(7)
    np.testing.assert_allclose(step.value, np.atleast_1d(expected), rtol=1e-6)
    assert step.trainable
    assert step.weight_decay == 0


def test_other_starts_of_lsq() -> None:
    target = Target("x", (-1, 4))
    step = LSQ(4).parameters(target, Sample(np.ones(3), range=(-8.0, 3.5)))["step"].value
    np.testing.assert_allclose(step, [1.0])
    step = LSQ(4, signed=False).parameters(target, Sample(np.ones(3), range=(0.0, 3.0)))["step"]
    np.testing.assert_allclose(step.value, [0.2], rtol=1e-6)
    assert LSQ(4).parameters(target)["step"].value > 0
    channels = Target("w", (3, 2), role=WEIGHT, channel_axis=0)
    values = np.array([[0, 0], [1, 1], [2, 2]])
    steps = LSQ(4, per_channel=True).parameters(channels, Sample(values))["step"].value
    np.testing.assert_allclose(steps, [1 / 7, 2 / np.sqrt(7), 4 / np.sqrt(7)], rtol=1e-6)


def test_lsq_plus_starts_weights_at_three_sigma(rng: np.random.Generator) -> None:
    w = rng.normal(0.3, 1.5, size=(40, 6))
    target = Target("w", w.shape, role=WEIGHT, channel_axis=1)
    for per_channel, axis in ((False, None), (True, 0)):
        owned = LSQPlus(4, per_channel=per_channel).parameters(target, Sample(w))
        assert set(owned) == {"step"}
        mean, sigma = w.mean(axis=axis), w.std(axis=axis)
        expected = np.maximum(abs(mean - 3 * sigma), abs(mean + 3 * sigma)) / 8
        np.testing.assert_allclose(owned["step"].value, np.atleast_1d(expected), rtol=1e-6)


@pytest.mark.parametrize("signed", [False, True])
def test_lsq_plus_starts_activations_at_the_least_error(
    signed: bool, rng: np.random.Generator
) -> None:
    values = rng.normal(size=20000) ** 3 * 0.1 + 2
    n, p = (-8, 7) if signed else (0, 15)
    owned = LSQPlus(4, signed).parameters(Target("x", (-1, 4)), Sample(values))
    step, beta = (float(owned[k].value[0]) for k in ("step", "offset"))

    def error(step: float, beta: float) -> float:
        rounded = np.rint(np.clip((values - beta) / step, n, p)) * step + beta
        return float(((rounded - values) ** 2).mean())

    low, high = values.min(), values.max()
    ends = [
        (2 + (low - 2) * f, 2 + (high - 2) * h)
        for f in np.linspace(0.02, 1, 25)
        for h in np.linspace(0.02, 1, 25)
    ]
    best = min(error((h - v) / 15, v - (h - v) / 15 * n) for v, h in ends)
    assert error(step, beta) <= 1.1 * best
    chosen = LSQPlus(4, signed).parameters(Target("x", (-1,)), Sample(values, range=(-1.0, 2.0)))
    np.testing.assert_allclose(chosen["step"].value, [0.2], rtol=1e-6)
    np.testing.assert_allclose(chosen["offset"].value, [-1 - 0.2 * n], rtol=1e-5)
