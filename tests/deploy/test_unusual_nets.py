"""Nets with settings that a writer could overlook, in every engine against the program."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn, static

import paddle_custom_quant as pcq
from paddle_custom_quant.deploy import compare, freeze, run_reference
from paddle_custom_quant.deploy.standard_forms import standardized
from paddle_custom_quant.quantizers import LSQ, PACT, AbsMax
from tests.deploy.trained import CLASSES, images, trained

OPS = ["conv2d", "depthwise_conv2d", "matmul_v2"]
PLAIN, ONEDNN = "paddle", "paddle-onednn-int8"
SEQUENCE = (6, 16)
AFTER_CLIP = pcq.PerLayer({"image": PACT(8, alpha=4.0, signed=True)}, default=LSQ(8, signed=False))


def constant(value):
    return paddle.ParamAttr(initializer=nn.initializer.Constant(value))


def head(x):
    return nn.Linear(int(x.shape[-1]), CLASSES)(paddle.mean(x, axis=1))


def over_positions(x):
    """Batch norm over positions, behind a linear layer whose channels are features."""
    return head(nn.BatchNorm1D(int(x.shape[1]))(nn.Linear(16, 16)(x)))


def turned(x):
    weight = static.create_parameter([6, 9], "float32")
    return head(paddle.matmul(x, weight, transpose_x=True))


def padded(x):
    ids = paddle.cast(paddle.clip(x * 2, 0.0, 6.0), "int64")
    return head(nn.Linear(16, 16)(nn.Embedding(7, 16, padding_idx=2)(ids)))


def squeezed(image):
    return nn.Linear(8, CLASSES)(paddle.squeeze(nn.AdaptiveAvgPool2D(1)(nn.Conv2D(3, 8, 1)(image))))


def parted(image):
    parts = paddle.split(nn.Conv2D(3, 8, 1)(image), [-1, 2], axis=1)
    return head(paddle.flatten(paddle.concat(parts[::-1], axis=1), 2))


def bias_alone(x):
    norm = nn.LayerNorm(16, weight_attr=False, bias_attr=constant(0.7))
    return head(norm(nn.Linear(16, 16)(x)))


def scale_alone(x):
    norm = nn.LayerNorm(16, weight_attr=constant(0.7), bias_attr=False)
    return head(norm(nn.Linear(16, 16)(x)))


NETS = [
    (bias_alone, SEQUENCE), (scale_alone, SEQUENCE), (over_positions, SEQUENCE),
    (over_positions, (16, 16)), (turned, SEQUENCE), (padded, (5,)), (squeezed, (3, 8, 8)),
    (parted, (3, 8, 8)),
]  # fmt: skip


def made(net, shape, weight=None, activation=None, steps=4):
    return trained(
        weight or AbsMax(8, per_channel=True), activation or PACT(8, alpha=4.0, signed=True), net,
        ops=OPS, steps=steps, shape=shape,
    )  # fmt: skip


@pytest.mark.parametrize(("net", "shape"), NETS)
def test_every_engine_computes_what_was_trained(legacy, rng, net, shape):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    held = made(net, shape)
    if net is over_positions:
        for kind, low, high in (("w_1", -1.0, 1.0), ("w_2", 0.2, 3.0)):
            name = f"batch_norm1d_0.{kind}"
            held.set(name, rng.uniform(low, high, shape[0]).astype("float32"))
    result = compare(
        held.program, held.scope, images(rng, 40, shape), engines=[PLAIN, "onnxruntime", "openvino"]
    )
    assert not any(row.failed or row.skipped for row in result.rows), result
    for row in result.rows:
        assert row.mean < 2e-3 and row.largest < 0.05, result


def test_onednn_takes_the_right_scales_of_a_linear_layer_on_sequences(legacy, rng):
    """Channels that reach 127 are exact there, however far apart their scales are."""

    def net(x):
        first = nn.Linear(16, 32)
        return head(nn.Linear(32, 16)(F.relu(first(x))))

    held = made(net, SEQUENCE)
    scales = np.geomspace(0.05, 3, 32).astype("float32")
    held.set("linear_0.w_0", held.value("linear_0.w_0") * rng.permutation(scales))
    result = compare(held.program, held.scope, images(rng, 40, SEQUENCE), engines=[ONEDNN])
    row = result.row(ONEDNN)
    assert row.integer_layers == row.all_layers == 3
    assert row.beyond_step < 0.05 and row.mean < 1e-3, result


def test_a_bound_above_zero_is_kept(legacy, rng):
    def net(image):
        x = paddle.clip(nn.Conv2D(3, 8, 1)(image), 0.3, 1e6)
        return head(paddle.flatten(nn.Conv2D(8, 8, 1)(x), 2))

    held = made(net, (3, 8, 8), activation=AFTER_CLIP)
    result = compare(held.program, held.scope, images(rng, 40), engines=[PLAIN, ONEDNN])
    assert result.row(PLAIN).largest == 0.0, result
    assert result.row(ONEDNN).mean < 1e-2, result


def test_every_result_counts(legacy, rng):
    def net(image):
        x = paddle.flatten(nn.AdaptiveAvgPool2D(1)(F.relu(nn.Conv2D(3, 8, 3)(image))), 1)
        one, other = nn.Linear(8, CLASSES)(x), nn.Linear(8, CLASSES)(x)
        net.other = other.name
        return one

    held = made(net, (3, 8, 8))
    outputs = [held.logits, net.other]
    frozen = freeze(held.program, held.scope, outputs=outputs)
    batch = images(rng, 40)
    right = compare(held.program, held.scope, batch, outputs=outputs, engines=[PLAIN, ONEDNN])
    assert right.row(PLAIN).largest == 0.0
    assert right.row(ONEDNN).largest < 0.1
    last = [layer for layer in frozen.layers if layer.kind == "matmul_v2"][-1]
    frozen.weights[last.inputs[1]].integers[:] *= -1
    wrong = compare(held.program, held.scope, batch, frozen=frozen, engines=[ONEDNN])
    assert wrong.row(ONEDNN).largest > 0.1


@pytest.mark.parametrize(
    "net",
    [
        lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
        lambda x: F.adaptive_avg_pool2d(x, 3),
    ],
)
def test_what_the_reference_does_not_know_leaves_the_engines(legacy, rng, net):
    held = made(lambda image: head(paddle.flatten(net(nn.Conv2D(3, 8, 1)(image)), 2)), (3, 8, 8))
    result = compare(held.program, held.scope, images(rng, 20), engines=[PLAIN, ONEDNN])
    assert "the integer reference has no pool2d" in result.rows[0].skipped
    assert result.row(PLAIN).largest == 0.0
    assert result.row(ONEDNN).mean < 1e-2, result
    frozen = freeze(held.program, held.scope)
    with pytest.raises(ValueError, match="has no pool2d"):
        run_reference(frozen, {"image": images(rng, 2)})


def test_standard_forms_leave_others_alone(legacy):
    frozen = freeze(*(lambda held: (held.program, held.scope))(made(squeezed, (3, 8, 8))))
    before = list(frozen.layers)
    assert standardized(frozen).layers == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"engines": ["ort"]}, "engine must be one of"),
    ],
)
def test_wrong_settings(legacy, rng, change, message):
    held = made(squeezed, (3, 8, 8), steps=1)
    with pytest.raises(ValueError, match=message):
        compare(held.program, held.scope, images(rng, 4), **change)
