"""The quantizers' optimizer and the user's: every parameter moves as in the by-hand program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from paddle.optimizer import SGD, Adam, AdamW, Momentum
from paddle.optimizer.lr import ExponentialDecay, NaturalExpDecay, StepDecay

import paddle_custom_quant as pcq
from paddle_custom_quant.compat import legacy_static
from paddle_custom_quant.quantizers.base import Parameter, Quantizer
from tests.functions import clipped, skewed
from tests.nets import default_dtype
from tests.reference import Trained, by_hand, quantize, state, train_program

CPU = paddle.CPUPlace()
IMAGE = np.random.default_rng(1).standard_normal([3, 2, 6, 6])


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with legacy_static(), default_dtype("float64"):
        yield


def feed() -> dict[str, np.ndarray]:
    image = IMAGE.astype(paddle.get_default_dtype())
    return {"image": image, "label": np.array([[0], [2], [1]])}


def loss() -> Any:
    image = paddle.static.data("image", [3, 2, 6, 6], paddle.get_default_dtype())
    label = paddle.static.data("label", [3, 1], "int64")
    hidden = F.relu(nn.BatchNorm2D(4)(nn.Conv2D(2, 4, 3)(image)))
    return F.cross_entropy(nn.Linear(64, 3)(paddle.flatten(hidden, 1)), label)


@dataclass
class Rates:
    """Makes optimizers; steps the schedules that it made."""

    users: Callable[[Rates], Any]
    quantizers: Callable[[Rates], Any]

    def __post_init__(self) -> None:
        self.schedules: list[Any] = []

    def schedule(self, made: Any) -> Any:
        self.schedules.append(made)
        return made

    def step(self) -> None:
        for schedule in self.schedules:
            schedule.step()

    def write(self) -> None:
        """Drive each schedule's own variable by hand: Paddle knows one schedule a program."""
        for schedule in self.schedules:
            tensor = paddle.static.global_scope().find_var(schedule._var_name).get_tensor()
            tensor.set(np.full_like(np.array(tensor), schedule()), CPU)


def hand_program(rates: Rates, functions: Any = (skewed, clipped)) -> Trained:
    """The quantizers' parameters are those that the float net does not have."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    main.random_seed = startup.random_seed = 1
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        with by_hand(*functions):
            result = loss()
        pairs = paddle.static.append_backward(result)
        own = [(p, g) for p, g in pairs if is_own(p.name)]
        rates.users(rates).apply_gradients([(p, g) for p, g in pairs if not is_own(p.name)])
        rates.quantizers(rates).apply_gradients(own)
    if rates.schedules:
        del main.lr_scheduler
    return Trained(main, startup, result.name)


def is_own(name: str) -> bool:
    return name.endswith((".s", ".a")) or ".grown." in name


def trajectory(
    program: Any, scope: Any, names: list[str], rates: Rates, hand: bool = False
) -> list[list[np.ndarray]]:
    """Values of the parameters after each of five steps."""
    executor, found = paddle.static.Executor(CPU), []
    with paddle.static.scope_guard(scope):
        for _ in range(5):
            if hand:
                rates.write()
            executor.run(program, feed=feed())
            found.append([np.array(scope.find_var(n).get_tensor()) for n in names])
            rates.step()
    return found


def assert_close(expected: Any, found: Any, names: list[str]) -> None:
    single = paddle.get_default_dtype() == "float32"
    close = {"rtol": 1e-3, "atol": 1e-6} if single else {"rtol": 1e-9, "atol": 1e-12}
    for step, (a, b) in enumerate(zip(expected, found)):
        for name, x, y in zip(names, a, b):
            np.testing.assert_allclose(y, x, **close, err_msg=f"{name} after step {step}")


def assert_same_trajectory(
    users: Any, quantizers: Any, functions: Any = (skewed, clipped), compiled: bool = False
) -> None:
    theirs, ours = Rates(users, quantizers), Rates(users, quantizers)
    hand = hand_program(theirs, functions)
    plain = train_program(loss, optimizer=lambda: ours.users(ours))
    scopes = paddle.static.Scope(), paddle.static.Scope()
    for scope, program in zip(scopes, (hand, plain)):
        with paddle.static.scope_guard(scope):
            paddle.static.Executor(CPU).run(program.startup)
    names = [p.name for p in hand.main.all_parameters()]
    for name, value in state(plain.main, scopes[0]).items():
        if name in names:
            scopes[1].find_var(name).get_tensor().set(value, CPU)
    with paddle.static.scope_guard(scopes[1]):
        quantized = quantize(
            plain.main,
            *functions,
            optimizer_func=lambda: ours.quantizers(ours),
            return_program=not compiled,
        )
    expected = trajectory(hand.main, scopes[0], names, theirs, hand=True)
    found = trajectory(quantized, scopes[1], names, ours)
    moved = {name for name, a, b in zip(names, expected[0], expected[-1]) if np.any(a != b)}
    assert any(map(is_own, moved)) and not all(map(is_own, moved))
    assert_close(expected, found, names)


def plain_sgd(rates: Rates) -> Any:
    return SGD(0.05)


USERS = {
    "momentum and weight decay": lambda r: Momentum(0.1, 0.9, weight_decay=0.05),
    "clip by global norm": lambda r: SGD(0.5, grad_clip=nn.ClipGradByGlobalNorm(0.1)),
    "clip by norm": lambda r: Adam(0.02, grad_clip=nn.ClipGradByNorm(0.1)),
    "clip by value": lambda r: SGD(0.5, grad_clip=nn.ClipGradByValue(0.01)),
    "schedule": lambda r: SGD(r.schedule(StepDecay(0.3, 2, 0.5))),
    "adamw and schedule": lambda r: AdamW(r.schedule(ExponentialDecay(0.1, 0.7)), weight_decay=0.1),
}
QUANTIZERS = {
    "sgd": plain_sgd,
    "schedule": lambda r: Momentum(r.schedule(NaturalExpDecay(0.2, 0.4)), 0.8),
    "decay and clip": lambda r: Adam(
        0.02, weight_decay=0.1, grad_clip=nn.ClipGradByGlobalNorm(0.02)
    ),
}


@pytest.mark.parametrize("quantizers", QUANTIZERS)
@pytest.mark.parametrize("users", USERS)
def test_every_parameter_moves_as_in_the_program_by_hand(users: str, quantizers: str) -> None:
    compiled = users == "schedule"
    dtype = "float32" if users == "clip by norm" else "float64"  # all that Paddle has it for
    with default_dtype(dtype):
        assert_same_trajectory(USERS[users], QUANTIZERS[quantizers], compiled=compiled)


def test_one_schedule_for_both_optimizers() -> None:
    def both(rates: Rates) -> Any:
        if not rates.schedules:
            rates.schedule(StepDecay(0.3, 1, 0.5))
        return SGD(rates.schedules[0])

    def separate(rates: Rates) -> Any:
        return SGD(rates.schedule(StepDecay(0.3, 1, 0.5)))

    theirs, ours = Rates(separate, separate), Rates(both, both)
    hand, plain = hand_program(theirs), train_program(loss, optimizer=lambda: both(ours))
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        for program in (plain, hand):
            paddle.static.Executor(CPU).run(program.startup)
        quantized = quantize(plain.main, skewed, clipped, optimizer_func=lambda: both(ours))
        start = state(quantized, scope)
        names = [p.name for p in hand.main.all_parameters()]
        expected = trajectory(hand.main, scope, names, theirs, hand=True)
        for name, value in start.items():
            scope.find_var(name).get_tensor().set(value, CPU)
        ours.schedules[0].step(0)
        found = trajectory(quantized, scope, names, ours)
        assert_close(expected, found, names)
        paddle.static.Executor(CPU).run(plain.main, feed=feed())  # drives its own as ever


def test_the_schedule_of_the_quantizers_alone_is_the_programs() -> None:
    plain = train_program(loss)
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor = paddle.static.Executor(CPU)
        executor.run(plain.startup)
        quantized = quantize(
            plain.main, None, clipped, optimizer_func=lambda: SGD(StepDecay(0.5, 1, 0.1))
        )
        rates = []
        for _ in range(3):
            executor.run(quantized, feed=feed())
            variable = quantized.lr_scheduler._var_name
            rates.append(
                float(np.array(paddle.static.global_scope().find_var(variable).get_tensor()))
            )
            quantized.lr_scheduler.step()
    np.testing.assert_allclose(rates, [0.5, 0.05, 0.005])


@dataclass(frozen=True)
class Grown(Quantizer):
    """Learns slowly, and is pulled to zero."""

    bits: int = 8
    signed = True

    def parameters(self, target: Any, sample: Any = None) -> dict[str, Parameter]:
        value = np.array([0.5], dtype="float32")
        return {"size": Parameter(value, weight_decay=0.3, learning_rate=0.2)}

    def quantize(self, x: Any, target: Any, **parameters: Any) -> Any:
        return x + parameters["size"] * paddle.tanh(x)


def test_decay_and_learning_rate_of_a_quantizers_parameter() -> None:
    """They are by hand what ``ParamAttr`` says."""

    def function(x: Any) -> Any:
        attr = paddle.ParamAttr(
            name=f"{x.name}.grown.size",
            initializer=nn.initializer.Constant(0.5),
            learning_rate=0.2,
            regularizer=paddle.regularizer.L2Decay(0.3),
        )
        return x + paddle.create_parameter([1], "float64", attr=attr) * paddle.tanh(x)

    theirs, ours = Rates(plain_sgd, lambda r: SGD(0.5)), Rates(plain_sgd, lambda r: SGD(0.5))
    hand = hand_program(theirs, (function, function))
    plain = train_program(loss, optimizer=lambda: plain_sgd(ours))
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        for program in (plain, hand):
            paddle.static.Executor(CPU).run(program.startup)
        quantized = quantize(
            plain.main, Grown(), Grown(), optimizer_func=lambda: ours.quantizers(ours)
        )
        start = state(quantized, scope)
        names = [p.name for p in hand.main.all_parameters()]
        expected = trajectory(hand.main, scope, names, theirs, hand=True)
        for name, value in start.items():
            scope.find_var(name).get_tensor().set(value, CPU)
        found = trajectory(quantized, scope, names, ours)
        assert_close(expected, found, names)


def quantized_with(optimizer_func: Any, **functions: Any) -> Any:
    plain = train_program(loss)
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor = paddle.static.Executor(CPU)
        executor.run(plain.startup)
        return pcq.quant_aware(
            plain.main, CPU, {"quantize_op_types": ["conv2d", "matmul_v2"], "onnx_format": False},
            optimizer_func=optimizer_func, executor=executor, **functions,
        )  # fmt: skip


def test_optimizer_func_is_called_once() -> None:
    calls = []

    def optimizer_func() -> Any:
        calls.append(1)
        return Adam(0.01)

    quantized_with(optimizer_func, weight_quantize_func=skewed, act_quantize_func=clipped)
    assert calls == [1]


def test_something_else_than_an_optimizer() -> None:
    with pytest.raises(TypeError, match=r"optimizer_func must return an optimizer.*got 0.1"):
        quantized_with(lambda: 0.1, act_quantize_func=clipped)


def test_nothing_is_written_into_the_current_directory(tmp_path: Any, monkeypatch: Any) -> None:
    """Not even by what writes a mapping table upstream: preprocessing in the older format."""
    monkeypatch.chdir(tmp_path)
    with default_dtype("float32"):
        quantized_with(lambda: SGD(0.1), weight_preprocess_func=skewed, act_preprocess_func=clipped)
    assert list(tmp_path.iterdir()) == []
