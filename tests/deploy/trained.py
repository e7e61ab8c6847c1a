"""Small nets, quantized and trained for a few steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Callable

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn, static

import paddle_custom_quant as pcq
from paddle_custom_quant.deploy.fold import channel_axis
from paddle_custom_quant.deploy.weights import in_int8, reaching_127
from paddle_custom_quant.quantizers import LSQ, PACT, MovingAverageAbsMax

SHAPE, CLASSES = (3, 8, 8), 5
OPS = ["conv2d", "depthwise_conv2d", "matmul_v2", "elementwise_add", "pool2d"]


@dataclass
class Trained:
    """A quantized test program with the scope that holds its values."""

    program: Any
    scope: Any
    logits: str

    def run(self, images: np.ndarray, *names: str) -> list[np.ndarray]:
        with static.scope_guard(self.scope):
            executor = static.Executor(paddle.CPUPlace())
            return executor.run(
                self.program, {"image": images}, fetch_list=list(names or [self.logits])
            )

    def value(self, name: str) -> np.ndarray:
        return np.array(self.scope.find_var(name).get_tensor())

    def set(self, name: str, value: np.ndarray) -> None:
        self.scope.find_var(name).get_tensor().set(value, paddle.CPUPlace())


def residual(image: Any) -> Any:
    """Convolution, residual block, max pool, depthwise and pointwise, average pool, linear."""
    x = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, padding=1, bias_attr=False)(image)))
    y = nn.BatchNorm2D(8)(nn.Conv2D(8, 8, 3, padding=1)(x))
    x = F.max_pool2d(F.relu(y + x), 2)
    x = F.relu6(nn.BatchNorm2D(8)(nn.Conv2D(8, 8, 3, padding=1, groups=8, bias_attr=False)(x)))
    x = F.relu6(nn.BatchNorm2D(16)(nn.Conv2D(8, 16, 1, bias_attr=False)(x)))
    return nn.Linear(16, CLASSES)(paddle.flatten(nn.AdaptiveAvgPool2D(1)(x), 1))


def activations(bits: int, make: Callable[..., Any] = LSQ) -> Any:
    joins = {kind: MovingAverageAbsMax(8) for kind in ("elementwise_add", "pool2d")}
    ends = {"image": PACT(8, alpha=2.0, signed=True), "flatten*": MovingAverageAbsMax(8)}
    rules = {**ends, **joins}
    return pcq.PerLayer(rules, default=make(bits, signed=False))


def trained(
    weight: Any = None,
    activation: Any = None,
    net: Callable[[Any], Any] = residual,
    *,
    steps: int = 8,
    ops: list[str] | None = None,
    shape: tuple[int, ...] = SHAPE,
    backend: str | None = None,
    method: str = "lsq",
    fold: int | None = None,
) -> Trained:
    """Build, quantize and train a net in a scope of its own.

    ``backend`` and ``method`` give the quantizers instead; ``fold`` is a strategy of folding.
    """
    scope, place = static.Scope(), paddle.CPUPlace()
    main, startup = static.Program(), static.Program()
    startup.random_seed = 5
    random = np.random.default_rng(3)
    executor = static.Executor(place)
    with static.scope_guard(scope):
        with static.program_guard(main, startup), paddle.utils.unique_name.guard():
            image = static.data("image", [-1, *shape])
            label = static.data("label", [-1, 1], "int64")
            logits = net(image)
            test = main.clone(for_test=True)
            folding = None
            if fold is not None:
                folding = pcq.fold_batch_norm(main, test, strategy=fold)
            loss = F.cross_entropy(logits, label)
            paddle.optimizer.Momentum(0.02, 0.9).minimize(loss)
        executor.run(startup)
        if folding:
            folding.start()
        settings = {
            "config": {"quantize_op_types": ops or OPS},
            "weight_quantize_func": weight or LSQ(4, per_channel=True),
            "act_quantize_func": activation or activations(4),
            "optimizer_func": lambda: paddle.optimizer.Momentum(1e-3, 0.9),
            "executor": executor,
        }
        if backend:
            settings.update(pcq.backend(backend).arguments(method, 4, test))
        train = pcq.quant_aware(main, place, return_program=True, **settings)
        quantized = pcq.quant_aware(test, place, for_test=True, **settings)
        for _ in range(steps):
            batch = images(random, 16, shape)
            labels = random.integers(0, CLASSES, (16, 1))
            executor.run(train, {"image": batch, "label": labels}, [loss])
    return Trained(quantized, scope, logits.name)


def images(random: np.random.Generator, count: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return random.normal(size=(count, *shape)).astype("float32")


def as_written(frozen):
    """The frozen model with the weights that the paddle format holds."""
    weights = dict(frozen.weights)
    for layer in frozen.integer_layers():
        held = frozen.weights[layer.inputs[1]]
        axis = channel_axis(layer, held.integers.ndim)
        weights[layer.inputs[1]] = reaching_127(in_int8(held, axis)[0], axis)
    return replace(frozen, weights=weights)
