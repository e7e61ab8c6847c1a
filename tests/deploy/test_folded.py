"""Nets that were trained with batch norm folded: their integers, in both programs and engines."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from paddle_custom_quant.deploy import compare, freeze, run_reference
from paddle_custom_quant.quantizers import DSQ, LSQ, WholeZeroPoint

from .trained import CLASSES, trained


def net(image):
    """A residual block, depthwise, linear: convolutions with and without bias, all with a norm."""
    x = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, padding=1, bias_attr=False)(image)))
    y = nn.BatchNorm2D(8)(nn.Conv2D(8, 8, 3, padding=1)(x))
    x = F.relu(y + x)
    x = F.relu6(nn.BatchNorm2D(8)(nn.Conv2D(8, 8, 3, padding=1, groups=8, bias_attr=False)(x)))
    x = paddle.flatten(nn.AdaptiveAvgPool2D(2)(x), 1)
    x = nn.Linear(32, 12)(x)
    x = nn.BatchNorm1D(12)(x)
    return nn.Linear(12, CLASSES)(x)


# Of the layers between the first and the last: channel axis of the weight, batch norm.
LAYERS = [(0, "batch_norm2d_1"), (0, "batch_norm2d_2"), (1, "batch_norm1d_0")]


def weights(program):
    """Names of the layers' weights, in order; Paddle's lines number them differently."""
    names = [p.name for p in program.all_parameters() if p.name.endswith(".w_0")]
    return [name for name in names if "batch_norm" not in name]


@pytest.mark.parametrize("strategy", range(5))
def test_exported_integers_are_those_that_were_trained(strategy, batch):
    held = trained(LSQ(4, per_channel=True), net=net, fold=strategy)
    if strategy in (1, 4):
        held.set("batch_norm2d_1.w_0", -held.value("batch_norm2d_1.w_0"))
    frozen = freeze(held.program, held.scope)
    assert not frozen.notes
    assert len(frozen.integer_layers()) == len(frozen.weighted_layers()) == 5
    assert not {"batch_norm", "elementwise_div"} & {layer.kind for layer in frozen.layers}
    suffix = ".folded" if strategy else ""
    for weight, (axis, norm) in zip(weights(held.program)[1:], LAYERS):
        name = f"{weight}{suffix}"
        # By hand: the folded weight over the learned step, rounded.
        w = held.value(weight).astype("float64")
        gamma, variance = held.value(f"{norm}.w_0"), held.value(f"{norm}.w_2")
        sigma = np.sqrt(variance.astype("float64") + 1e-5)
        shape = [-1 if i == axis else 1 for i in range(w.ndim)]
        factor = (gamma / sigma).reshape(shape) if strategy else 1.0
        step = np.abs(held.value(f"{name}.lsq.step")).reshape(shape)
        q = np.clip(w * factor / step, -8, 7)
        certain = np.abs(q - np.floor(q) - 0.5) > 1e-3
        integers = frozen.weights[f"{name}.lsq"].integers
        np.testing.assert_array_equal(integers[certain], np.round(q)[certain])
        # And as the program computes them.
        (fake,) = held.run(batch[:1], f"{name}.lsq")
        np.testing.assert_array_equal(integers, np.round(fake / step))
        real = frozen.weights[f"{name}.lsq"].real()
        np.testing.assert_allclose(real, fake, atol=1e-6 * np.abs(fake).max() * 10)
    values = run_reference(frozen, {"image": batch})
    np.testing.assert_allclose(values[frozen.outputs[0]], *held.run(batch), atol=1e-5)


@pytest.mark.parametrize("method", ["lsq+", "dsq"])
def test_asymmetric_activations_are_integers(method, batch):
    held = trained(net=net, backend="fbgemm", method=method, fold=4)
    frozen = freeze(held.program, held.scope)
    assert not frozen.notes
    assert len(frozen.integer_layers()) == 5
    values = run_reference(frozen, {"image": batch})
    np.testing.assert_allclose(values[frozen.outputs[0]], *held.run(batch), atol=1e-5)


SETTINGS = [
    ("onnxruntime", "onnxruntime", "lsq"),
    ("openvino", "openvino", "lsq"),
    ("fbgemm", "onnxruntime", "dsq"),
    ("tvm", "onnxruntime", "dorefa"),
    ("tensorrt", "openvino", "pact"),
]


@pytest.mark.parametrize(("setting", "engine", "method"), SETTINGS)
def test_engines_run_a_setting_on_integers(setting, engine, method, batch):
    pytest.importorskip(engine)
    held = trained(net=net, backend=setting, method=method, fold=4)
    row = compare(held.program, held.scope, batch, engines=[engine]).row(engine)
    assert row.top1_agreement >= 0.95
    assert row.mean < 5e-3
    assert row.integer_layers == 5


def test_symmetric_zero_points_need_no_shift(batch):
    weight = WholeZeroPoint(DSQ(4, per_channel=True), at=8)
    frozen = freeze(*(lambda held: (held.program, held.scope))(trained(weight, net=net, fold=1)))
    for held in frozen.weights.values():
        assert -8 <= held.integers.min() < 0 < held.integers.max() <= 7
