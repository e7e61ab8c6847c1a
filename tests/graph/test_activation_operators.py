"""Operators that only read activations: whatever their gradient operators are called."""

from __future__ import annotations

from typing import Any, Callable

import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from tests.functions import bend, clipped
from tests.graph.test_structures import FEED, conv, data, size
from tests.reference import assert_equal_by_hand

pytestmark = pytest.mark.usefixtures("float64")

OPERATORS: dict[str, Callable[[Any], Any]] = {
    "pool2d": lambda x: F.max_pool2d(x, 2),
    "elementwise_add": lambda x: x + conv(x),
    "elementwise_sub": lambda x: x - conv(x),
    "elementwise_mul": lambda x: x * conv(x),
    "elementwise_pow": lambda x: paddle.pow(F.sigmoid(x), F.sigmoid(x)),
    "concat": lambda x: paddle.concat([x, conv(x), x], axis=1),
    "stack": lambda x: paddle.stack([x, conv(x), x], axis=1),
    "split": lambda x: paddle.split(x, 2, axis=1)[1],
    "slice": lambda x: x[:, 1:3],
    "strided_slice": lambda x: paddle.strided_slice(x, [2], [0], [6], [2]),
    "gather": lambda x: paddle.gather(x, paddle.to_tensor([1, 0, 1]), axis=0),
    "transpose2": lambda x: paddle.transpose(x, [0, 2, 3, 1]),
    "reshape2": lambda x: paddle.reshape(x, [2, -1]),
    "flatten_contiguous_range": lambda x: paddle.flatten(x, 1),
    "unsqueeze2": lambda x: paddle.unsqueeze(x, 1),
    "squeeze2": lambda x: paddle.squeeze(F.avg_pool2d(x, 6), [2, 3]),
    "expand_v2": lambda x: paddle.expand(F.avg_pool2d(x, 6), [2, 4, 3, 3]),
    "tile": lambda x: paddle.tile(x, [1, 1, 2, 1]),
    "pad3d": lambda x: F.pad(x, [1, 1, 0, 2], mode="reflect"),
    "softmax": lambda x: F.softmax(x, axis=1),
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "tanh": paddle.tanh,
    "sigmoid": F.sigmoid,
    "swish": F.swish,
    "hard_swish": F.hardswish,
    "hard_sigmoid": F.hardsigmoid,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "abs": paddle.abs,
    "square": paddle.square,
    "pow": lambda x: paddle.pow(x, 2.0),
    "clip": lambda x: paddle.clip(x, -0.5, 0.5),
    "scale": lambda x: paddle.scale(x, 2.0, 1.0),
    "assign": paddle.assign,
    "cast": lambda x: paddle.cast(paddle.cast(x, "float32"), "float64"),
    "cumsum": lambda x: paddle.cumsum(x, axis=1),
    "where": lambda x: paddle.where(x > 0.0, x, conv(x)),
    "reduce_mean": lambda x: paddle.mean(x, axis=1),
    "reduce_sum": lambda x: paddle.sum(x, axis=1),
    "p_norm": lambda x: paddle.norm(x, p=2, axis=1),
    "nearest_interp_v2": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "bilinear_interp_v2": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "batch_norm": lambda x: nn.BatchNorm2D(4)(x),
    "instance_norm": lambda x: nn.InstanceNorm2D(4)(x),
    "group_norm": lambda x: nn.GroupNorm(2, 4)(x),
    "layer_norm": lambda x: nn.LayerNorm([6, 6])(x),
}


@pytest.mark.parametrize("activation", [bend, clipped], ids=["exact", "learned"])
@pytest.mark.parametrize("kind", OPERATORS)
def test_operator(kind: str, activation: Any) -> None:
    def loss() -> Any:
        return size(OPERATORS[kind](conv(data("x"))))

    ours = assert_equal_by_hand(loss, FEED, None, activation, ops=(kind,))
    readers = [r.op_type for p in ours.quantization.placement for r in p.target.readers]
    assert kind in readers and set(readers) == {kind}


@pytest.mark.parametrize("activation", [bend, clipped], ids=["exact", "learned"])
def test_a_bias_is_no_residual(activation: Any) -> None:
    def loss() -> Any:
        h = nn.Linear(4, 4)(data("rows"))
        return size(h + nn.Linear(4, 4)(h))

    ours = assert_equal_by_hand(loss, FEED, None, activation, ops=("elementwise_add",))
    assert len(ours.quantization.placement) == 2
