"""DoReFa's activations and gradients (its weights: test_fused.py)."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from paddle_custom_quant.quantizers import DoReFaActivation, DoReFaGradient, DoReFaWeight
from paddle_custom_quant.target import GRADIENT, WEIGHT, Target
from tests.quantizers.evaluate import MODES, evaluate
from tests.quantizers.grid_points import off_ties


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_activation(bits: int, rng: np.random.Generator) -> None:
    steps = 2**bits - 1
    x = (off_ties(rng, (50, 40), 0, steps, beyond=steps) / steps).astype("float32")
    g = rng.normal(size=x.shape).astype("float32")
    result = evaluate(DoReFaActivation(bits), x, g)
    expected = np.rint(np.clip(x.astype("float64"), 0, 1) * steps) / steps
    np.testing.assert_allclose(result.y, expected, rtol=1e-6)
    np.testing.assert_allclose(result.dx, np.where((x >= 0) & (x <= 1), g, 0), rtol=1e-6)


def test_activation_bounds_pass_the_gradient() -> None:
    result = evaluate(DoReFaActivation(4), [0.0, 1.0, -0.01, 1.01])
    np.testing.assert_allclose(result.dx, [1, 1, 0, 0], rtol=1e-6)


def test_weight_hands_its_options_on(rng: np.random.Generator) -> None:
    w = rng.normal(size=(6, 5)).astype("float32")
    plain = evaluate(DoReFaWeight(4), w, role=WEIGHT)
    rescaled = evaluate(DoReFaWeight(4, rescale=True), w, role=WEIGHT)
    detached = evaluate(DoReFaWeight(4, detach_max=True), w, role=WEIGHT)
    channels = evaluate(DoReFaWeight(4, per_channel=True), w, role=WEIGHT, channel_axis=1)
    np.testing.assert_allclose(rescaled.y, plain.y * np.abs(w).max(), rtol=1e-6)
    np.testing.assert_array_equal(detached.y, plain.y)
    largest = np.abs(w).argmax()
    assert detached.dx.ravel()[largest] != plain.dx.ravel()[largest]
    np.testing.assert_allclose(np.abs(channels.y).max(axis=0), 1, rtol=1e-6)


def quantize_gradient(value: np.ndarray, bits: int, mode: str = "dynamic") -> np.ndarray:
    return evaluate(DoReFaGradient(bits), value, role=GRADIENT, mode=mode).y


def test_gradient_is_unbiased_and_on_its_grid(rng: np.random.Generator) -> None:
    paddle.seed(7)
    dr = rng.normal(size=(3, 4)).astype("float32") * np.float32([[1e-6], [1], [1e3]])
    steps = 2**3 - 1
    runs = np.stack([quantize_gradient(dr, 3) for _ in range(2000)])
    m = np.abs(dr).max(axis=1, keepdims=True)
    levels = (runs / (2 * m) + 0.5) * steps
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    assert levels.min() > -1e-3
    assert levels.max() < steps + 1e-3
    # The dither makes the mean the gradient itself; the ends of the range are clipped.
    inner = np.abs(dr) < m * (1 - 1.01 / steps)
    error = np.abs(runs.mean(axis=0) - dr) / (2 * m / steps)
    assert error[inner].max() < 5 * 0.5 / np.sqrt(2000)


@pytest.mark.parametrize("mode", ["dynamic", "old"])
def test_gradient_formula_without_dither(
    mode: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paddle, "uniform", lambda shape, dtype, low, high: paddle.zeros([1]))
    dr = rng.normal(size=(4, 3, 5)).astype("float32")
    m = np.abs(dr.astype("float64")).max(axis=(1, 2), keepdims=True)
    u = np.clip(dr / (2 * m) + 0.5, 0, 1) * 15
    expected = 2 * m * (np.rint(u) / 15 - 0.5)
    safe = np.abs(u % 1 - 0.5) > 1e-3
    result = quantize_gradient(dr, 4, mode)
    np.testing.assert_allclose(result[safe], expected[safe], rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", [1, 2, 8])
def test_gradient_of_zero_and_of_invalid_samples(mode: str, bits: int) -> None:
    dr = np.ones((4, 3), dtype="float32")
    dr[0] = 0
    dr[1, 1] = np.nan
    dr[2, 1] = np.inf
    result = quantize_gradient(dr, bits, mode)
    np.testing.assert_array_equal(result[0], 0)
    assert np.isnan(result[1]).all()
    assert np.isnan(result[2]).all()
    assert np.isfinite(result[3]).all()


def test_gradient_repeats_with_the_seed(rng: np.random.Generator) -> None:
    dr = rng.normal(size=(3, 50)).astype("float32")
    results = []
    for seed in (1, 1, 2):
        paddle.seed(seed)
        results.append(quantize_gradient(dr, 2))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.any(results[0] != results[2])


def test_gradient_of_an_unknown_batch_size(legacy: paddle.static.Executor) -> None:
    dr = paddle.static.data("dr", [-1, 4])
    y = DoReFaGradient(4).quantize(dr, Target("dr", (-1, 4), role=GRADIENT))
    for batch in (1, 5):
        (value,) = legacy.run(feed={"dr": np.ones((batch, 4), "float32")}, fetch_list=[y])
        assert value.shape == (batch, 4)
