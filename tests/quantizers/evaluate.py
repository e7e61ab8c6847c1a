"""Run a quantizer forward and backward on arrays, in any of Paddle's modes."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from paddle_custom_quant import compat
from paddle_custom_quant.quantizers import Parameter, Quantizer, Sample
from paddle_custom_quant.quantizers.standalone import create_parameters
from paddle_custom_quant.target import ACTIVATION, Target

MODES = ["dynamic", "old", *(["new"] if compat.PADDLE3 else [])]


@dataclass
class Result:
    """What came out: the value, the gradients of input and parameters, the states afterwards."""

    y: np.ndarray
    dx: np.ndarray
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    states: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class _Started:
    """A quantizer whose parameters start at given values."""

    quantizer: Quantizer
    start: dict[str, Any]

    @property
    def method(self) -> str:
        return self.quantizer.method

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        own = self.quantizer.parameters(target, sample)
        missing = set(self.start) - set(own)
        assert not missing, f"{self.method} has no {missing}"
        return {
            name: Parameter(
                np.broadcast_to(self.start.get(name, p.value), p.value.shape).astype("float32"),
                p.trainable,
            )
            for name, p in own.items()
        }


def evaluate(
    quantizer: Quantizer,
    x: np.ndarray,
    gradient: np.ndarray | None = None,
    *,
    role: str = ACTIVATION,
    channel_axis: int | None = None,
    sample: Sample | None = None,
    start: dict[str, Any] | None = None,
    training: bool = True,
    unknown_batch: bool = False,
    mode: str = "dynamic",
) -> Result:
    """Quantize x and send ``gradient`` (ones by default) back."""
    x = np.asarray(x, dtype="float32")
    gradient = np.ones_like(x) if gradient is None else np.asarray(gradient, dtype="float32")
    shape = (-1, *x.shape[1:]) if unknown_batch else x.shape
    target = Target("t", shape, "float32", role, channel_axis=channel_axis, training=training)
    started = _Started(quantizer, start or {})
    run = _dynamic if mode == "dynamic" else _program
    return run(quantizer, started, target, sample, x, gradient, mode == "old")


def _dynamic(
    quantizer: Quantizer,
    started: Any,
    target: Target,
    sample: Sample | None,
    values: np.ndarray,
    gradient: np.ndarray,
    old: bool,
) -> Result:
    x = paddle.to_tensor(values, stop_gradient=False)
    with paddle.utils.unique_name.guard():
        owned = create_parameters(started, target, sample)
    y = quantizer.quantize(x, target, **owned)
    seed = paddle.to_tensor(gradient)
    seed = quantizer.incoming_gradient(seed, x.detach(), y.detach(), target, **owned)
    if not y.stop_gradient:
        paddle.autograd.backward([y], [seed.detach()])
    trained = {name: p for name, p in owned.items() if not p.stop_gradient}
    return Result(
        y.numpy(),
        _numpy(x.grad, x),
        {name: _numpy(p.grad, p) for name, p in trained.items()},
        {name: p.numpy() for name, p in owned.items() if name not in trained},
    )


def _numpy(gradient: Any, of: Any) -> np.ndarray:
    return np.zeros(of.shape, "float32") if gradient is None else gradient.numpy()


def _program(
    quantizer: Quantizer,
    started: Any,
    target: Target,
    sample: Sample | None,
    values: np.ndarray,
    gradient: np.ndarray,
    old: bool,
) -> Result:
    main, startup = paddle.static.Program, paddle.static.Program
    with ExitStack() as stack:
        if old:
            stack.enter_context(compat.legacy_static())
        else:
            paddle.enable_static()
            stack.callback(paddle.disable_static)
        main, startup = paddle.static.Program(), paddle.static.Program()
        stack.enter_context(paddle.static.scope_guard(paddle.static.Scope()))
        stack.enter_context(paddle.static.program_guard(main, startup))
        stack.enter_context(paddle.utils.unique_name.guard())
        x = paddle.static.data("t", list(target.shape), "float32")
        x.stop_gradient = False
        seed = paddle.static.data("seed", list(target.shape), "float32")
        owned = create_parameters(started, target, sample)
        y = quantizer.quantize(x, target, **owned)
        adjusted = quantizer.incoming_gradient(seed, x, y, target, **owned)
        trained = {name: p for name, p in owned.items() if not p.stop_gradient}
        states = {name: p for name, p in owned.items() if name not in trained}
        inputs = [x, *trained.values()]
        gradients = [None for _ in inputs]
        if not y.stop_gradient:
            gradients = paddle.static.gradients([y], inputs, target_gradients=[adjusted])
        gradients = [paddle.zeros_like(v) if g is None else g for v, g in zip(inputs, gradients)]
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        fetched = executor.run(
            main,
            feed={"t": values, "seed": gradient},
            fetch_list=[y, *gradients, *states.values()],
        )
    y_value, dx, *rest = fetched
    return Result(
        y_value,
        dx,
        dict(zip(trained, rest)),
        dict(zip(states, rest[len(trained) :])),
    )
