"""Insertion equals the same net with the function written into its forward by hand."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
import paddle
import pytest

import paddle_custom_quant as pcq
from tests.functions import bend, clipped, skewed
from tests.nets import NETS, default_dtype
from tests.reference import Function, Trained, by_hand, gradients, quantize, train_program

FUNCTIONS: dict[str, tuple[Function | None, Function | None]] = {
    "weight": (bend, None),
    "weight-learned": (skewed, None),
    "activation": (None, bend),
    "activation-learned": (None, clipped),
    "both": (bend, bend),
    "both-learned": (skewed, clipped),
}

# The whole table takes some minutes of a core: PCQ_ALL_NETS=1 runs it.
NAMES = list(NETS) if os.environ.get("PCQ_ALL_NETS") else list(NETS)[:3]


@lru_cache(maxsize=1)
def plain(name: str, dtype: str) -> Trained:
    """The float net, which quantization leaves as it is."""
    with default_dtype(dtype):
        return train_program(NETS[name].loss)


@pytest.mark.parametrize("functions", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
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
    assert list(map(str, one.global_block().ops)) == list(map(str, other.global_block().ops))
