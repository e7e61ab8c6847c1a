"""Convolutions on oneDNN: each marked operator agrees with the plain kernel."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import nn, static

import paddle_custom_quant as pcq
from paddle_custom_quant import compat
from paddle_custom_quant.quantizers import DoReFaWeight

from .small_net import CONFIG, batch, small_net

CPU = paddle.CPUPlace()
pytestmark = pytest.mark.skipif(not compat.has_onednn(), reason="this Paddle has no oneDNN")

SHAPES = {  # input, filters, kernel, stride, padding, dilation, groups
    "3x3": ((2, 8, 9, 9), 16, 3, 1, 1, 1, 1),
    "1x1": ((2, 16, 8, 8), 32, 1, 1, 0, 1, 1),
    "stride 2": ((2, 8, 16, 16), 8, 3, 2, 1, 1, 1),
    "1x1 stride 2": ((2, 8, 8, 8), 16, 1, 2, 0, 1, 1),
    "7x7 stem": ((1, 3, 32, 32), 16, 7, 2, 3, 1, 1),
    "5x5": ((2, 4, 12, 12), 6, 5, 1, 0, 1, 1),
    "dilated": ((2, 8, 12, 12), 8, 3, 1, 2, 2, 1),
    "groups": ((2, 8, 8, 8), 16, 3, 1, 1, 1, 4),
    "depthwise": ((2, 16, 10, 10), 16, 3, 1, 1, 1, 16),
    "depthwise stride 2": ((2, 16, 10, 10), 16, 3, 2, 1, 1, 16),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_marked_convolution_and_its_gradients_equal_the_plain_ones(legacy, rng, shape):
    size, filters, kernel, stride, padding, dilation, groups = shape
    image = static.data("image", size)
    image.stop_gradient = False
    out = nn.Conv2D(size[1], filters, kernel, stride, padding, dilation, groups)(image)
    loss = paddle.sum(out * out)
    static.append_backward(loss, parameter_list=["conv2d_0.w_0", "image"])
    legacy.run(static.default_startup_program())
    plain = static.default_main_program()
    marked = plain.clone()
    assert pcq.use_onednn(marked) == 2
    feed = {"image": rng.normal(size=size).astype("float32")}
    names = [out.name, "conv2d_0.w_0@GRAD", "image@GRAD"]
    for expected, got in zip(legacy.run(plain, feed, names), legacy.run(marked, feed, names)):
        np.testing.assert_allclose(got, expected, rtol=0, atol=4e-6 * np.abs(expected).max())


def test_quant_aware_marks_convolutions_unless_told_not_to(legacy, rng):
    net = small_net()
    legacy.run(net.startup)

    def marked(program):
        kinds = [op.type for op in program.global_block().ops if op.has_attr("use_mkldnn")
                 and op.attr("use_mkldnn")]  # fmt: skip
        return sorted(kinds)

    def quantize(**extra):
        return pcq.quant_aware(
            net.main,
            CPU,
            CONFIG,
            return_program=True,
            weight_quantize_func=DoReFaWeight(4),
            **extra,
        )

    expected = ["conv2d"] * 2 + ["conv2d_grad"] * 2
    assert marked(quantize()) == expected
    assert marked(quantize(onednn=False)) == []
    assert marked(net.main) == []
    test = pcq.quant_aware(
        net.test, CPU, CONFIG, for_test=True, weight_quantize_func=DoReFaWeight(4)
    )
    assert marked(test) == ["conv2d"] * 2
    assert marked(pcq.convert(test, CPU, CONFIG)) == []
    feed = batch(rng)
    fast = legacy.run(test, feed, [net.logits])[0]
    pcq.use_onednn(test, enabled=False)
    np.testing.assert_allclose(legacy.run(test, feed, [net.logits])[0], fast, rtol=1e-4, atol=1e-5)


def test_a_test_program_sees_weights_that_change(legacy, rng):
    net = small_net()
    legacy.run(net.startup)
    assert pcq.use_onednn(net.test) == 2
    feed = batch(rng)
    (before,) = legacy.run(net.test, feed, [net.logits])
    for _ in range(3):
        legacy.run(net.main, feed)
    (after,) = legacy.run(net.test, feed, [net.logits])
    pcq.use_onednn(net.test, enabled=False)
    (plain,) = legacy.run(net.test, feed, [net.logits])
    np.testing.assert_allclose(after, plain, rtol=1e-4, atol=1e-5)
    assert np.abs(after - before).max() > 1e-2


def test_other_dtypes_and_layouts_are_left_alone(legacy):
    image = static.data("image", [1, 8, 8, 3], "float32")
    nn.Conv2D(3, 4, 3, data_format="NHWC")(image)
    paddle.set_default_dtype("float64")
    try:
        nn.Conv2D(3, 4, 3)(static.data("other", [1, 3, 8, 8], "float64"))
    finally:
        paddle.set_default_dtype("float32")
    assert pcq.use_onednn(static.default_main_program()) == 0
