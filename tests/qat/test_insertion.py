"""Programs that users have beside the plain one: what insertion does with them, or refuses."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn, static

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import LSQ, PACT, AbsMax, DoReFaWeight
from tests.functions import bend, skewed

from .small_net import CONFIG, batch, small_net, value

CPU = paddle.CPUPlace()
SGD = {"optimizer_func": lambda: paddle.optimizer.SGD(0.1)}


@pytest.mark.parametrize("function", [DoReFaWeight(4), skewed, LSQ(4)])
@pytest.mark.parametrize("how", ["parameters", "no_grad_set"])
def test_only_some_parameters_are_optimized(legacy, rng, function, how):
    net = small_net(minimize=False)
    with static.program_guard(net.main, net.startup):
        every = net.main.all_parameters()
        chosen = [p for p in every if p.name.startswith("linear")]
        others = {p.name for p in every} - {p.name for p in chosen}
        loss = net.main.global_block().var(net.loss)
        settings = {"parameters": chosen} if how == "parameters" else {"no_grad_set": others}
        paddle.optimizer.Momentum(0.1, 0.9).minimize(loss, **settings)
    legacy.run(net.startup)
    train = pcq.quant_aware(
        net.main, CPU, CONFIG, executor=legacy, return_program=True, **SGD,
        weight_quantize_func=function,
    )  # fmt: skip
    frozen, free = value("conv2d_0.w_0"), value("linear_0.w_0")
    legacy.run(train, feed=batch(rng))
    assert (value("conv2d_0.w_0") == frozen).all()
    assert not (value("linear_0.w_0") == free).all()


def test_a_gradient_that_is_differentiated_is_refused(legacy):
    image = static.data("image", [2, 3, 6, 6])
    image.stop_gradient = False
    out = paddle.mean(nn.functional.sigmoid(nn.Conv2D(3, 2, 3)(image)))
    (gradient,) = static.gradients([out], [image])
    paddle.optimizer.SGD(0.1).minimize(out + paddle.mean(gradient * gradient))
    legacy.run(static.default_startup_program())
    main = static.default_main_program()
    before = main.desc.serialize_to_string()
    with pytest.raises(ValueError, match=r"differentiates a gradient \(conv2d_grad_grad\)"):
        pcq.quant_aware(main, CPU, CONFIG, weight_quantize_func=bend)
    assert main.desc.serialize_to_string() == before


def test_two_programs_of_a_scope_have_learning_rates_of_their_own(legacy):
    rates = []
    for name, rate in (("left", 0.5), ("right", 0.25)):
        main, startup = static.Program(), static.Program()
        with static.program_guard(main, startup):
            x = static.data("x", [1, 2])
            attribute = paddle.ParamAttr(name=f"{name}.w")
            loss = paddle.mean(nn.Linear(2, 2, weight_attr=attribute)(x))
            paddle.optimizer.SGD(0.1).minimize(loss)
        legacy.run(startup)
        train = pcq.quant_aware(
            main, CPU, CONFIG, executor=legacy, return_program=True, weight_quantize_func=LSQ(4),
            optimizer_func=lambda rate=rate: paddle.optimizer.SGD(rate),
        )  # fmt: skip
        updates = [op for op in train.global_block().ops if op.type == "sgd"]
        rates.append({op.input("Param")[0]: op.input("LearningRate")[0] for op in updates})
    assert value(rates[0]["left.w.lsq.step"]) == 0.5
    assert value(rates[1]["right.w.lsq.step"]) == 0.25


@pytest.mark.parametrize("for_test", [True, False])
def test_a_parameter_named_as_one_of_the_net(legacy, for_test):
    net = small_net()
    legacy.run(net.startup)
    before = value("linear_0.b_0")

    def named(x):
        attribute = paddle.ParamAttr(name="linear_0.b_0")
        return x * paddle.create_parameter([1], "float32", attr=attribute)

    with pytest.raises(ValueError, match=r"'linear_0.b_0', but the program has one of that"):
        pcq.quant_aware(
            net.test if for_test else net.main, CPU, CONFIG, for_test=for_test, executor=legacy,
            act_quantize_func=named, **SGD,
        )  # fmt: skip
    assert (value("linear_0.b_0") == before).all()


def test_a_test_program_with_other_quantizers_than_were_trained(legacy):
    net = small_net()
    legacy.run(net.startup)
    pcq.quant_aware(
        net.main, CPU, CONFIG, executor=legacy, weight_quantize_func=LSQ(4, per_channel=True), **SGD
    )
    before = value("conv2d_0.w_0.lsq.step")
    with pytest.raises(ValueError, match=r"'conv2d_0.w_0.lsq.step' in shape \[4\].* has \[1\]"):
        pcq.quant_aware(net.test, CPU, CONFIG, for_test=True, weight_quantize_func=LSQ(4))
    assert (value("conv2d_0.w_0.lsq.step") == before).all()


def test_the_compiled_program_is_named(legacy):
    net = small_net()
    legacy.run(net.startup)
    train = pcq.quant_aware(net.main, CPU, CONFIG, executor=legacy)
    with pytest.raises(TypeError, match=r"CompiledProgram.*return_program=True"):
        pcq.quant_aware(train, CPU, CONFIG)


@pytest.mark.parametrize(
    "settings",
    [
        {"act_preprocess_func": pcq.PerLayer({"conv2d_O": bend})},
        {"act_quantize_func": pcq.PerLayer({"conv2d*": pcq.PerLayer({"conv2d_9": PACT(4)})})},
        {"act_quantize_func": pcq.FirstLast(PACT(8), pcq.PerLayer({"conv2d_0": PACT(4)}))},
    ],
)
def test_unmatched_patterns_anywhere(legacy, settings):
    net = small_net()
    legacy.run(net.startup)
    with pytest.raises(ValueError, match=r"'conv2d_[O90]' matches no quantized tensor"):
        pcq.quant_aware(net.main, CPU, CONFIG, executor=legacy, **SGD, **settings)


def test_start_values_of_a_computed_weight_are_those_of_its_values(legacy):
    x = static.data("x", [5, 3])
    w = paddle.create_parameter([2, 3], "float32", default_initializer=nn.initializer.Normal())
    loss = paddle.mean(paddle.matmul(x, paddle.transpose(w, [1, 0])))
    paddle.optimizer.SGD(0.1).minimize(loss)
    legacy.run(static.default_startup_program())
    main = static.default_main_program()
    turn = next(op for op in main.global_block().ops if op.type == "transpose2")
    computed = turn.output("Out")[0]
    train = pcq.quant_aware(
        main, CPU, CONFIG, executor=legacy, return_program=True, **SGD,
        weight_quantize_func=LSQ(4, per_channel=True),
    )  # fmt: skip
    assert train.quantization.placement.placed[-1].target.name in (computed, "x")
    steps = value(f"{computed}.lsq.step")
    expected = 2 * np.abs(value(w.name)).mean(axis=1) / np.sqrt(7)
    np.testing.assert_allclose(steps, expected, rtol=1e-5)


@pytest.mark.parametrize(("transpose", "axis"), [(False, 0), (True, 1)])
def test_the_output_axis_of_a_weight_on_the_left(legacy, transpose, axis):
    x = static.data("x", [3, 4])
    w = paddle.create_parameter([3, 2] if transpose else [2, 3], "float32")
    paddle.matmul(w, x, transpose_x=transpose)
    weights = AbsMax(4, per_channel=True)
    placed = pcq.placement(
        static.default_main_program(), CONFIG, weight_quantize_func=weights
    ).placed
    assert {p.target.name: p.target.channel_axis for p in placed}[w.name] == axis


def test_a_class_that_cannot_be_hashed_and_one_that_raises(legacy):
    net = small_net()
    legacy.run(net.startup)

    class Mine(pcq.quantizers.Quantizer):
        bits, signed = 4, True

        def quantize(self, x, target):
            raise KeyError("my own mistake")

    class Unhashed(Mine):
        __hash__ = None

    with pytest.raises(KeyError, match=r"my own mistake.*weight 'conv2d_0.w_0' with mine"):
        pcq.quant_aware(net.main, CPU, CONFIG, weight_quantize_func=Mine())
    with pytest.raises(TypeError, match=r"Unhashed cannot be compared.*frozen"):
        pcq.quant_aware(net.main, CPU, CONFIG, weight_quantize_func=Unhashed())
