"""What the drop-in call refuses, and how it says so."""

from __future__ import annotations

import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import (
    LSQ,
    PACT,
    DoReFaActivation,
    DoReFaGradient,
    DoReFaWeight,
)

from .small_net import CONFIG, small_net

CPU = paddle.CPUPlace()
ADAM = {"optimizer_func": lambda: paddle.optimizer.Adam(1e-3)}


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"weight_bits": 0}, ValueError, "between 1 and 16, got 0"),
        ({"activation_bits": 17}, ValueError, "between 1 and 16, got 17"),
        ({"weight_bits": 4.0}, TypeError, "must be an integer, got 4.0"),
        ({"activation_bits": "8"}, TypeError, "must be an integer, got '8'"),
        ({"weight_quantize_type": "best"}, ValueError, "best"),
        ({"quantize_op_types": ["conv9d"]}, ValueError, "conv9d"),
        ([("weight_bits", 4)], TypeError, "must be a dict"),
    ],
)
def test_wrong_settings(legacy, config, error, message):
    with pytest.raises(error, match=message):
        pcq.quant_aware(small_net().main, CPU, config)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: None, TypeError, "must return the quantized tensor, but returned None"),
        (lambda x: 3.0, TypeError, "returned 3.0"),
        (lambda x: paddle.reshape(x, [-1]), ValueError, "must return the shape of its input"),
        (lambda x: paddle.cast(x, "float64"), ValueError, "must return the dtype of its input"),
        (lambda x: paddle.ones([1, 1, 1, 1]).expand(x.shape), ValueError, "not use its input"),
        (lambda x: static.nn.cond(x.sum() > 0, lambda: x, lambda: -x), ValueError, "paddle.where"),
        (7, TypeError, "got 7 \\(int\\)"),
        (DoReFaWeight, TypeError, "DoReFaWeight is a class: pass an object"),
    ],
    ids=["None", "number", "shape", "dtype", "unused", "cond", "no function", "class"],
)
def test_wrong_functions(legacy, function, error, message):
    net = small_net()
    legacy.run(net.startup)
    before = net.main.desc.serialize_to_string()
    with pytest.raises(error, match=message):
        pcq.quant_aware(net.main, CPU, CONFIG, weight_quantize_func=function, executor=legacy)
    assert net.main.desc.serialize_to_string() == before


@pytest.mark.parametrize(
    ("role", "quantizer", "message"),
    [
        ("act", DoReFaWeight(4), r"weight tensors only.*'image', the activation of conv2d"),
        ("weight", DoReFaGradient(8), r"gradient tensors only.*the weight of conv2d"),
        ("grad", PACT(8), r"weight and activation tensors only.*the gradient of"),
        ("act", pcq.PerLayer({"softmax": PACT(4)}), "'softmax' matches no quantized tensor"),
        ("act", LSQ(4, per_channel=True), "output-channel axis of 'image' is unknown"),
    ],
)
def test_quantizers_that_cannot_serve(legacy, role, quantizer, message):
    net = small_net()
    legacy.run(net.startup)
    before = net.main.desc.serialize_to_string()
    with pytest.raises(ValueError, match=message):
        pcq.quant_aware(net.main, CPU, CONFIG, **{f"{role}_quantize_func": quantizer}, **ADAM)
    assert net.main.desc.serialize_to_string() == before


def test_a_function_that_raises_shows_its_own_error_and_the_tensor(legacy):
    net = small_net()
    legacy.run(net.startup)

    def broken(x):
        raise KeyError("my own mistake")

    with pytest.raises(KeyError, match=r"my own mistake.*weight 'conv2d_0.w_0' with broken"):
        pcq.quant_aware(net.main, CPU, CONFIG, weight_quantize_func=broken)


def test_a_parameter_name_that_is_taken(legacy):
    net = small_net()
    legacy.run(net.startup)
    config = {"quantize_op_types": ["conv2d"]}

    def by_size(x):
        attribute = paddle.ParamAttr(name="everywhere")
        return x * paddle.create_parameter([x.shape[1], 1, 1], "float32", attr=attribute)

    with pytest.raises(ValueError, match=r"'everywhere' of shape \[4, 1, 1\].*taken.*\[3, 1, 1\]"):
        pcq.quant_aware(net.main, CPU, config, act_quantize_func=by_size, executor=legacy, **ADAM)


def test_optimizer_func_is_needed_where_something_learns(legacy):
    net = small_net()
    legacy.run(net.startup)
    with pytest.raises(ValueError, match="pass optimizer_func"):
        pcq.quant_aware(net.main, CPU, CONFIG, act_quantize_func=PACT(4))
    pcq.quant_aware(net.test, CPU, CONFIG, act_quantize_func=PACT(4), for_test=True)


def test_executor_is_needed_where_a_function_creates_parameters(legacy):
    net = small_net()
    legacy.run(net.startup)

    def learned(x):
        return x * paddle.create_parameter([1], "float32")

    with pytest.raises(ValueError, match="pass executor"):
        pcq.quant_aware(net.main, CPU, CONFIG, act_quantize_func=learned, **ADAM)


def test_weights_that_are_not_in_the_scope(legacy):
    with pytest.raises(ValueError, match=r"'conv2d_0.w_0' is not in the scope.*start-up program"):
        pcq.quant_aware(small_net().main, CPU, CONFIG, weight_quantize_func=LSQ(4), **ADAM)


def test_a_program_that_is_quantized_already(legacy):
    net = small_net()
    legacy.run(net.startup)
    test = pcq.quant_aware(net.test, CPU, CONFIG, for_test=True)
    with pytest.raises(ValueError, match=r"quantized already.*float program"):
        pcq.quant_aware(test, CPU, CONFIG, for_test=True)


def test_dynamic_mode_and_other_objects():
    with pytest.raises(TypeError, match="legacy_static"):
        pcq.quant_aware(object(), CPU)
    with pcq.legacy_static():
        program = small_net().main
    with pytest.raises(ValueError, match=r"dynamic mode.*legacy_static"):
        pcq.quant_aware(program, CPU)


@pytest.mark.parametrize("bits", [0, 17, -1, 2.5, "4", True, None])
def test_bits_of_quantizers(bits):
    error = ValueError if isinstance(bits, int) and not isinstance(bits, bool) else TypeError
    for kind in (DoReFaWeight, DoReFaActivation, PACT):
        with pytest.raises(error, match="bits"):
            kind(bits)
