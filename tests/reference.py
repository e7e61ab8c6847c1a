"""Programs with the quantization written into their forward by hand: what insertion must equal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Iterator, Optional

import numpy as np
import paddle
from paddle.base import framework
from paddle.static.quantization.quant_config import SUPPORT_QUANTIZATION_OP_DICT

from paddle_custom_quant.compat import prefixed_names

OPS = ("conv2d", "depthwise_conv2d", "conv2d_transpose", "mul", "matmul", "matmul_v2")


@contextmanager
def by_hand(
    weight: Optional[Callable[[Any], Any]], activation: Optional[Callable[[Any], Any]]
) -> Iterator[None]:
    """Operators appended in the block read ``weight(w)`` and ``activation(x)``.

    Autodiff of the program that results knows nothing of graphs, splicing or gradients taken
    apart: it is an independent reference.
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
        inputs = dict(kwargs.get("inputs") or {})
        if kind in OPS:
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


def gradients(
    program: Any, loss: str, feed: dict[str, np.ndarray], scope: Any
) -> dict[str, np.ndarray]:
    """The loss (under ``""``) and every parameter's gradient, by parameter name."""
    block = program.global_block()
    names = [p.name for p in program.all_parameters() if block.has_var(f"{p.name}@GRAD")]
    with paddle.static.scope_guard(scope):
        values = paddle.static.Executor(paddle.CPUPlace()).run(
            program, feed=feed, fetch_list=[loss, *(f"{name}@GRAD" for name in names)]
        )
    return dict(zip(["", *names], values))


def largest_difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """Over all entries: the largest difference relative to the entry's largest value."""
    assert set(a) == set(b), set(a) ^ set(b)
    worst = 0.0
    for name in a:
        size = max(np.abs(a[name]).max(), np.abs(b[name]).max(), 1e-12)
        worst = max(worst, float(np.abs(a[name] - b[name]).max() / size))
    return worst
