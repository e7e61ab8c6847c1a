"""One layer with a batch norm behind it, and what each strategy makes of it, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from numpy.lib.stride_tricks import sliding_window_view
from paddle import nn, static

import paddle_custom_quant as pcq
from paddle_custom_quant.scope import read, write

BATCH, CHANNELS, OUTPUTS, SIDE, MOMENTUM, EPSILON = 5, 4, 4, 6, 0.9, 1e-5
KINDS = ["conv", "conv with bias", "depthwise", "linear", "linear with bias"]
BEND = 0.3


def bend(w: Any) -> Any:
    """Stands for a quantizer of weights: not linear, so that it matters what it is given."""
    return w + w * w * BEND


def make(kind: str) -> tuple[Any, Any]:
    bias = None if "bias" in kind or kind == "depthwise" else False
    if kind.startswith("linear"):
        return nn.Linear(CHANNELS, OUTPUTS, bias_attr=bias), nn.BatchNorm1D(OUTPUTS, MOMENTUM)
    groups = CHANNELS if kind == "depthwise" else 1
    layer = nn.Conv2D(CHANNELS, OUTPUTS, 3, padding=1, groups=groups, bias_attr=bias)
    return layer, nn.BatchNorm2D(OUTPUTS, MOMENTUM)


@dataclass
class Layer:
    """Programs of one layer, folded, with ``names`` of w, b, gamma, beta, mean and variance."""

    kind: str
    train: Any
    test: Any
    loss: str
    output: str
    names: dict[str, str]
    direction: np.ndarray
    executor: Any

    def values(self) -> dict[str, np.ndarray]:
        scope = static.global_scope()
        return {key: read(scope, name).astype("float64") for key, name in self.names.items()}

    def step(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Train on x: output and gradients."""
        block = self.train.global_block()
        keys = [k for k, name in self.names.items() if block.has_var(f"{name}@GRAD")]
        names = [f"{self.names[key]}@GRAD" for key in keys]
        y, *gradients = self.executor.run(
            self.train, {"x": x, "direction": self.direction}, [self.output, *names]
        )
        return y, dict(zip(keys, gradients))

    def run(self, x: np.ndarray) -> np.ndarray:
        return self.executor.run(self.test, {"x": x}, [self.output])[0]


def build(
    kind: str,
    strategy: int,
    executor: Any,
    rng: np.random.Generator,
    *,
    bent: bool = True,
    delay: int | None = None,
    rate: float = 0.05,
) -> tuple[Layer, dict[str, np.ndarray]]:
    """The folded layer, and its values before they are merged."""
    train, startup = static.Program(), static.Program()
    shape = [CHANNELS] if kind.startswith("linear") else [CHANNELS, SIDE, SIDE]
    shape_out = [OUTPUTS, *shape[1:]]
    with static.program_guard(train, startup):
        x = static.data("x", [-1, *shape])
        direction = static.data("direction", [-1, *shape_out])
        layer, norm = make(kind)
        y = norm(layer(x))
        test = train.clone(for_test=True)
        folding = pcq.fold_batch_norm(train, test, strategy=strategy, delay=delay)
        assert not folding.left
        loss = paddle.sum(y * direction)
        paddle.optimizer.SGD(rate).minimize(loss)
    executor.run(startup)
    names = {
        "w": layer.weight.name,
        "gamma": norm.weight.name,
        "beta": norm.bias.name,
        "mean": norm._mean.name,
        "variance": norm._variance.name,
    }
    if layer.bias is not None:
        names["b"] = layer.bias.name
    scope = static.global_scope()
    for key, name in names.items():
        value = rng.normal(size=read(scope, name).shape)
        value = {"variance": value**2 + 0.3, "gamma": value + np.sign(value) * 0.3}.get(key, value)
        write(scope, executor.place, name, value.astype("float32"))
    held = Layer(
        kind,
        train,
        test,
        loss.name,
        y.name,
        names,
        rng.normal(size=[BATCH, *shape_out]).astype("float32") * 0.1,
        executor,
    )
    before = held.values()
    folding.start(scope)
    if bent:
        nothing = pcq.FirstLast(None, None)
        arguments = {"weight_quantize_func": bend, "act_quantize_func": nothing}
        config = {"quantize_op_types": ["conv2d", "depthwise_conv2d", "matmul_v2"]}
        place = executor.place
        held.train = pcq.quant_aware(train, place, config, return_program=True, **arguments)
        held.test = pcq.quant_aware(test, place, config, for_test=True, **arguments)
    return held, before


def batch(kind: str, rng: np.random.Generator) -> np.ndarray:
    shape = [CHANNELS] if kind.startswith("linear") else [CHANNELS, SIDE, SIDE]
    return rng.normal(size=[BATCH, *shape]).astype("float32")


def apply(kind: str, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The layer without its bias."""
    if kind.startswith("linear"):
        return x @ w
    padded = np.pad(x.astype("float64"), [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))
    if kind == "depthwise":
        return np.einsum("nchwij,cij->nchw", windows, w[:, 0])
    return np.einsum("nchwij,ocij->nohw", windows, w)


def channels(vector: np.ndarray, kind: str) -> np.ndarray:
    """Along the channels of the output."""
    return vector if kind.startswith("linear") else vector[:, None, None]


def times(w: np.ndarray, factor: np.ndarray, kind: str) -> np.ndarray:
    """A weight times a factor for each output channel."""
    return w * (factor if kind.startswith("linear") else factor[:, None, None, None])


@dataclass
class Expected:
    y: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def expected(
    kind: str,
    strategy: int,
    x: np.ndarray,
    held: dict[str, np.ndarray],
    *,
    training: bool = True,
    learning: bool = True,
    f: Any = bend,
) -> Expected:
    """Output and running statistics afterwards of the unmerged values ``held``."""
    w, gamma, beta, mean, variance = (held[k] for k in ("w", "gamma", "beta", "mean", "variance"))
    b = held.get("b", np.zeros(OUTPUTS))
    axes = (0,) if kind.startswith("linear") else (0, 2, 3)

    def statistics(y):
        return y.mean(axis=axes), y.var(axis=axes)

    def spread(vector):
        return channels(vector, kind)

    running = np.sqrt(variance + EPSILON)
    live = training and learning and strategy >= 2
    if strategy == 4:
        factor = gamma / running
        z = apply(kind, x, f(times(w, factor, kind))) / spread(factor) + spread(b)
        mu, var = statistics(z) if live else (mean, variance)
        y = (z - spread(mu)) / spread(np.sqrt(var + EPSILON)) * spread(gamma) + spread(beta)
    else:
        floats = apply(kind, x, w) + spread(b)
        mu, var = statistics(floats) if live else (mean, variance)
        sigma = np.sqrt(var + EPSILON)
        folded = times(w, gamma / (running if strategy == 3 else sigma), kind)
        y = apply(kind, x, f(folded))
        if strategy == 3:
            y = y * spread(running / sigma)
        y = y + spread(beta + (b - mu) * gamma / sigma)
    if live:
        mean = MOMENTUM * mean + (1 - MOMENTUM) * mu
        variance = MOMENTUM * variance + (1 - MOMENTUM) * var
    return Expected(y, mean, variance)


def differences(loss: Any, held: dict[str, np.ndarray], key: str) -> np.ndarray:
    """Central differences of ``loss(held)`` by one of the values."""
    gradient = np.zeros_like(held[key])
    for index in np.ndindex(gradient.shape):
        ends = []
        for sign in (1, -1):
            moved = {**held, key: held[key].copy()}
            moved[key][index] += sign * 1e-6
            ends.append(loss(moved))
        gradient[index] = (ends[0] - ends[1]) / 2e-6
    return gradient
