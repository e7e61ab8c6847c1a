"""Biases on the integers that engines add."""

from __future__ import annotations

import numpy as np
import pytest

import paddle_custom_quant as pcq
from paddle_custom_quant.compat import legacy_static
from paddle_custom_quant.deploy import compare, freeze, round_biases, write_onnx
from paddle_custom_quant.deploy.frozen import quantizer_of
from paddle_custom_quant.quantizers import LSQ, AbsMax

from .trained import images, trained

WEIGHTS = pcq.FirstLast(AbsMax(8, per_channel=True), LSQ(4, per_channel=True))


@pytest.fixture(scope="module")
def rounded():
    """A trained net, its biases as they were, and what rounding says it changed."""
    with legacy_static():
        net = trained(WEIGHTS, steps=20)
        before = freeze(net.program, net.scope)
        changes = round_biases(net.program, net.scope)
    return net, before, changes


def units(frozen):
    """By layer, bias in steps of input times weight, and the largest integer of its weights."""
    found = {}
    for layer in frozen.integer_layers():
        step = quantizer_of(layer.inputs[0], frozen.producers()).grid.step[0]
        weight = frozen.weights[layer.inputs[1]]
        others = 0 if layer.kind == "matmul_v2" else (1, 2, 3)
        most = np.abs(weight.integers.astype(int)).max(axis=others)
        bias = frozen.constants[layer.inputs[2]].astype("float64")
        found[layer.name] = bias / (weight.grid.step.astype("float64") * step), 127 // most
    return found


def test_biases_are_multiples_of_what_int8_weights_can_count(rounded):
    net, before, changes = rounded
    after = units(freeze(net.program, net.scope))
    earlier = units(before)
    assert len(after) == len(changes) == 5
    far = []
    for name, (bias, factor) in after.items():
        assert (factor >= 1).all() and np.abs(bias).max() > 0
        np.testing.assert_allclose(bias * factor, np.round(bias * factor), atol=0.02)
        moved = (bias - earlier[name][0]) * factor
        assert np.abs(moved).max() <= 0.5 + 0.02
        far.append(np.abs(moved).max())
    assert max(far) > 0.2


def test_nothing_is_left_to_round(rounded):
    net, _, changes = rounded
    again = round_biases(net.program, net.scope)
    assert set(again) == set(changes)
    for name, change in again.items():
        assert change <= 0.05 * max(changes.values()), name


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_compute_what_was_trained(rounded, engine):
    """Also where a convolution and another branch are added: each is rounded first."""
    pytest.importorskip(engine)
    net, _, _ = rounded
    batch = images(np.random.default_rng(7), 200)
    row = compare(net.program, net.scope, batch, engines=[engine]).row(engine)
    assert row.top1_agreement == 1 and row.integer_layers == row.all_layers > 0
    # One float32 sum in a million lies on a boundary between two levels.
    assert row.largest < 1e-4 or row.mean < 1e-6


def test_a_branch_is_rounded_before_it_is_added(rounded, tmp_path):
    onnx = pytest.importorskip("onnx")
    net, _, _ = rounded
    graph = onnx.load(write_onnx(freeze(net.program, net.scope), tmp_path / "net")).graph
    producer = {name: node for node in graph.node for name in node.output}
    (addition,) = [node for node in graph.node if node.op_type == "Add"]
    behind = [producer[producer[name].input[0]] for name in addition.input]
    for node in behind:
        assert node.op_type == "MaxPool"
        (held,) = [a.ints for a in node.attribute if a.name == "kernel_shape"]
        assert list(held) == [1, 1]


def test_a_parameter_that_two_layers_add_stays(rounded):
    """Moving it for one of them would take it off the other's integers."""
    import paddle
    from paddle import nn

    def shared(image):
        bias = paddle.static.create_parameter([4], "float32", name="both")
        x = nn.Conv2D(3, 4, 3, bias_attr=False)(image) + bias.reshape([1, 4, 1, 1])
        y = nn.Conv2D(3, 4, 3, bias_attr=False)(image)
        norm = nn.BatchNorm2D(4)
        return nn.Linear(4, 5)(paddle.flatten(nn.AdaptiveAvgPool2D(1)(norm(x) + norm(y)), 1))

    net = trained(net=shared, steps=4)
    frozen = freeze(net.program, net.scope)
    uses = list(frozen.added_last.values())
    twice = {name for name in uses if uses.count(name) > 1}
    assert len(twice) == 1
    assert twice.isdisjoint(round_biases(net.program, net.scope))
