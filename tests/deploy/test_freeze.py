"""A trained program becomes integers; what cannot is refused by name."""

from __future__ import annotations

import re

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_custom_quant.deploy import freeze, run_reference
from paddle_custom_quant.quantizers import LSQ, PACT, APoT, DoReFaWeight, LQNet, LSQPlus

from .trained import CLASSES, activations, trained


def test_integers_are_the_weight_over_the_step(net, frozen):
    name = "linear_0.w_0"
    step = np.abs(net.value(f"{name}.lsq.step"))
    q = np.clip(np.round(net.value(name) / step), -8, 7)
    held = frozen.weights[f"{name}.lsq"]
    np.testing.assert_array_equal(held.integers, q)
    np.testing.assert_array_equal(held.grid.step, step)


def test_batch_norm_is_folded_into_steps_and_bias(net, frozen):
    names = ("w_0", "b_0", "w_1", "w_2")
    gamma, beta, mean, variance = (net.value(f"batch_norm2d_0.{n}") for n in names)
    scale = gamma / np.sqrt(variance + 1e-5)
    step = np.abs(net.value("conv2d_0.w_0.lsq.step")) * np.abs(scale)
    layer = next(x for x in frozen.layers if x.kind == "conv2d")
    np.testing.assert_allclose(frozen.weights[layer.inputs[1]].grid.step, step, rtol=1e-6)
    np.testing.assert_allclose(
        frozen.constants[layer.inputs[2]], beta - mean * scale, rtol=1e-5, atol=1e-6
    )


def test_every_name_is_written_once_and_no_quantizer_is_left(frozen):
    names = [name for layer in frozen.layers for name in layer.outputs]
    assert len(names) == len(set(names))
    assert not any(layer.kind.startswith(("fake_", "pcq_")) for layer in frozen.layers)
    assert len(frozen.integer_layers()) == len(frozen.weighted_layers()) == 5
    assert not frozen.notes


def test_relu_is_part_of_the_quantizer(frozen):
    assert not any(layer.kind in ("relu", "relu6", "batch_norm") for layer in frozen.layers)


def test_negative_batch_norm_factor_turns_integers():
    held = trained()
    gamma = held.value("batch_norm2d_0.w_0")
    gamma[::2] *= -1
    held.set("batch_norm2d_0.w_0", gamma)
    frozen = freeze(held.program, held.scope)
    images = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype("float32")
    values = run_reference(frozen, {"image": images})
    (expected,) = held.run(images)
    np.testing.assert_allclose(values[frozen.outputs[0]], expected, atol=1e-5)
    layer = next(x for x in frozen.layers if x.kind == "conv2d")
    assert (frozen.weights[layer.inputs[1]].grid.step > 0).all()


def test_dorefa_weights_are_odd_integers():
    frozen = freeze(*_program(trained(DoReFaWeight(4))))
    assert all((np.abs(w.integers) % 2 == 1).all() for w in frozen.weights.values())
    assert all(np.abs(w.integers).max() <= 15 for w in frozen.weights.values())


def test_sums_of_powers_of_two_are_integers():
    frozen = freeze(*_program(trained(APoT(4))))
    assert len(frozen.weights) == 5
    assert all(np.abs(w.integers).max() <= 10 for w in frozen.weights.values())


def test_other_levels_stay_float_and_are_noted():
    frozen = freeze(*_program(trained(LQNet(3))))
    assert not frozen.weights
    assert any("LQNet stays float: its levels are not equidistant" in n.text for n in frozen.notes)
    assert any("runs in float" in note.text for note in frozen.notes)


def test_uniform_plain_function_is_found():
    def thirds(w):
        return paddle.round(paddle.clip(w * 3.0, -1.0, 1.0) * 7.0) / 21.0

    frozen = freeze(*_program(trained(thirds)))
    assert len(frozen.weights) == 5 and not frozen.notes
    assert all(np.abs(w.integers).max() <= 7 for w in frozen.weights.values())


def test_fractional_offset_of_an_activation_is_kept():
    held = trained(activation=activations(4, lambda bits, signed: LSQPlus(bits)))
    frozen = freeze(held.program, held.scope)
    images = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype("float32")
    values = run_reference(frozen, {"image": images})
    np.testing.assert_allclose(values[frozen.outputs[0]], held.run(images)[0], atol=1e-4)


def _program(held):
    return held.program, held.scope


@pytest.mark.parametrize("value", [np.nan, 0.0, -0.1, np.inf])
def test_impossible_step_is_refused_by_name(value):
    held = trained(steps=1)
    names = (v.name for v in held.program.list_vars())
    name = next(n for n in names if n.startswith("conv2d") and n.endswith(".w_0.lsq.step"))
    step = held.value(name)
    step[0] = value
    held.set(name, step)
    with pytest.raises(ValueError, match=re.escape(name.partition(".lsq")[0])):
        freeze(held.program, held.scope)


def test_untrained_program_is_refused_by_name():
    held = trained(steps=0)
    with pytest.raises(ValueError, match=r"never trained: .*\.tmp_2"):
        freeze(held.program, held.scope)


def test_training_program_is_refused(net):
    main = paddle.static.Program()
    with paddle.static.program_guard(main):
        x = paddle.static.data("x", [1, 2])
        paddle.optimizer.SGD(0.1).minimize(paddle.mean(nn.Linear(2, 2)(x)))
    with pytest.raises(ValueError, match="training program"):
        freeze(main)


def test_float_program_is_refused():
    with pytest.raises(ValueError, match="no quantizers"):
        freeze(paddle.static.Program())


def test_unknown_operator_is_named_with_what_is_supported():
    def net(image):
        return nn.Linear(3 * 64, CLASSES)(paddle.cumsum(paddle.flatten(image, 1), axis=1))

    held = trained(LSQ(4), PACT(8, signed=True), net, ops=["matmul_v2"], steps=2)
    with pytest.raises(ValueError, match=r"'cumsum'.*Supported: .*conv2d") as caught:
        freeze(held.program, held.scope)
    assert "\n" not in str(caught.value)
