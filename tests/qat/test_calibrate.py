"""Start values from data, and the observers that find ranges."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.qat.observers import KL, MSE, MinMax, MovingAverage, Percentile
from paddle_custom_quant.quantizers import (
    DSQ,
    LSQ,
    PACT,
    QIL,
    TQT,
    APoT,
    DoReFaWeight,
    LSQPlus,
    PACTClip,
)

from .small_net import CONFIG, batch, small_net, value

CPU = paddle.CPUPlace()
OBSERVERS = [MinMax(), MovingAverage(), Percentile(99.0), MSE(), KL()]


def calibrated(executor, batches, observer=None, **functions):
    net = small_net()
    executor.run(net.startup)
    quantized = pcq.quant_aware(
        net.main, CPU, CONFIG, executor=executor, return_program=True,
        optimizer_func=lambda: paddle.optimizer.Adam(1e-3), **functions,
    )  # fmt: skip
    owned = [*quantized.quantization.parameters, *(p.name for p in quantized.all_parameters())]
    before = {name: value(name).copy() for name in owned}
    samples = pcq.calibrate(net.test, quantized, batches, observer=observer)
    return net, quantized, samples, before


def test_lsq_steps_follow_the_papers_formula(legacy, rng):
    feeds = [batch(rng, 8), batch(rng, 8)]
    net, quantized, _, before = calibrated(
        legacy, feeds, weight_quantize_func=LSQ(4), act_quantize_func=LSQ(4)
    )
    placed = [p.target.name for p in quantized.quantization.placement]
    for name in (placed[0], placed[2]):
        values = np.concatenate([legacy.run(net.test, f, [name])[0].ravel() for f in feeds])
        expected = 2 * np.abs(values).mean() / np.sqrt(7)
        np.testing.assert_allclose(value(f"{name}.lsq.step"), expected, rtol=0.02)
    weight = placed[1]
    expected = 2 * np.abs(value(weight)).mean() / np.sqrt(7)
    np.testing.assert_allclose(value(f"{weight}.lsq.step"), expected, rtol=1e-5)
    np.testing.assert_array_equal(value(weight), before[weight])


@pytest.mark.parametrize("observer", OBSERVERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize(
    "quantizer",
    [LSQ(4), LSQPlus(4), PACT(4, signed=True), DSQ(4), QIL(4), TQT(4), APoT(4)],
    ids=lambda q: q.method,
)
def test_every_observer_serves_every_method_with_a_range(legacy, rng, observer, quantizer):
    _, quantized, samples, before = calibrated(
        legacy, [batch(rng, 8)], observer, act_quantize_func=quantizer
    )
    label = f"relu_0.tmp_0.{quantizer.method}"
    owned = [n for n in before if f".{quantizer.method}." in n]
    assert owned
    changed = [n for n in owned if not np.array_equal(before[n], value(n))]
    assert changed, label
    assert all(np.isfinite(value(n)).all() for n in owned)
    low, high = samples["image"].range
    assert -1 <= low < -0.2
    assert 0.2 < high <= 1
    assert pcq.verify(quantized) == []


def test_ranges(rng):
    values = rng.normal(size=200_000).astype("float32")
    parts = np.split(values, 4)
    signed, unsigned = LSQ(4), LSQ(4, signed=False)
    assert MinMax().range(parts, signed) == (values.min(), values.max())
    low, high = Percentile(99.0).range(parts, signed)
    np.testing.assert_allclose([low, high], [-2.576, 2.576], atol=0.06)
    low, high = Percentile(99.0).range([np.abs(values)], unsigned)
    assert low >= 0
    np.testing.assert_allclose(high, 2.576, atol=0.06)
    constant = [np.full(5, -1.0, "float32"), np.full(5, 3.0, "float32")]
    low, high = MovingAverage(0.5).range(constant, signed)
    np.testing.assert_allclose(low, (0.25 * -1 + 0.5 * 3) / 0.75)
    # 4-bit optimum of a normal distribution: clip near 2.7 (a step of 0.335, 15 levels)
    _, high = MSE().range(parts, signed)
    assert 2.2 < high < 3.0
    _, high = KL().range(parts, signed)
    assert 1.5 < high < values.max()
    outlier = [np.concatenate([values, [100.0]]).astype("float32")]
    assert MSE().range(outlier, signed)[1] < 50
    assert KL().range(outlier, signed)[1] < 50


def test_mse_is_the_least_of_its_candidates(rng):
    values = rng.laplace(size=4000).astype("float32")
    low, high = MSE(50).range([values], LSQ(3))

    def error(fraction):
        step = max(values.max() * fraction / 3, values.min() * fraction / -4)
        return ((np.clip(np.rint(values / step), -4, 3) * step - values) ** 2).mean()

    best = min((f / 50 for f in range(1, 51)), key=error)
    np.testing.assert_allclose([low, high], [values.min() * best, values.max() * best], rtol=1e-6)


def test_a_preprocess_stage_and_a_method_without_parameters(legacy, rng):
    _, _, samples, _ = calibrated(
        legacy, [batch(rng)], weight_quantize_func=DoReFaWeight(4), act_preprocess_func=PACTClip()
    )
    scale = value("image@scale")
    np.testing.assert_allclose(scale, np.abs(samples["image"].values).max(), rtol=1e-6)


def test_no_data(legacy, rng):
    with pytest.raises(ValueError, match="at least one batch"):
        calibrated(legacy, [], act_quantize_func=PACT(4))
    empty = {"image": np.zeros([0, 3, 6, 6], "float32"), "label": np.zeros([0, 1], "int64")}
    with pytest.raises(ValueError, match="batch 1 is empty: 'image'"):
        calibrated(legacy, [empty], act_quantize_func=PACT(4))
    wrong = batch(rng)
    wrong["image"][0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="'image' holds NaN"):
        calibrated(legacy, [wrong], act_quantize_func=PACT(4))
    with pytest.raises(TypeError, match="return_program=True"):
        pcq.calibrate(small_net().test, static.Program(), [batch(rng)])


@pytest.mark.parametrize(
    "make", [lambda: Percentile(50), lambda: Percentile(101), lambda: MovingAverage(1)]
)
def test_wrong_observers(make):
    with pytest.raises(ValueError, match="must be in"):
        make()
