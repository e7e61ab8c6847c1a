"""Programs that are written in other ways than layer after layer and one ``minimize``."""

from __future__ import annotations

import logging
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F

import paddle_custom_quant as pcq
from paddle_custom_quant.qat.built_in import BuiltIn
from paddle_custom_quant.quantizers import LSQ
from tests.functions import bend, clipped, skewed
from tests.graph.test_structures import EXACT, FEED, LEARNED, conv, data, size
from tests.nets import default_dtype
from tests.reference import (
    assert_equal,
    assert_equal_by_hand,
    by_hand,
    gradients,
    quantize,
    train_program,
    without_call_stacks,
    written,
)

pytestmark = pytest.mark.usefixtures("float64")

both = pytest.mark.parametrize("functions", [EXACT, LEARNED], ids=["exact", "learned"])


def sgd() -> Any:
    return paddle.optimizer.SGD(0.0)


# -- operators in place ------------------------------------------------------------------------


def relu_in_place(x: Any) -> Any:
    block = paddle.static.default_main_program().global_block()
    block.append_op(type="relu", inputs={"X": x}, outputs={"Out": x})
    return x


@both
def test_reader_after_an_operator_in_place(functions: Any) -> None:
    """The second version of a tensor is another tensor: what is learned for it says so."""

    def loss() -> Any:
        h = relu_in_place(conv(data("x")))
        return size(conv(h) + h)

    def activation(x: Any) -> Any:
        return clipped(x, x.name if x.name == "x" else f"{x.name}.v1")

    weight, inserted = functions
    hand = train_program(loss, by_hand(weight, activation if inserted is clipped else inserted))
    insert = lambda program: quantize(program, *functions)  # noqa: E731
    assert_equal(hand, train_program(loss), FEED, insert)


def curve(x: Any) -> Any:
    """Its gradient is computed from the input itself."""
    return x - 0.1 * x * x


@pytest.mark.parametrize("weight, activation", [(None, bend), (skewed, bend), (None, curve)])
def test_reader_before_an_operator_in_place(weight: Any, activation: Any) -> None:
    """What backward needs is kept: the tensor itself is gone by then."""

    def loss(relu: Callable[[Any], Any] = relu_in_place) -> Any:
        h = conv(data("x"))
        return size(conv(h) + relu(h))  # backward cannot run before the operator in place

    assert_equal_by_hand(loss, FEED, weight, activation, hand_loss=lambda: loss(F.relu))


# -- gradients that the caller asks for, once or twice -----------------------------------------

Names = dict[str, str]


def with_gradients(losses: Callable[[], list[Any]], hand: Any = None) -> tuple[Any, list[Names]]:
    """A program with one backward pass a loss, and the gradient of each parameter in each."""
    main = paddle.static.Program()
    startup = paddle.static.default_startup_program()
    names = paddle.utils.unique_name.guard()
    with paddle.static.program_guard(main, startup), names, without_call_stacks:
        with hand or by_hand(None, None):
            built = losses()
        found = []
        for loss in built:
            parameters = main.all_parameters()
            pairs = zip(parameters, paddle.static.gradients([loss], parameters))
            found.append({p.name: g.name for p, g in pairs if g is not None})
    return main, found


def one_loss() -> list[Any]:
    return [size(conv(F.relu(conv(data("x")))))]


def two_losses() -> list[Any]:
    h = conv(data("x"))
    return [size(conv(h)), size(h, conv(F.relu(h)), conv(h))]


@both
@pytest.mark.parametrize("losses", [one_loss, two_losses])
def test_gradients_asked_for_by_the_caller(losses: Any, functions: Any) -> None:
    """Each keeps its own; a quantizer's parameter gets the sum, as one optimizer trains it."""
    scope, startup = paddle.static.Scope(), paddle.static.Program()
    with paddle.static.program_guard(paddle.static.Program(), startup):
        hand, by_hand_names = with_gradients(losses, by_hand(*functions))
        plain, names = with_gradients(losses)
    with paddle.static.scope_guard(scope):
        run = paddle.static.Executor(paddle.CPUPlace()).run
        run(startup)
        ours = quantize(plain, *functions)
        read = {
            op.input("Param")[0]: op.input("Grad")[0]
            for op in ours.global_block().ops
            if op.type == "sgd"
        }
        own = set.union(*map(set, by_hand_names)) - set.union(*map(set, names))
        assert set(read) == own
        for theirs, mine in zip(by_hand_names, names):
            kept = [name for name in theirs if name not in own]
            expected = run(hand, feed=dict(FEED), fetch_list=[theirs[name] for name in kept])
            found = run(ours, feed=dict(FEED), fetch_list=[mine[name] for name in kept])
            for a, b in zip(expected, found):
                np.testing.assert_allclose(b, a, rtol=0, atol=1e-10 * np.abs(a).max())
        for name in own:
            parts = [theirs[name] for theirs in by_hand_names if name in theirs]
            expected = sum(run(hand, feed=dict(FEED), fetch_list=parts))
            (found,) = run(ours, feed=dict(FEED), fetch_list=[read[name]])
            np.testing.assert_allclose(found, expected, rtol=1e-10)


# -- several quantizers on one tensor ----------------------------------------------------------


def conv_by_hand(x: Any, activation: Any, outputs: int = 4) -> Any:
    with by_hand(None, activation, ops=("conv2d",)):
        return conv(x, outputs)


def two_readers() -> Any:
    h = conv(data("x"))
    return size(conv(h) + conv(h))


def test_readers_that_get_different_functions() -> None:
    def hand() -> Any:
        h = conv_by_hand(data("x"), clipped)
        return size(conv_by_hand(h, bend) + conv_by_hand(h, clipped))

    def insert(program: Any) -> Any:
        return quantize(program, None, pcq.FirstLast(clipped, bend))

    assert_equal(train_program(hand), train_program(two_readers), FEED, insert)


def test_readers_that_get_one_method_with_different_settings() -> None:
    """Their values, and what is learned, stay apart though tensor and method are the same."""
    first_last, other = LSQ(8, signed=True), LSQ(3, signed=True)

    def hand() -> Any:
        h = conv_by_hand(data("x"), written(first_last))
        return size(conv_by_hand(h, written(other)) + conv_by_hand(h, written(first_last, "lsq_2")))

    def insert(program: Any) -> Any:
        return quantize(program, None, pcq.FirstLast(first_last, other))

    ours = assert_equal(train_program(hand), train_program(two_readers), FEED, insert)
    names = [placed.label for placed in ours.quantization.placement]
    assert names[0] == "x.lsq" and names[2] == f"{names[1]}_2"


def test_preprocessing_of_the_same_name() -> None:
    """Two lambdas, each with a parameter that it gives no name."""
    scale, shift = nn.initializer.Constant(0.7), nn.initializer.Constant(0.1)

    def parameter(start: Any) -> Any:
        attr = paddle.ParamAttr(initializer=start)
        return paddle.create_parameter([1], "float64", attr=attr)

    def insert(program: Any) -> Any:
        return quantize(
            program,
            None,
            lambda x: paddle.tanh(x) * parameter(scale),
            act_preprocess_func=lambda x: x + parameter(shift) * x * x,
        )

    plain, scope = train_program(lambda: size(conv(data("x")))), paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        paddle.static.Executor(paddle.CPUPlace()).run(plain.startup)
        ours = insert(plain.main)
    found = gradients(ours, plain.loss, FEED, scope).parameters
    assert len(found) == 3
    values = [np.array(scope.find_var(name).get_tensor()) for name in found if "conv" not in name]
    assert sorted(map(float, values)) == [0.1, 0.7]


# -- built-in types beside functions -----------------------------------------------------------


@pytest.mark.parametrize("onnx_format", [True, False])
@pytest.mark.parametrize(
    "functions", [(skewed, None), (None, clipped)], ids=["weight", "activation"]
)
def test_a_built_in_type_beside_a_function(functions: Any, onnx_format: bool) -> None:
    """Its values are seen forward and backward; gradients pass it unchanged."""

    def built_in(kind: str) -> Callable[[Any], Any]:
        return written(BuiltIn(kind, 8, onnx_format=onnx_format), axis=0)

    kinds = built_in("channel_wise_abs_max"), built_in("moving_average_abs_max")
    by_hand_functions = [function or kind for function, kind in zip(functions, kinds)]

    def insert(program: Any) -> Any:
        return quantize(program, *functions, onnx_format=onnx_format, built_in=True)

    feed = {name: value.astype("float32") for name, value in FEED.items()}
    with default_dtype("float32"):  # their operators know no other
        hand = train_program(two_readers, by_hand(*by_hand_functions))
        assert_equal(hand, train_program(two_readers), feed, insert, tolerance=1e-5)


# -- control flow ------------------------------------------------------------------------------


def test_blocks_of_control_flow_are_left_alone(caplog: Any) -> None:
    """One warning names the operators; what is around them is quantized as ever."""

    def loss() -> Any:
        h = F.relu(conv(data("x")))
        i, n = paddle.zeros([1], "int64"), paddle.full([1], 3, "int64")
        layer = nn.Linear(6, 6)

        def body(i: Any, h: Any) -> Any:
            return [i + 1, layer(h)]

        h = paddle.static.nn.while_loop(lambda i, h: i < n, body, [i, h])[1]
        positive = paddle.mean(h) > 0.0
        h = paddle.static.nn.cond(positive, lambda: conv(h), lambda: conv(h) * 2.0)
        return size(conv(h))

    def hand() -> Any:
        return loss()

    caplog.set_level(logging.WARNING, "paddle_custom_quant")
    plain = train_program(loss)
    hand_program = train_program(hand, by_hand(skewed, bend, main_block_only=True))
    assert_equal(hand_program, plain, FEED, lambda p: quantize(p, skewed, bend))
    warnings = [r for r in caplog.records if "left in float" in r.getMessage()]
    assert len(warnings) == 1
    assert "conv2d" in warnings[0].getMessage() and "matmul_v2" in warnings[0].getMessage()
