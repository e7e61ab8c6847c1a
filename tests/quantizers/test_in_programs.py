"""Every method trains a small net through quant_aware."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import (
    DSQ,
    EWGS,
    LSQ,
    N2UQ,
    PACT,
    QIL,
    SAWB,
    TQT,
    AbsMax,
    APoT,
    DoReFaActivation,
    DoReFaWeight,
    LQNet,
    LSQPlus,
    MovingAverageAbsMax,
    Percentile,
    PowerOfTwoScale,
    Quantizer,
)
from tests.qat.small_net import CONFIG, batch, small_net, value

CPU = paddle.CPUPlace()
PAIRS = [
    (DoReFaWeight(4, rescale=True), DoReFaActivation(4)),
    (SAWB(4), PACT(4)),
    (LSQ(4, per_channel=True), LSQ(4, signed=False)),
    (LSQPlus(4), LSQPlus(4)),
    (DSQ(4), DSQ(4)),
    (QIL(4, rescale=True), QIL(4, signed=False, rescale=True)),
    (APoT(4, rescale=True), APoT(4, signed=False)),
    (LQNet(3, per_channel=True), LQNet(3, signed=False)),
    (TQT(4), TQT(4, signed=False)),
    (EWGS(LSQ(4)), EWGS(LSQ(4, signed=False))),
    (N2UQ(4), N2UQ(4, signed=False)),
    (AbsMax(8, per_channel=True), MovingAverageAbsMax(8)),
    (Percentile(4), Percentile(4)),
    (PowerOfTwoScale(LSQ(4)), PowerOfTwoScale(PACT(4))),
]


def quantized(net: Any, weight: Quantizer, activation: Quantizer, **options: Any) -> Any:
    return pcq.quant_aware(
        net.main,
        CPU,
        CONFIG,
        weight_quantize_func=weight,
        act_quantize_func=activation,
        optimizer_func=lambda: paddle.optimizer.SGD(0.01),
        executor=paddle.static.Executor(CPU),
        return_program=True,
        **options,
    )


@pytest.mark.parametrize(("weight", "activation"), PAIRS, ids=lambda q: q.method)
@pytest.mark.filterwarnings("ignore")
def test_trains(
    weight: Quantizer, activation: Quantizer, legacy: Any, rng: np.random.Generator
) -> None:
    net, feed = small_net(), batch(rng)
    legacy.run(net.startup)
    program = quantized(net, weight, activation)
    assert pcq.verify(program) == []
    before = value("conv2d_0.w_0")
    losses = [float(legacy.run(program, feed, [net.loss])[0]) for _ in range(8)]
    assert np.isfinite(losses).all()
    assert min(losses[1:]) < losses[0]
    assert np.any(value("conv2d_0.w_0") != before)


def test_ewgs_reaches_the_weights(legacy: Any, rng: np.random.Generator) -> None:
    """The weight's gradient is the plain one times 1 + delta sign(g) (x_n - x_q)."""
    feed = batch(rng)
    net, delta = small_net(), 0.4
    name = "linear_0.w_0"
    slopes = []
    for weight in (LSQ(3), EWGS(LSQ(3), delta)):
        legacy.run(net.startup)
        w = value(name).astype("float64")
        program = quantized(net, weight, pcq.FirstLast(None, None))
        slopes.append(legacy.run(program, feed, [f"{name}@GRAD"])[0])
    step = 2 * np.abs(w).mean() / np.sqrt(3)
    error = np.clip(w / step, -4, 3) - np.rint(np.clip(w / step, -4, 3))
    plain, scaled = slopes
    expected = plain * (1 + delta * np.sign(plain) * error / 7)
    assert np.any(np.abs(scaled - plain) > 1e-3 * np.abs(plain).max())
    np.testing.assert_allclose(scaled, expected, rtol=1e-3, atol=1e-6 * np.abs(plain).max())
