"""Insertion equals the same net with the function written into its forward by hand."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Optional

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F
from paddle.nn.initializer import Constant

import paddle_custom_quant as pcq
from tests.nets import NETS, default_dtype
from tests.reference import Function, Trained, by_hand, gradients, quantize, train_program


def bend(x: Any) -> Any:
    """A smooth function that uses its input twice."""
    return x - 0.25 * paddle.tanh(x)


def skewed(w: Any) -> Any:
    """A smooth function with a learned parameter; not a scale, which batch norm would undo."""
    t = paddle.tanh(w)
    return w + learned(w, "s", 0.5) * t * t


def clipped(x: Any) -> Any:
    """PACT's clip as PaddleSlim's example writes it."""
    a = learned(x, "a", 1.3)
    return x - F.relu(x - a) + F.relu(-a - x)


def learned(x: Any, name: str, start: float) -> Any:
    attr = paddle.ParamAttr(name=f"{x.name}.{name}", initializer=Constant(start))
    return paddle.create_parameter([1], paddle.get_default_dtype(), attr=attr)


FUNCTIONS: dict[str, tuple[Optional[Function], Optional[Function]]] = {
    "weight": (bend, None),
    "weight-learned": (skewed, None),
    "activation": (None, bend),
    "activation-learned": (None, clipped),
    "both": (bend, bend),
    "both-learned": (skewed, clipped),
}


@lru_cache(maxsize=1)
def plain(name: str, dtype: str) -> Trained:
    """The float net, which quantization leaves as it is."""
    with default_dtype(dtype):
        return train_program(NETS[name].loss)


@pytest.mark.parametrize("functions", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETS)
def test_loss_and_gradients(name: str, dtype: str, functions: str) -> None:
    """In float64 nothing but the order of sums is left; in float32 it is what users run."""
    net, (weight, activation) = NETS[name], FUNCTIONS[functions]
    with pcq.legacy_static(), default_dtype(dtype):
        net_alone = plain(name, dtype)
        hand = train_program(net.loss, by_hand(weight, activation))
        scope = paddle.static.Scope()
        with paddle.static.scope_guard(scope):
            paddle.static.Executor(paddle.CPUPlace()).run(hand.startup)
            ours = quantize(net_alone.main, weight, activation, onnx_format=dtype == "float64")
        feed = net.feed(np.random.default_rng(0), dtype)
        expected = gradients(hand.main, hand.loss, feed, scope)
        found = gradients(ours, net_alone.loss, feed, scope)
    assert found.loss.dtype == dtype
    assert found.difference(expected) <= (net.tolerance if dtype == "float32" else 1e-10)


@pytest.mark.parametrize("functions", FUNCTIONS)
def test_both_formats_give_the_same_program(legacy: Any, functions: str) -> None:
    program = train_program(NETS["resnet20"].loss)
    legacy.run(program.startup)
    one, other = (
        quantize(program.main, *FUNCTIONS[functions], onnx_format=onnx_format)
        for onnx_format in (True, False)
    )
    assert one.desc.serialize_to_string() == other.desc.serialize_to_string()
