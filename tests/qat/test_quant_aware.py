"""The drop-in call: what it returns and what it names."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import (
    LSQ,
    PACT,
    DoReFaActivation,
    DoReFaWeight,
)

from .small_net import CONFIG, batch, small_net, value

CPU = paddle.CPUPlace()
ADAM = {"optimizer_func": lambda: paddle.optimizer.Adam(1e-3)}


def quantized(net, executor, **functions):
    train = pcq.quant_aware(net.main, CPU, CONFIG, executor=executor, **ADAM, **functions)
    test = pcq.quant_aware(net.test, CPU, CONFIG, executor=executor, for_test=True, **functions)
    return train, test


@pytest.mark.parametrize("onnx_format", [True, False])
@pytest.mark.parametrize(
    "functions",
    [
        {"weight_quantize_func": DoReFaWeight(4)},
        {"act_quantize_func": DoReFaActivation(4)},
        {"weight_quantize_func": DoReFaWeight(4), "act_quantize_func": PACT(4, signed=True)},
        {"weight_quantize_func": LSQ(3), "act_quantize_func": LSQ(3)},
        {"weight_quantize_func": lambda w: w * 0.5},
    ],
    ids=["dorefa weight", "dorefa activation", "dorefa pact", "lsq", "function"],
)
def test_train_and_test_program_agree_while_training(legacy, rng, functions, onnx_format):
    net = small_net()
    legacy.run(net.startup)
    config = {**CONFIG, "onnx_format": onnx_format}
    train = pcq.quant_aware(net.main, CPU, config, executor=legacy, **ADAM, **functions)
    test = pcq.quant_aware(net.test, CPU, config, executor=legacy, for_test=True, **functions)
    assert isinstance(train, static.CompiledProgram)
    assert isinstance(test, static.Program)
    feed = batch(rng)
    custom = len(functions) == 2  # built-in activations update their range in the train program
    losses = []
    for _ in range(5):
        (before,) = legacy.run(test, feed, [net.loss])
        losses += legacy.run(train, feed, [net.loss])
        if custom:
            np.testing.assert_allclose(before, losses[-1], rtol=1e-5)
    assert losses[-1] < losses[0]


def test_names_are_derived_from_the_tensor_and_the_method(legacy):
    net = small_net()
    legacy.run(net.startup)
    functions = {"weight_quantize_func": LSQ(4), "act_quantize_func": PACT(4)}
    train = pcq.quant_aware(net.main, CPU, CONFIG, return_program=True, **ADAM, **functions)
    test = pcq.quant_aware(net.test, CPU, CONFIG, for_test=True, **functions)

    def names(program):
        return {p.name for p in program.all_parameters() if ".lsq." in p.name or ".pact." in p.name}

    assert names(train) == names(test)
    assert {"conv2d_0.w_0.lsq.step", "linear_0.w_0.lsq.step", "image.pact.alpha"} <= names(train)


def test_the_callers_program_is_not_changed(legacy):
    net = small_net()
    legacy.run(net.startup)
    before = net.main.desc.serialize_to_string(), net.test.desc.serialize_to_string()
    quantized(net, legacy, weight_quantize_func=LSQ(4), act_quantize_func=PACT(4))
    assert (net.main.desc.serialize_to_string(), net.test.desc.serialize_to_string()) == before


def test_a_test_program_keeps_trained_values_and_a_train_program_starts_afresh(legacy, rng):
    net = small_net()
    legacy.run(net.startup)
    functions = {"act_quantize_func": PACT(4, alpha=3.0)}
    train, _ = quantized(net, legacy, **functions)
    for _ in range(3):
        legacy.run(train, batch(rng))
    trained = value("relu_0.tmp_0.pact.alpha").copy()
    assert trained.item() != 3.0
    pcq.quant_aware(net.test, CPU, CONFIG, for_test=True, **functions)
    assert value("relu_0.tmp_0.pact.alpha") == trained
    pcq.quant_aware(net.main, CPU, CONFIG, **ADAM, **functions)
    assert value("relu_0.tmp_0.pact.alpha") == 3.0


def test_before_minimize_the_users_optimizer_trains_everything(legacy, rng):
    net = small_net(minimize=False)
    legacy.run(net.startup)
    functions = {"weight_quantize_func": LSQ(4), "act_quantize_func": PACT(4, alpha=1.0)}
    program = pcq.quant_aware(net.main, CPU, CONFIG, return_program=True, **functions)
    startup = static.Program()
    with static.program_guard(program, startup):
        loss = program.global_block().var(net.loss)
        _, pairs = paddle.optimizer.SGD(0.1).minimize(loss, startup)
    legacy.run(startup)
    placed = [p.target.name for p in pcq.placement(net.main, CONFIG, **functions)]
    activation, weight = placed[2:4]
    assert f"{weight}.lsq.step" in {p.name for p, _ in pairs}
    start = value(f"{activation}.pact.alpha").copy()
    feed = batch(rng)
    losses = [legacy.run(program, feed, [net.loss])[0].item() for _ in range(10)]
    assert losses[-1] < losses[0]
    assert value(f"{activation}.pact.alpha") != start
    assert pcq.verify(program, static.global_scope()) == []


def test_built_in_low_bits_are_trained_as_asked(legacy, rng):
    net = small_net()
    legacy.run(net.startup)
    config = {**CONFIG, "weight_bits": 3, "activation_bits": 2, "weight_quantize_type": "abs_max"}
    train = pcq.quant_aware(net.main, CPU, config, return_program=True)
    placed = [p.target.name for p in pcq.placement(net.main, CONFIG)]
    copies = [f"{name}.quantized.dequantized" for name in placed[3:1:-1]]
    for _ in range(3):
        weight, activation = legacy.run(train, batch(rng), copies)
    assert 3 < len(np.unique(weight)) <= 8
    assert 2 <= len(np.unique(activation)) <= 4


def test_observers_of_outputs_only_when_asked(legacy):
    net = small_net()
    legacy.run(net.startup)

    def observers(**extra):
        program = pcq.quant_aware(net.main, CPU, CONFIG, return_program=True, **extra)
        kinds = [op.type for op in program.global_block().ops]
        return kinds.count("moving_average_abs_max_scale")

    assert observers() == 0
    assert observers(output_scales=True) > 0


def test_paddleslims_dump_of_settings_is_left_out(legacy):
    net = small_net()
    legacy.run(net.startup)
    log = logging.getLogger("paddleslim.quant.quanter")
    level, records = log.level, []
    handler = logging.Handler()
    handler.emit = records.append
    log.addHandler(handler)
    try:
        test = pcq.quant_aware(net.test, CPU, CONFIG, for_test=True)
        pcq.convert(test, CPU, CONFIG)
    finally:
        log.removeHandler(handler)
    assert records == [] and log.level == level <= logging.INFO


def test_same_seed_same_numbers_in_another_process():
    script = (
        "import numpy as np, paddle, paddle_custom_quant as pcq\n"
        "from tests.qat.small_net import *\n"
        "from paddle_custom_quant.quantizers import LSQ, PACT\n"
        "with pcq.legacy_static():\n"
        "    net = small_net(); executor = paddle.static.Executor(paddle.CPUPlace())\n"
        "    executor.run(net.startup)\n"
        "    train = pcq.quant_aware(net.main, paddle.CPUPlace(), CONFIG,\n"
        "        weight_quantize_func=LSQ(4), act_quantize_func=PACT(4), executor=executor,\n"
        "        optimizer_func=lambda: paddle.optimizer.Adam(1e-3))\n"
        "    rng = np.random.default_rng(5)\n"
        "    for _ in range(4): loss, = executor.run(train, batch(rng), [net.loss])\n"
        "    print('LOSS', loss.tobytes().hex())\n"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout.split("LOSS ")[1]
        for _ in range(2)
    ]
    assert outputs[0] == outputs[1]
