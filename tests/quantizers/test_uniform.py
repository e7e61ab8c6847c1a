"""Plain uniform quantizers, SAWB, TQT and power-of-two steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_custom_quant.quantizers import (
    DSQ,
    LSQ,
    PACT,
    SAWB,
    TQT,
    AbsMax,
    DoReFaActivation,
    DoReFaWeight,
    LSQPlus,
    MovingAverageAbsMax,
    Percentile,
    PowerOfTwoScale,
    Quantizer,
    Sample,
)
from paddle_custom_quant.target import ACTIVATION, WEIGHT, Target
from tests.quantizers.evaluate import MODES, evaluate
from tests.quantizers.grid_points import along, off_ties, shared_sum


def uniform(x: np.ndarray, step: Any, bits: int, signed: bool) -> np.ndarray:
    p = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    return np.rint(np.clip(x / step, -p if signed else 0, p)) * step


def others(axis: int | None, dims: int) -> tuple[int, ...] | None:
    return None if axis is None else tuple(i for i in range(dims) if i != axis)


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(2, 16),
    signed=st.booleans(),
    axis=st.sampled_from([None, 0, 1, 2]),
)
@settings(max_examples=40, deadline=None)
def test_abs_max(seed: int, bits: int, signed: bool, axis: int | None) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 4, 5)).astype("float32")
    g = rng.normal(size=x.shape).astype("float32")
    quantizer = AbsMax(bits, signed, per_channel=axis is not None)
    result = evaluate(quantizer, x, g, role=WEIGHT, channel_axis=axis)
    magnitude = np.abs(x) if signed else np.maximum(x, 0)
    step = magnitude.max(axis=others(axis, 3), keepdims=True).astype("float64") / quantizer.qmax
    step = np.where(step > 0, step, 1)
    # Half a step apart at a tie of the rounding, at most; nowhere else more than rounding.
    difference = np.abs(result.y - uniform(x, step, bits, signed))
    tie = np.abs(x / step % 1 - 0.5) < (1e-2 if bits > 8 else 1e-4)
    assert np.all(difference[~tie] <= 1e-5 * np.abs(x).max())
    passed = np.ones_like(x) if signed else x >= 0
    np.testing.assert_allclose(result.dx, np.where(passed, g, 0), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("signed", [True, False])
def test_moving_average(mode: str, signed: bool, rng: np.random.Generator) -> None:
    quantizer = MovingAverageAbsMax(4, signed, momentum=0.8)
    state: dict[str, Any] = {}
    total = count = 0.0
    for _ in range(3):
        x = rng.normal(size=(4, 6)).astype("float32")
        result = evaluate(quantizer, x, start=state, mode=mode)
        total = total * 0.8 + float((np.abs(x) if signed else x).max())
        count = count * 0.8 + 1
        step = total / count / quantizer.qmax
        safe = np.abs(x / step % 1 - 0.5) > 1e-3
        expected = uniform(x, step, 4, signed)
        np.testing.assert_allclose(result.y[safe], expected[safe], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(result.states["total"], [total], rtol=1e-5)
        np.testing.assert_allclose(result.states["count"], [count], rtol=1e-6)
        reach = total / count
        inside = (x <= reach * (1 + 1e-6)) & (x >= (-reach * (1 + 1e-6) if signed else 0))
        np.testing.assert_allclose(result.dx, inside, rtol=1e-6)
        state = result.states
    still = evaluate(quantizer, 100 * x, start=state, mode=mode, training=False)
    np.testing.assert_array_equal(still.states["total"], state["total"])
    np.testing.assert_array_equal(still.states["count"], state["count"])
    np.testing.assert_allclose(still.y.max(), total / count, rtol=1e-5)


def test_moving_average_starts_from_calibration() -> None:
    target = Target("x", (-1,))
    values = np.array([-3.0, 2.0])
    for quantizer, sample, expected in (
        (MovingAverageAbsMax(4), Sample(values), 3.0),
        (MovingAverageAbsMax(4), Sample(values, range=(-1.0, 1.5)), 1.5),
        (Percentile(4, percentile=100.0), Sample(values), 3.0),
        (Percentile(4), Sample(values, range=(-4.0, 1.5)), 4.0),
    ):
        owned = quantizer.parameters(target, sample)
        assert not any(p.trainable for p in owned.values())
        assert (owned["total"].value, owned["count"].value) == (expected, 1)
    assert AbsMax(4).parameters(target, Sample(values)) == {}


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("signed", [True, False])
def test_percentile_of_weights(axis: int | None, signed: bool, rng: np.random.Generator) -> None:
    x = rng.standard_t(3, size=(20, 30)).astype("float32")
    quantizer = Percentile(4, signed, percentile=90.0, per_channel=axis is not None)
    result = evaluate(quantizer, x, role=WEIGHT, channel_axis=axis)
    magnitude = np.abs(x) if signed else np.maximum(x, 0)
    rows = np.sort(magnitude.ravel()[None] if axis is None else np.moveaxis(magnitude, axis, 0))
    last = rows.shape[1] - 1
    reach = rows[:, int(last * 0.9 + 0.5)].astype("float64")
    reach = reach.reshape(1, 1) if axis is None else along(reach, 2, axis)
    step = reach / quantizer.qmax
    safe = np.abs(x / step % 1 - 0.5) > 1e-3
    np.testing.assert_allclose(
        result.y[safe], uniform(x, step, 4, signed)[safe], rtol=1e-5, atol=1e-6
    )
    clipped = (x > reach * 1.0001) | (x < (-reach * 1.0001 if signed else 0))
    assert not result.dx[clipped].any()


@pytest.mark.parametrize("mode", MODES)
def test_percentile_of_activations(mode: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(101, 10)).astype("float32")
    result = evaluate(Percentile(4, percentile=50.0), x, mode=mode, unknown_batch=mode != "dynamic")
    np.testing.assert_allclose(result.states["total"], np.sort(np.abs(x).ravel())[[505]], rtol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("axis", [None, 0])
def test_sawb(bits: int, axis: int | None, rng: np.random.Generator) -> None:
    w = rng.normal(size=(4, 500)).astype("float32")
    g = rng.normal(size=w.shape).astype("float32")
    result = evaluate(
        SAWB(bits, per_channel=axis is not None), w, g, role=WEIGHT, channel_axis=axis
    )
    c1, c2 = {
        2: (3.12, -2.064),
        3: (7.509, -6.892),
        4: (12.68, -12.80),
        5: (17.74, -18.64),
        8: (31.76, -35.04),
    }[bits]
    w64 = w.astype("float64")
    mean = lambda v: v.mean(axis=others(axis, 2), keepdims=True)  # noqa: E731
    alpha = c1 * np.sqrt(mean(w64**2)) + c2 * mean(np.abs(w64))
    steps = 2**bits - 1
    u = (np.clip(w64, -alpha, alpha) + alpha) / (2 * alpha) * steps
    safe = np.abs(u % 1 - 0.5) > 1e-3
    expected = np.rint(u) * 2 * alpha / steps - alpha
    np.testing.assert_allclose(result.y[safe], expected[safe], rtol=1e-4, atol=1e-5)
    near = np.abs(np.abs(w64) - alpha) < 1e-4
    np.testing.assert_allclose(
        result.dx[~near], np.where(np.abs(w64) <= alpha, g, 0)[~near], rtol=1e-6
    )


def test_sawb_without_a_positive_alpha_takes_the_maximum() -> None:
    w = np.array([1.0, -1.0, 1.0, 1.0], dtype="float32")
    result = evaluate(SAWB(4), w, role=WEIGHT)
    np.testing.assert_allclose(result.y, w, rtol=1e-6)


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(2, 8),
    signed=st.booleans(),
    axis=st.sampled_from([None, 0, 1]),
)
@settings(max_examples=30, deadline=None)
def test_tqt(seed: int, bits: int, signed: bool, axis: int | None) -> None:
    rng = np.random.default_rng(seed)
    shape = (4, 5, 6)
    threshold = rng.uniform(-3, 3, 1 if axis is None else shape[axis]).astype("float32")
    n, p = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    step = 2.0 ** np.ceil(threshold) / 2.0 ** (bits - signed)
    s = along(step, 3, axis)
    x = (off_ties(rng, shape, n, p) * s).astype("float32").astype("float64")
    g = rng.normal(size=shape).astype("float32")
    result = evaluate(
        TQT(bits, signed, per_channel=axis is not None),
        x,
        g,
        role=WEIGHT,
        channel_axis=axis,
        start={"log2_threshold": threshold},
    )
    u = x / s
    inside = (u >= n) & (u <= p)
    rounded = np.rint(np.clip(u, n, p))
    np.testing.assert_array_equal(result.y, (rounded * s).astype("float32"))
    np.testing.assert_allclose(result.dx, np.where(inside, g, 0), rtol=1e-6)
    slope = np.log(2) * s * (rounded - np.where(inside, u, 0))
    np.testing.assert_allclose(
        result.gradients["log2_threshold"], shared_sum(g * slope, axis), rtol=1e-3, atol=1e-3
    )


def test_tqt_start_values(rng: np.random.Generator) -> None:
    w = rng.normal(size=(50, 4))
    weight = Target("w", w.shape, role=WEIGHT, channel_axis=1)
    owned = TQT(4, per_channel=True).parameters(weight, Sample(w))["log2_threshold"]
    np.testing.assert_allclose(owned.value, np.log2(3 * w.std(axis=0)), rtol=1e-5)
    activation = Target("x", (-1, 4))
    owned = TQT(4).parameters(activation, Sample(w, range=(-1.0, 3.5)))["log2_threshold"]
    np.testing.assert_allclose(owned.value, [2.0])
    assert TQT(4).parameters(activation)["log2_threshold"].value == 0
    calibrated = TQT(4).parameters(activation, Sample(w))["log2_threshold"].value
    assert 0 < 2 ** float(calibrated[0]) <= np.abs(w).max() * 8 / 7


@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(2, 8), step=st.floats(1e-4, 100))
@settings(max_examples=30, deadline=None)
def test_power_of_two_step(seed: int, bits: int, step: float) -> None:
    rng = np.random.default_rng(seed)
    exact = 2.0 ** np.rint(np.log2(np.float32(step)))
    n, p = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    x = (off_ties(rng, (8, 9), n, p) * exact).astype("float32")
    g = rng.normal(size=x.shape).astype("float32")
    result = evaluate(PowerOfTwoScale(LSQ(bits)), x, g, role=WEIGHT, start={"step": step})
    inner = evaluate(LSQ(bits), x, g, role=WEIGHT, start={"step": exact})
    np.testing.assert_array_equal(result.y, inner.y)
    np.testing.assert_array_equal(result.dx, inner.dx)
    ratio = exact / np.float32(step)
    np.testing.assert_allclose(
        result.gradients["step"], inner.gradients["step"] * ratio, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("quantizer", "role"),
    [
        (AbsMax(4), WEIGHT),
        (AbsMax(4, per_channel=True), WEIGHT),
        (DoReFaWeight(1), WEIGHT),
        (DoReFaWeight(3, rescale=True), WEIGHT),
        (SAWB(3), WEIGHT),
        (DSQ(3), WEIGHT),
        (PACT(4, alpha=1.3), ACTIVATION),
        (DoReFaActivation(3), ACTIVATION),
        (LSQPlus(4), ACTIVATION),
    ],
    ids=repr,
)
def test_every_uniform_grid_becomes_a_power_of_two(
    quantizer: Quantizer, role: str, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(6, 50)).astype("float32")
    wrapped = PowerOfTwoScale(quantizer)
    target = Target("t", x.shape, role=role, channel_axis=0)
    values = x if role == WEIGHT else None
    owned = {k: p.value for k, p in quantizer.parameters(target, Sample(x)).items()}
    inner, grid = (q.grid(target, values, **owned) for q in (quantizer, wrapped))
    mantissa, _ = np.frexp(grid.step)
    np.testing.assert_array_equal(mantissa, 0.5)
    assert np.all(np.abs(np.log2(grid.step / inner.step)) <= 0.5 + 1e-6)
    np.testing.assert_allclose(grid.zero_point, inner.zero_point, rtol=1e-6)
    assert wrapped.method == quantizer.method
    assert (wrapped.bits, wrapped.signed) == (quantizer.bits, quantizer.signed)
