"""Programs with the quantization written into their forward by hand: what insertion must equal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any, Callable
from unittest.mock import patch

import numpy as np
import paddle
from paddle.base import framework
from paddle.static.quantization.quant_config import SUPPORT_QUANTIZATION_OP_DICT

import paddle_custom_quant as pcq
from paddle_custom_quant.compat import prefixed_names
from paddle_custom_quant.quantizers.standalone import target_of

Function = Callable[[Any], Any]
_blocks = count()
OPS = ("conv2d", "depthwise_conv2d", "conv2d_transpose", "mul", "matmul", "matmul_v2")


@contextmanager
def by_hand(
    weight: Function | None,
    activation: Function | None,
    ops: tuple[str, ...] = OPS,
    main_block_only: bool = False,
) -> Iterator[None]:
    """Operators appended in the block read ``weight(w)`` and ``activation(x)``.

    Autodiff of the program that results knows nothing of graphs, splicing or gradients taken
    apart: it is an independent reference. ``None`` leaves tensors of that kind as they are.
    """
    append = framework.Block.append_op
    made: dict[Any, Any] = {}
    number = next(_blocks)

    def quantized(value: Any) -> Any:
        function = weight if isinstance(value, framework.Parameter) else activation
        if function is None or not paddle.is_floating_point(value):
            return value
        key = id(value.block.program), value.name
        if key not in made:
            framework.Block.append_op = append
            with prefixed_names(value.block.program, f"{value.name}.by_hand_{number}."):
                made[key] = function(value)
            framework.Block.append_op = hooked
        return made[key]

    def hooked(self: Any, *args: Any, **kwargs: Any) -> Any:
        kind = kwargs.get("type")
        if kind in ops and not (main_block_only and self.idx):
            inputs = dict(kwargs["inputs"])
            slots = {slot: _list(inputs[slot]) for slot in SUPPORT_QUANTIZATION_OP_DICT[kind][0]}
            biases = [v for held in slots.values() for v in held if v.persistable]
            if kind in OPS or not biases:
                inputs.update({slot: list(map(quantized, held)) for slot, held in slots.items()})
            kwargs["inputs"] = inputs
        return append(self, *args, **kwargs)

    framework.Block.append_op = hooked
    try:
        yield
    finally:
        framework.Block.append_op = append


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def written(quantizer: Any, label: str | None = None, axis: int | None = None) -> Function:
    """A function that applies ``quantizer``, for :func:`by_hand`, with its parameters in place.

    ``label`` stands for the method's name in theirs; ``axis`` is the channel axis of weights.
    """

    def function(x: Any) -> Any:
        target = target_of(x, axis)
        held = {}
        for key, parameter in quantizer.parameters(target).items():
            start = np.asarray(parameter.value)
            floating = start.dtype.kind == "f"
            held[key] = paddle.create_parameter(
                list(start.shape),
                target.dtype if floating else str(start.dtype),
                attr=paddle.ParamAttr(
                    name=parameter.name or f"{x.name}.{label or quantizer.method}.{key}",
                    initializer=paddle.nn.initializer.Assign(start),
                    trainable=parameter.trainable,
                ),
            )
        y = quantizer.quantize(x, target, **held)
        return y.detach() + (x - x.detach()) if quantizer.passes_gradient else y

    return function


# An operator notes the Python stack that creates it, which takes most of the time it takes.
without_call_stacks = patch.object(framework, "traceback", SimpleNamespace(extract_stack=list))


@dataclass
class Trained:
    """A program with its backward pass, its start-up program and its loss."""

    main: Any
    startup: Any
    loss: str


def train_program(
    loss: Callable[[], Any],
    hand: Any = None,
    optimizer: Callable[[], Any] = lambda: paddle.optimizer.SGD(0.0),
) -> Trained:
    """Build ``loss()`` and its backward pass, inside ``hand`` (a :func:`by_hand` block)."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    main.random_seed = startup.random_seed = 1
    guard = paddle.static.program_guard(main, startup)
    names = paddle.utils.unique_name.guard()
    with guard, names, without_call_stacks, hand or nullcontext():
        result = loss()
        optimizer().minimize(result)
    return Trained(main, startup, result.name)


def quantize(
    program: Any,
    weight: Any,
    activation: Any,
    ops: tuple[str, ...] = OPS,
    onnx_format: bool = True,
    built_in: bool = False,
    **settings: Any,
) -> Any:
    """``program`` quantized by the engine.

    ``None`` leaves tensors of that kind in float, or takes PaddleSlim's type (``built_in``).
    """
    place = paddle.CPUPlace()
    settings = {
        "optimizer_func": lambda: paddle.optimizer.SGD(0.0),
        "return_program": True,
        "onednn": False,
        **settings,
    }
    return pcq.quant_aware(
        program,
        place,
        {"quantize_op_types": list(ops), "onnx_format": onnx_format},
        executor=paddle.static.Executor(place),
        weight_quantize_func=weight or (None if built_in else pcq.FirstLast(None, None)),
        act_quantize_func=activation or (None if built_in else pcq.FirstLast(None, None)),
        **settings,
    )


@dataclass
class Gradients:
    """The loss and every parameter's gradient, by parameter name."""

    loss: np.ndarray
    parameters: dict[str, np.ndarray] = field(default_factory=dict)

    def difference(self, other: Gradients) -> float:
        """The largest difference of any gradient, relative to that gradient's largest entry.

        A gradient whose entries are all below a thousandth of the program's largest counts as
        that large: in it, terms cancel, and what is left of them is rounding.
        """
        mine, theirs = self.parameters, other.parameters
        assert set(mine) == set(theirs), set(mine) ^ set(theirs)
        least = 1e-3 * max(np.abs(g).max() for g in theirs.values())
        worst = _share(abs(self.loss - other.loss), abs(other.loss))
        for name, gradient in mine.items():
            assert gradient.shape == theirs[name].shape and np.isfinite(gradient).all(), name
            size = max(np.abs(theirs[name]).max(), least)
            worst = max(worst, _share(np.abs(gradient - theirs[name]).max(), size))
        return worst


def _share(difference: Any, size: Any) -> float:
    """``difference / size``; nothing of nothing is nothing: the gradients of a dead net agree."""
    if difference == 0:
        return 0.0
    return float(difference / size) if size else math.inf


def gradients(program: Any, loss: str, feed: dict[str, np.ndarray], scope: Any) -> Gradients:
    """Run the program once; the gradients are those that its optimizers (without decay) read."""
    names = {
        op.input("Param")[0]: op.input("Grad")[0]
        for op in program.global_block().ops
        if "Param" in op.input_names
    }
    return fetch_gradients(program, loss, names, feed, scope)


def fetch_gradients(
    program: Any, loss: str, names: dict[str, str], feed: dict[str, np.ndarray], scope: Any
) -> Gradients:
    """Run the program once and fetch the gradient variables ``names``, by parameter."""
    with paddle.static.scope_guard(scope):
        first, *rest = paddle.static.Executor(paddle.CPUPlace()).run(
            program, feed=dict(feed), fetch_list=[loss, *names.values()]
        )
    return Gradients(first, dict(zip(names, rest)))


def assert_equal_by_hand(
    loss: Callable[[], Any],
    feed: dict[str, np.ndarray],
    weight: Function | None,
    activation: Function | None,
    ops: tuple[str, ...] = OPS,
    hand_loss: Callable[[], Any] | None = None,
) -> Any:
    """Insertion into ``loss()`` gives the loss and gradients of its by-hand version, in float64.

    ``hand_loss`` is the net of that version, where it is another. To be called inside
    ``legacy_static`` with float64 as the default dtype. Returns the quantized program.
    """
    hand = train_program(hand_loss or loss, by_hand(weight, activation, ops))
    plain = train_program(loss)
    return assert_equal(hand, plain, feed, lambda p: quantize(p, weight, activation, ops))


def assert_equal(
    hand: Trained,
    plain: Trained,
    feed: dict[str, np.ndarray],
    insert: Callable[[Any], Any],
    tolerance: float = 1e-10,
) -> Any:
    """``insert(plain.main)`` has the loss and gradients of ``hand``. Returns that program."""
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        paddle.static.Executor(paddle.CPUPlace()).run(hand.startup)
        ours = insert(plain.main)
    start = state(ours, scope)
    expected = gradients(hand.main, hand.loss, feed, scope)
    for name, value in start.items():  # running scales have moved on
        scope.find_var(name).get_tensor().set(value, paddle.CPUPlace())
    found = gradients(ours, plain.loss, feed, scope)
    assert found.difference(expected) <= tolerance
    return ours


def state(program: Any, scope: Any) -> dict[str, np.ndarray]:
    """The values of a program's parameters and running states."""
    names = [v.name for v in program.list_vars() if v.persistable and scope.find_var(v.name)]
    return {name: np.array(scope.find_var(name).get_tensor()) for name in names}
