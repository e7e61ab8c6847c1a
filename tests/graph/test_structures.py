"""One small net for every structure that the engine must get right."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

from tests.functions import bend, clipped, skewed
from tests.reference import assert_equal_by_hand

pytestmark = pytest.mark.usefixtures("float64")

FEED = {
    "x": np.random.default_rng(1).standard_normal([2, 4, 6, 6]),
    "y": np.random.default_rng(2).standard_normal([2, 4, 6, 6]),
    "rows": np.random.default_rng(3).standard_normal([5, 4]),
}
EXACT, LEARNED = (bend, bend), (skewed, clipped)


def data(name: str, stop_gradient: bool = True) -> Any:
    held = paddle.static.data(name, FEED[name].shape, paddle.get_default_dtype())
    held.stop_gradient = stop_gradient
    return held


def conv(x: Any, outputs: int = 4, trainable: bool = True) -> Any:
    attr = paddle.ParamAttr(trainable=trainable)
    return nn.Conv2D(x.shape[1], outputs, 3, padding=1, weight_attr=attr, bias_attr=False)(x)


def parameter(*shape: int) -> Any:
    return paddle.create_parameter(list(shape), "float64")


def operator(kind: str, x: Any, y: Any, **attributes: Any) -> Any:
    """An operator that Paddle's functions no longer append."""
    block = paddle.static.default_main_program().global_block()
    out = block.create_var(name=paddle.utils.unique_name.generate(kind), dtype=x.dtype)
    block.append_op(type=kind, inputs={"X": x, "Y": y}, outputs={"Out": out}, attrs=attributes)
    return out


def size(*values: Any) -> Any:
    """A loss that depends on every element differently."""
    return paddle.add_n([paddle.mean(paddle.tanh(v) * v) for v in values])


def quantized_and_unquantized_readers() -> Any:
    h = conv(data("x"))
    return size(conv(h), F.sigmoid(h), conv(h) + h)


def weight_of_several_operators() -> Any:
    layer, linear = nn.Conv2D(4, 4, 3, padding=1), nn.Linear(4, 4)
    rows = linear(F.relu(linear(data("rows"))))
    return size(
        layer(F.relu(layer(data("x")))), paddle.matmul(rows, linear.weight, transpose_y=True)
    )


def transposed_matmul() -> Any:
    x, w, v = data("rows"), parameter(4, 3), parameter(4, 3)
    h = paddle.matmul(x, w)
    g = paddle.matmul(h, v, transpose_y=True)
    return size(paddle.matmul(g, h, transpose_x=True), paddle.matmul(w, h, transpose_y=True))


def old_matmul_and_mul() -> Any:
    h = operator("mul", data("rows"), parameter(4, 6), x_num_col_dims=1, y_num_col_dims=1)
    g = operator("matmul", h, parameter(3, 6), transpose_X=False, transpose_Y=True, alpha=0.5)
    return size(g, operator("matmul", g, h, transpose_X=True, transpose_Y=False, alpha=1.0))


def one_tensor_in_both_slots() -> Any:
    h = F.sigmoid(paddle.matmul(data("rows"), parameter(4, 5)))
    return size(paddle.matmul(h, h), paddle.matmul(h, h, transpose_x=True))


def five_readers() -> Any:
    h = conv(data("x"))
    return size(*(conv(h, i + 1) for i in range(5)))


def several_outputs() -> Any:
    first, second, third = paddle.split(conv(data("x"), 6), 3, axis=1)
    return size(conv(first), conv(second)) + size(third)


def grouped_and_transposed_convolution() -> Any:
    h = nn.Conv2D(4, 4, 3, groups=4, padding=1)(data("x"))  # depthwise_conv2d
    h = nn.Conv2D(4, 6, 3, groups=2, padding=1)(h)
    return size(nn.Conv2DTranspose(6, 4, 2, stride=2, groups=2)(h))


def input_that_needs_a_gradient() -> Any:
    return size(conv(data("x", stop_gradient=False)))


def input_behind_operators_without_gradient() -> Any:
    """Nothing in front of the second convolution's weight needs a gradient by itself."""
    x, y = data("x"), data("y")
    return size(conv(F.avg_pool2d(conv(x + y, trainable=False), 2)))


def frozen_weight() -> Any:
    return size(conv(F.relu(conv(conv(data("x")), trainable=False))))


def frozen_first_layers() -> Any:
    h = F.relu(conv(data("x"), trainable=False))
    first, second = paddle.split(conv(h, 8, trainable=False), 2, axis=1)
    h = paddle.concat([conv(first, trainable=False), F.max_pool2d(h, 3, 1, 1)], axis=1)
    return size(conv(h) + conv(second), h)


def frozen_batch_norm() -> Any:
    attr = paddle.ParamAttr(trainable=False)
    norm = nn.BatchNorm2D(4, weight_attr=attr, bias_attr=attr)
    return size(conv(F.relu(norm(conv(data("x"), trainable=False)))))


def blocked_gradient() -> Any:
    """What the caller detached stays detached."""
    h = conv(data("x"))
    blocked = conv(F.relu(h), trainable=False)
    blocked.stop_gradient = True
    return size(conv(blocked) + h)


def reader_not_on_the_way_to_the_loss() -> Any:
    h = conv(data("x"))
    conv(conv(h))
    return size(conv(F.relu(h)))


def sparse_tied_embedding() -> Any:
    words = paddle.argmax(data("rows"), axis=1)
    table = nn.Embedding(7, 4, sparse=True)
    return size(paddle.matmul(table(words), table.weight, transpose_y=True))


def weight_computed_from_parameters() -> Any:
    """Weight normalisation, and a transposed weight."""
    v, g = parameter(4, 3), parameter(3)
    w = v / paddle.sqrt(paddle.sum(v * v, axis=0)) * g
    return size(paddle.matmul(data("rows"), w), paddle.matmul(data("rows"), parameter(2, 4).T))


NETS = [
    quantized_and_unquantized_readers,
    weight_of_several_operators,
    transposed_matmul,
    old_matmul_and_mul,
    one_tensor_in_both_slots,
    five_readers,
    several_outputs,
    grouped_and_transposed_convolution,
    input_that_needs_a_gradient,
    input_behind_operators_without_gradient,
    frozen_weight,
    frozen_first_layers,
    frozen_batch_norm,
    blocked_gradient,
    reader_not_on_the_way_to_the_loss,
    sparse_tied_embedding,
    weight_computed_from_parameters,
]


@pytest.mark.parametrize("functions", [EXACT, LEARNED], ids=["exact", "learned"])
@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_structure(net: Any, functions: Any) -> None:
    if net is weight_computed_from_parameters:  # a weight to the engine, no parameter to by_hand
        functions = functions[1:] * 2
    assert_equal_by_hand(net, FEED, *functions)
