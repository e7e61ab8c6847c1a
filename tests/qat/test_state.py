"""Checkpoints of quantized programs, and float checkpoints loaded into them."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import LSQ, PACT

from .small_net import CONFIG, batch, small_net, value

CPU = paddle.CPUPlace()
FUNCTIONS = {"weight_quantize_func": LSQ(4), "act_quantize_func": PACT(4)}


def quantize(net):
    return pcq.quant_aware(
        net.main, CPU, CONFIG, optimizer_func=lambda: paddle.optimizer.Adam(1e-2),
        return_program=True, **FUNCTIONS,
    )  # fmt: skip


@pytest.mark.parametrize("way", ["load", "set_program_state"])
def test_a_quantized_program_saves_and_loads(legacy, rng, tmp_path, way):
    net = small_net()
    legacy.run(net.startup)
    program = quantize(net)
    feed = batch(rng)
    for _ in range(3):
        legacy.run(program, feed)
    static.save(program, str(tmp_path / "model"))
    expected = {p.name: value(p.name).copy() for p in program.all_parameters()}
    (after,) = legacy.run(program, feed, [net.loss])
    with static.scope_guard(static.Scope()):
        legacy.run(net.startup)
        again = quantize(net)
        if way == "load":
            static.load(again, str(tmp_path / "model"), legacy)
        else:
            static.set_program_state(again, static.load_program_state(str(tmp_path / "model")))
        for name, array in expected.items():
            np.testing.assert_array_equal(value(name), array)
        assert legacy.run(again, feed, [net.loss])[0] == after
    assert "image.pact.alpha" in expected


def test_a_float_checkpoint_loads_and_the_rest_is_reported(legacy, tmp_path):
    net = small_net()
    legacy.run(net.startup)
    static.save(net.main, str(tmp_path / "float"))
    trained = value("conv2d_0.w_0").copy()
    legacy.run(net.startup)
    program = quantize(net)
    static.global_scope().find_var("conv2d_0.w_0").get_tensor().set(trained * 0, CPU)
    report = pcq.load_state(program, str(tmp_path / "float"))
    np.testing.assert_array_equal(value("conv2d_0.w_0"), trained)
    assert "conv2d_0.w_0.lsq.step" in report.kept
    assert "conv2d_0.w_0" in report.loaded
    assert report.unused == ()
    assert "left at their start value" in str(report)


def test_another_nets_checkpoint_is_refused(legacy):
    net = small_net()
    legacy.run(net.startup)
    before = value("conv2d_0.w_0").copy()
    with pytest.raises(ValueError, match="none of the program's"):
        pcq.load_state(net.main, {"fc.weight": np.zeros(3)})
    wrong = {"conv2d_0.w_0": np.zeros([4, 3, 5, 5], "float32")}
    with pytest.raises(ValueError, match=r"'conv2d_0.w_0' has shape \[4, 3, 3, 3\]"):
        pcq.load_state(net.main, wrong)
    np.testing.assert_array_equal(value("conv2d_0.w_0"), before)
