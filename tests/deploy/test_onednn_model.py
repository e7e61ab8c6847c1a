"""oneDNN's own int8 operators: that they compute what was trained, for every form of net."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from paddle_custom_quant import FirstLast, PerLayer
from paddle_custom_quant.deploy import freeze, write_paddle_onednn
from paddle_custom_quant.deploy.engines import open_model
from paddle_custom_quant.inspection.reading import read_model
from paddle_custom_quant.quantizers import (
    LSQ,
    PACT,
    APoT,
    DoReFaActivation,
    DoReFaWeight,
    LQNet,
    LSQPlus,
    MovingAverageAbsMax,
)

from .test_unusual_nets import NETS, made
from .trained import CLASSES, activations, images, trained

METHODS = {
    "lsq-w2a2": (LSQ(2, per_channel=True), activations(2)),
    "lsq-w8a8": (LSQ(8, per_channel=True), activations(8)),
    "pact-w4a4": (DoReFaWeight(4), activations(4, lambda b, signed: PACT(b, alpha=3.0))),
    "dorefa-w4a4": (DoReFaWeight(4), activations(4, lambda b, signed: DoReFaActivation(b))),
    "apot-w4a8": (APoT(4), activations(8)),
}


def off(held, path, batch):
    """Share of the samples that differ by more than float arithmetic does, and the operators."""
    first, _ = write_paddle_onednn(freeze(held.program, held.scope), path, overwrite=True)
    run, _ = open_model("paddle-onednn-int8", first.with_suffix(""), threads=1)
    (got,) = run({"image": batch})
    (expected,) = held.run(batch)
    assert got.shape == expected.shape
    error = np.abs(got - expected).reshape(len(batch), -1).max(axis=1)
    operators = Counter(op.kind for op in read_model(first.with_suffix("")).operators)
    return (error > 1e-4 * np.ptp(expected)).mean(), operators


def floats(operators):
    """How many convolutions and linear layers stay float."""
    return operators["conv2d"] + operators["depthwise_conv2d"] + operators["matmul_v2"]


@pytest.mark.parametrize("method", METHODS)
def test_it_computes_what_was_trained(tmp_path, batch, method):
    held = trained(*METHODS[method])
    share, operators = off(held, tmp_path / "m", batch)
    assert operators["fused_conv2d"] >= 5 and not floats(operators)
    # A value on a rounding boundary may fall to either side in float32.
    assert share < 0.1


@pytest.mark.parametrize(("net", "shape"), NETS)
def test_unusual_nets(tmp_path, rng, net, shape):
    held = made(net, shape)
    assert off(held, tmp_path / "m", images(rng, 40, shape))[0] < 0.2


def joined(bits, signed=True):
    rules = {
        "image": PACT(8, alpha=2.0, signed=True),
        "elementwise_add": MovingAverageAbsMax(8),
    }
    return PerLayer(rules, default=LSQ(bits, signed=signed))


def conv(x, channels, **settings):
    return nn.Conv2D(int(x.shape[1]), channels, 3, padding=1, **settings)(x)


def two_sums(image):
    """A sum of two convolutions, read by two convolutions and a second sum."""
    x = conv(image, 8)
    x = conv(x, 8) + conv(x, 8)
    y = conv(x, 8) + x
    return nn.Linear(8, CLASSES)(paddle.flatten(nn.AdaptiveAvgPool2D(1)(conv(y, 8)), 1))


def the_same_twice(image):
    x = F.relu(conv(image, 8))
    return nn.Linear(8, CLASSES)(paddle.flatten(nn.AdaptiveAvgPool2D(1)(conv(x + x, 8)), 1))


def twice_signed(image):
    x = conv(image, 8)
    return nn.Linear(8, CLASSES)(paddle.flatten(nn.AdaptiveAvgPool2D(1)(conv(x + x, 8)), 1))


def sum_as_result(image):
    x = conv(image, CLASSES)
    return paddle.mean(conv(x, CLASSES) + x, axis=[2, 3])


def spread(image):
    """A sum with one number a channel: two shapes, so it stays a float operator."""
    x = conv(image, 8)
    gate = nn.AdaptiveAvgPool2D(1)(x)
    return nn.Linear(8, CLASSES)(paddle.flatten(nn.AdaptiveAvgPool2D(1)(conv(x + gate, 8)), 1))


def strange_convolutions(image):
    x = nn.Conv2D(3, 8, 3, stride=2, padding="SAME")(image)
    x = F.max_pool2d(nn.Conv2D(8, 8, 3, padding=2, dilation=2, groups=2)(x), 2)
    return nn.Linear(32, CLASSES)(paddle.flatten(x, 1))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("net", [two_sums, the_same_twice, twice_signed, sum_as_result, spread])
def test_sums(tmp_path, rng, net, bits):
    ops = ["conv2d", "matmul_v2", "elementwise_add"]
    held = trained(LSQ(4, per_channel=True), joined(bits), net, ops=ops)
    share, operators = off(held, tmp_path / "m", images(rng, 40))
    assert operators["fused_conv2d"] >= 2 and not floats(operators)
    assert share < 0.1


@pytest.mark.parametrize("bits", [4, 8])
def test_settings_of_convolutions(tmp_path, rng, bits):
    inputs = PerLayer({"image": PACT(8, alpha=2.0, signed=True)}, default=LSQ(bits, signed=True))
    ops = ["conv2d", "matmul_v2"]
    held = trained(LSQ(4, per_channel=True), inputs, strange_convolutions, ops=ops)
    share, operators = off(held, tmp_path / "m", images(rng, 40))
    assert operators["fused_conv2d"] == 3 and not floats(operators)
    assert share < 0.1


def test_a_pool_of_uneven_windows(tmp_path, rng):
    def net(image):
        x = F.max_pool2d(F.relu(conv(image, 8)), 3, 2, ceil_mode=True)
        return nn.Linear(int(np.prod(x.shape[1:])), CLASSES)(paddle.flatten(x, 1))

    inputs = PerLayer({"image": PACT(8, alpha=2.0, signed=True)}, default=LSQ(4, signed=False))
    held = trained(LSQ(4, per_channel=True), inputs, net, ops=["conv2d", "matmul_v2"])
    share, operators = off(held, tmp_path / "m", images(rng, 40))
    assert share < 0.1 and operators["fused_conv2d"] == 2 and not floats(operators)


def test_rows_and_samples_of_any_number(tmp_path, rng):
    def net(x):
        x = paddle.reshape(nn.Linear(16, 16)(x), [-1, 6, 16])
        return nn.Linear(16, CLASSES)(paddle.transpose(F.relu(x), [1, 0, 2]))

    inputs = PerLayer({"image": PACT(8, alpha=3.0, signed=True)}, default=LSQ(4, signed=True))
    held = trained(LSQ(4, per_channel=True), inputs, lambda x: paddle.mean(net(x), axis=0),
                   ops=["matmul_v2"], shape=(6, 16))  # fmt: skip
    assert off(held, tmp_path / "m", images(rng, 40, (6, 16)))[0] < 0.1


def test_channels_on_the_last_axis_are_refused(tmp_path):
    def net(image):
        x = paddle.transpose(image, [0, 2, 3, 1])
        x = nn.Conv2D(3, 8, 3, data_format="NHWC")(x)
        return nn.Linear(288, CLASSES)(paddle.flatten(x, 1))

    held = trained(LSQ(4), LSQ(4, signed=True), net, ops=["conv2d", "matmul_v2"])
    with pytest.raises(ValueError, match="is NHWC: only NCHW can be written for oneDNN"):
        write_paddle_onednn(freeze(held.program, held.scope), tmp_path / "m")


def test_weights_beyond_int8_are_noted(tmp_path):
    held = trained(DoReFaWeight(8), activations(8))
    notes = freeze(held.program, held.scope).notes
    assert len(notes) == 5 and all("beyond int8" in note.text for note in notes)


def test_linear_layers_on_rows_of_unknown_number_stay_float(tmp_path, rng):
    inputs = PerLayer({"image": PACT(8, alpha=3.0, signed=True)}, default=LSQ(4, signed=True))
    held = trained(LSQ(4), inputs, lambda x: paddle.mean(nn.Linear(16, CLASSES)(x), axis=1),
                   ops=["matmul_v2"], shape=(6, 16))  # fmt: skip
    frozen = freeze(held.program, held.scope)
    for name, info in frozen.shapes.items():
        if len(info.shape) == 3 and name not in frozen.inputs:
            frozen.shapes[name] = replace(info, shape=(-1, -1, info.shape[2]))
    first, _ = write_paddle_onednn(frozen, tmp_path / "m")
    operators = Counter(op.kind for op in read_model(first.with_suffix("")).operators)
    assert floats(operators) == 1 and not operators["fused_conv2d"]
    run, _ = open_model("paddle-onednn-int8", first.with_suffix(""), threads=1)
    batch = images(rng, 20, (6, 16))
    np.testing.assert_allclose(run({"image": batch})[0], held.run(batch)[0], atol=1e-5)


def test_transposed_sequences(tmp_path, rng):
    def net(x):
        x = nn.Linear(16, 16)(x)
        x = nn.Linear(6, 8)(F.relu(paddle.transpose(x, [0, 2, 1])))
        return nn.Linear(128, CLASSES)(paddle.flatten(x, 1))

    inputs = PerLayer({"image": PACT(8, alpha=3.0, signed=True)}, default=LSQ(4, signed=True))
    held = trained(LSQ(4, per_channel=True), inputs, net, ops=["matmul_v2"], shape=(6, 16))
    share, operators = off(held, tmp_path / "m", images(rng, 40, (6, 16)))
    assert share < 0.1 and operators["fused_conv2d"] == 3 and not floats(operators)


@pytest.mark.parametrize(
    ("weight", "activation", "integer"),
    [
        (FirstLast(LSQ(4), LQNet(3)), LSQ(4, signed=True), 2),
        (LSQ(4), PerLayer({"image": LSQ(4, signed=True)}, default=LSQPlus(4)), 1),
    ],
)
def test_layers_without_integers_stay_float(tmp_path, rng, weight, activation, integer):
    def net(image):
        x = conv(F.relu(conv(image, 8)), 8)
        return nn.Linear(8, CLASSES)(paddle.flatten(nn.AdaptiveAvgPool2D(1)(x), 1))

    held = trained(weight, activation, net, ops=["conv2d", "matmul_v2"])
    share, operators = off(held, tmp_path / "m", images(rng, 40))
    assert share < 0.1 and operators["fused_conv2d"] == integer
    assert floats(operators) == 3 - integer


def test_two_sums_of_one_convolution_do_not_share_what_paddle_prepared(tmp_path, rng):
    """Paddle finds prepared kernels by names: copies of a layer need names of their own."""

    def net(image):
        x = conv(image, 8)
        y = conv(F.relu(x), 8)
        return nn.Linear(8, CLASSES)(paddle.flatten(nn.AdaptiveAvgPool2D(1)(conv(x + y, 8)), 1))

    held = trained(
        LSQ(4, per_channel=True), joined(4), net, ops=["conv2d", "matmul_v2", "elementwise_add"]
    )
    share, operators = off(held, tmp_path / "m", images(rng, 40))
    assert share < 0.1 and operators["fused_conv2d"] > 4


def test_file_stores_int8_and_no_operator_of_ours(tmp_path, frozen):
    first, _ = write_paddle_onednn(frozen, tmp_path / "m")
    model = read_model(first.with_suffix(""))
    kinds = {op.kind for op in model.operators}
    assert {"quantize", "fused_conv2d", "dequantize"} <= kinds
    assert not {k for k in kinds if k.startswith(("fake_", "pcq_"))}
    stored = [name for name in model.values if name.endswith(".int8")]
    assert len(stored) >= len(frozen.weights)
    assert all(model.values[name].dtype == np.int8 for name in stored)
    written = [name for op in model.operators for name in op.writes]
    assert len(written) == len(set(written))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_paddle_onednn(frozen, tmp_path / "m")
