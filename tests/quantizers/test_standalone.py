"""A quantizer called like a function, and a method of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import pytest

from paddle_custom_quant.compat import PADDLE3, legacy_static
from paddle_custom_quant.quantizers import (
    LSQ,
    PACT,
    DoReFaWeight,
    Parameter,
    Quantizer,
    UniformGrid,
)
from paddle_custom_quant.quantizers import functional as F
from paddle_custom_quant.quantizers.base import FunctionQuantizer, as_quantizer
from paddle_custom_quant.quantizers.standalone import apply, target_of
from paddle_custom_quant.target import ACTIVATION, WEIGHT, Target
from tests.quantizers.evaluate import MODES, evaluate


@dataclass(frozen=True)
class SoftSign(Quantizer):
    """A method of one's own: x / (scale + |x|), rounded to equal steps; the scale is learned."""

    bits: int
    signed: bool = True

    def parameters(self, target: Any, sample: Any = None) -> dict[str, Parameter]:
        values = self.known_values(target, sample)
        scale = 1.0 if values is None else np.abs(values).mean()
        return {"scale": Parameter(np.full([1], scale, "float32"))}

    def quantize(self, x: Any, target: Any, scale: Any) -> Any:
        squashed = x / (F.positive(scale) + paddle.abs(x))
        return F.ste_round(squashed * self.qmax) / self.qmax

    def grid(self, target: Any, values: Any, scale: Any) -> UniformGrid:
        step = np.full([1], 1 / self.qmax, "float32")
        return UniformGrid(step, 0 * step, -self.qmax, self.qmax)


@pytest.mark.parametrize("mode", MODES)
def test_a_method_of_ones_own(mode: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 5)).astype("float32")
    g = rng.normal(size=x.shape).astype("float32")
    result = evaluate(SoftSign(4), x, g, start={"scale": 0.5}, mode=mode)
    squashed = x / (0.5 + np.abs(x.astype("float64")))
    np.testing.assert_allclose(result.y, np.rint(squashed * 7) / 7, rtol=1e-6)
    np.testing.assert_allclose(result.dx, g * 0.5 / (0.5 + np.abs(x)) ** 2, rtol=1e-4)
    expected = (g * -x / (0.5 + np.abs(x)) ** 2).sum()
    np.testing.assert_allclose(result.gradients["scale"], [expected], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="bits must be between 1 and 16"):
        SoftSign(17)


def test_dynamic_graph_starts_from_the_values(rng: np.random.Generator) -> None:
    layer = paddle.nn.Linear(60, 4)
    y = LSQ(4)(layer.weight)
    values = layer.weight.numpy().astype("float64")
    step = 2 * np.abs(values).mean() / np.sqrt(7)
    expected = np.rint(np.clip(values / step, -8, 7)) * step
    assert np.abs(y.numpy() - expected).max() < 1e-5
    y.sum().backward()
    assert layer.weight.grad is not None
    per_channel = apply(LSQ(4, per_channel=True), layer.weight, channel_axis=1)
    assert len(np.unique(per_channel.numpy())) > 16
    with pytest.raises(ValueError, match="is unknown: use per_channel=False"):
        LSQ(4, per_channel=True)(layer.weight)


def test_program_names_and_start_values(legacy: paddle.static.Executor) -> None:
    x = paddle.static.data("image", [-1, 3])
    y = PACT(4, alpha=1.5)(x)
    w = paddle.create_parameter([3, 3], "float32", name="fc.w_0")
    LSQ(4)(w)
    parameters = {p.name: p for p in paddle.static.default_main_program().all_parameters()}
    assert set(parameters) == {"image.pact.alpha", "fc.w_0", "fc.w_0.lsq.step"}
    assert parameters["image.pact.alpha"].regularizer is not None
    legacy.run(paddle.static.default_startup_program())
    feed = {"image": np.float32([[-1, 0.52, 9]])}
    (value,) = legacy.run(feed=feed, fetch_list=[y])
    np.testing.assert_allclose(value, [[0, 0.5, 1.5]], rtol=1e-6)


@pytest.mark.skipif(not PADDLE3, reason="Paddle 2.6 has one kind of program")
def test_new_program(rng: np.random.Generator) -> None:
    values = rng.normal(size=(3, 4)).astype("float32")
    paddle.enable_static()
    try:
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(main, startup):
            y = PACT(4, alpha=1.0, signed=True)(paddle.static.data("x", [-1, 4]))
            executor = paddle.static.Executor(paddle.CPUPlace())
            executor.run(startup)
            (result,) = executor.run(main, feed={"x": values}, fetch_list=[y])
    finally:
        paddle.disable_static()
    np.testing.assert_allclose(result, np.rint(np.clip(values, -1, 1) * 7) / 7, rtol=1e-6)


def test_target_of_each_kind_of_tensor() -> None:
    layer = paddle.nn.Linear(2, 3)
    weight = target_of(layer.weight, channel_axis=1)
    assert (weight.role, weight.shape, weight.dtype) == (WEIGHT, (2, 3), "float32")
    assert weight.channel_axis == 1
    assert target_of(layer.weight * 2).role == ACTIVATION
    with legacy_static(), paddle.static.program_guard(paddle.static.Program()):
        data = target_of(paddle.static.data("x", [-1, 3]))
        assert (data.name, data.role, data.shape) == ("x", ACTIVATION, (-1, 3))
        parameter = paddle.create_parameter([2, 3], "float32")
        assert target_of(parameter).role == WEIGHT


def test_functions_and_wrong_things() -> None:
    def halve(x: Any) -> Any:
        return x * 0.5

    wrapped = as_quantizer(halve)
    assert isinstance(wrapped, FunctionQuantizer)
    assert wrapped.method == "halve"
    assert float(wrapped.quantize(paddle.ones([1]), Target("x", (1,)))) == 0.5
    assert as_quantizer(LSQ(4)) == LSQ(4)
    assert as_quantizer(lambda x: x).method == "_lambda_"
    with pytest.raises(TypeError, match=r"LSQ is a class: pass an object, as in LSQ\(bits=4\)"):
        as_quantizer(LSQ)
    with pytest.raises(TypeError, match="got 'abs_max'"):
        as_quantizer("abs_max")
    with pytest.raises(NotImplementedError, match="must define quantize"):
        Quantizer().quantize(paddle.ones([1]), Target("x", (1,)))
    assert DoReFaWeight(4).method == "dorefaweight"
