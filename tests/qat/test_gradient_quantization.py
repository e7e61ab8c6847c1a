"""Quantized gradients: the backward of the layers, and nothing else, changes."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn, static

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import DoReFaGradient, DoReFaWeight, Quantizer

from .small_net import CONFIG, batch, small_net, value

CPU = paddle.CPUPlace()


def halve(gradient):
    """Exact in floating point, so that its place in the backward can be checked to the bit."""
    return gradient * 0.5


def run(executor, net, feed, names, **functions):
    program = pcq.quant_aware(net.main, CPU, CONFIG, return_program=True, **functions)
    return dict(zip(names, executor.run(program, feed, names))), program


def test_each_quantized_layer_sees_its_own_quantized_gradient(legacy, rng):
    net = small_net()
    weights = [p.target.name for p in pcq.placement(net.main, CONFIG) if p.target.role == "weight"]
    names = [net.loss, *(f"{w}@GRAD" for w in weights)]
    feed = batch(rng)
    functions = {
        "weight_quantize_func": DoReFaWeight(4),
        "act_quantize_func": pcq.FirstLast(None, None),
    }
    legacy.run(net.startup)
    plain, _ = run(legacy, net, feed, names, **functions)
    legacy.run(net.startup)
    halved, program = run(legacy, net, feed, names, grad_quantize_func=halve, **functions)
    assert halved[net.loss] == plain[net.loss]
    for layers_behind, name in enumerate(reversed(names[1:]), start=1):
        np.testing.assert_allclose(halved[name], plain[name] * 0.5**layers_behind, rtol=1e-6)
    assert pcq.verify(program) == []


def test_a_shortcut_keeps_its_float_gradient(legacy, rng):
    image = static.data("image", [None, 4, 6, 6])
    image.stop_gradient = False
    out = nn.Conv2D(4, 4, 3, padding=1)(image) + image
    loss = paddle.sum(out * out)
    static.append_backward(loss, parameter_list=["conv2d_0.w_0", image.name])
    legacy.run(static.default_startup_program())
    program = static.default_main_program()
    float_only = {
        "weight_quantize_func": pcq.FirstLast(None, None),
        "act_quantize_func": pcq.FirstLast(None, None),
    }
    feed = {"image": rng.normal(size=(2, 4, 6, 6)).astype("float32")}
    out_name, w = out.name, value("conv2d_0.w_0")
    (y, dx) = legacy.run(program, feed, [out_name, "image@GRAD"])
    quantized = pcq.quant_aware(
        program,
        CPU,
        {"weight_bits": 8},
        return_program=True,
        grad_quantize_func=halve,
        **float_only,
    )
    (dx_halved,) = legacy.run(quantized, feed, ["image@GRAD"])
    through_shortcut = 2 * y
    np.testing.assert_allclose(
        dx_halved, through_shortcut + 0.5 * (dx - through_shortcut), rtol=1e-4, atol=1e-4
    )
    assert w.shape == (4, 4, 3, 3)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_dorefa_gradients_train_and_stay_finite(legacy, rng, bits):
    net = small_net()
    legacy.run(net.startup)
    feed = batch(rng, 64)
    program = pcq.quant_aware(
        net.main, CPU, CONFIG, return_program=True,
        weight_quantize_func=DoReFaWeight(8, rescale=True), grad_quantize_func=DoReFaGradient(bits),
    )  # fmt: skip
    losses = [legacy.run(program, feed, [net.loss])[0].item() for _ in range(30)]
    assert np.isfinite(losses).all()
    if bits >= 4:
        assert losses[-1] < losses[0]
    layer = next(p for p in pcq.placement(net.main, CONFIG) if p.target.role == "weight")
    gradient = layer.target.readers[0].output + "@GRAD"
    (dr,) = legacy.run(program, feed, [f"{gradient}.dorefagradient"])
    sample = dr[np.argmax(np.abs(dr).reshape(len(dr), -1).max(1))]
    assert 1 < len(np.unique(sample)) <= 2**bits


def test_a_test_program_and_a_program_without_backward(legacy):
    net = small_net(minimize=False)
    legacy.run(net.startup)
    test = pcq.quant_aware(net.test, CPU, CONFIG, for_test=True, grad_quantize_func=halve)
    assert not any(
        "halve" in name for op in test.global_block().ops for name in op.output_arg_names
    )
    with pytest.raises(ValueError, match=r"no backward pass.*minimize"):
        pcq.quant_aware(net.main, CPU, CONFIG, grad_quantize_func=halve)


def test_a_rule_chooses_layers(legacy):
    net = small_net()
    legacy.run(net.startup)
    rule = pcq.FirstLast(first_last=None, others=DoReFaGradient(4))
    program = pcq.quant_aware(net.main, CPU, CONFIG, return_program=True, grad_quantize_func=rule)
    placed = [p for p in program.quantization.placement if p.target.role == "gradient"]
    assert len(placed) == 1
    assert isinstance(placed[0].quantizer, Quantizer)
