"""Programs with the quantization written into their forward by hand: what insertion must equal."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Callable, Iterator, Optional
from unittest.mock import patch

import numpy as np
import paddle
from paddle.base import framework
from paddle.static.quantization.quant_config import SUPPORT_QUANTIZATION_OP_DICT

import paddle_custom_quant as pcq
from paddle_custom_quant.compat import prefixed_names

Function = Callable[[Any], Any]
OPS = ("conv2d", "depthwise_conv2d", "conv2d_transpose", "mul", "matmul", "matmul_v2")


@contextmanager
def by_hand(
    weight: Optional[Function], activation: Optional[Function], ops: tuple[str, ...] = OPS
) -> Iterator[None]:
    """Operators appended in the block read ``weight(w)`` and ``activation(x)``.

    Autodiff of the program that results knows nothing of graphs, splicing or gradients taken
    apart: it is an independent reference. ``None`` leaves tensors of that kind as they are.
    """
    append = framework.Block.append_op
    made: dict[Any, Any] = {}

    def quantized(value: Any) -> Any:
        function = weight if isinstance(value, framework.Parameter) else activation
        if function is None:
            return value
        key = id(value.block.program), value.name
        if key not in made:
            with prefixed_names(value.block.program, f"{value.name}.by_hand."):
                made[key] = function(value)
        return made[key]

    def hooked(self: Any, *args: Any, **kwargs: Any) -> Any:
        kind = kwargs.get("type")
        if kind in ops:
            inputs = dict(kwargs["inputs"])
            for slot in SUPPORT_QUANTIZATION_OP_DICT[kind][0]:
                held = inputs[slot]
                many = isinstance(held, (list, tuple))
                values = [quantized(v) for v in (held if many else [held])]
                inputs[slot] = values if many else values[0]
            kwargs["inputs"] = inputs
        return append(self, *args, **kwargs)

    framework.Block.append_op = hooked
    try:
        yield
    finally:
        framework.Block.append_op = append


# An operator notes the Python stack that creates it, which takes most of the time it takes.
without_call_stacks = patch.object(
    framework, "traceback", SimpleNamespace(extract_stack=lambda: [])
)


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
    **settings: Any,
) -> Any:
    """``program`` quantized by the engine; ``None`` leaves tensors of that kind in float."""
    place = paddle.CPUPlace()
    settings.setdefault("optimizer_func", lambda: paddle.optimizer.SGD(0.0))
    return pcq.quant_aware(
        program,
        place,
        {"quantize_op_types": list(ops), "onnx_format": onnx_format},
        executor=paddle.static.Executor(place),
        return_program=True,
        weight_quantize_func=weight or pcq.FirstLast(None, None),
        act_quantize_func=activation or pcq.FirstLast(None, None),
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
        worst = float(abs(self.loss - other.loss) / abs(other.loss))
        for name, gradient in mine.items():
            assert gradient.shape == theirs[name].shape and np.isfinite(gradient).all(), name
            size = max(np.abs(theirs[name]).max(), least)
            worst = max(worst, float(np.abs(gradient - theirs[name]).max() / size))
        return worst


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
    weight: Optional[Function],
    activation: Optional[Function],
    ops: tuple[str, ...] = OPS,
    hand_loss: Optional[Callable[[], Any]] = None,
    **settings: Any,
) -> tuple[Any, Gradients]:
    """Insertion into ``loss()`` gives the loss and gradients of its by-hand version, in float64.

    ``hand_loss`` builds that version where the functions are not simply applied to what ``ops``
    read. To be called inside ``legacy_static`` with float64 as the default dtype.

    Returns:
        The quantized program, and its gradients.
    """
    hand = train_program(hand_loss or loss, None if hand_loss else by_hand(weight, activation, ops))
    plain = train_program(loss)
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        paddle.static.Executor(paddle.CPUPlace()).run(hand.startup)
        ours = quantize(plain.main, weight, activation, ops, **settings)
    expected = gradients(hand.main, hand.loss, feed, scope)
    found = gradients(ours, plain.loss, feed, scope)
    assert found.difference(expected) <= 1e-10
    return ours, found
