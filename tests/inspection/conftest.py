"""Programs and saved models that the tests of this room look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn, static

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import LSQ, PACT, AbsMax
from tests.nets import NETS

CPU = paddle.CPUPlace()
LAYERS = {"quantize_op_types": ["conv2d", "depthwise_conv2d", "matmul_v2", "mul"]}


@dataclass
class Built:
    """A small net in its forms, with the scope that holds their values."""

    scope: Any
    executor: Any
    float_train: Any
    float_test: Any
    train: Any
    test: Any
    converted: Any
    output: str
    loss: str

    def feed(self, rng: np.random.Generator, size: int = 8) -> dict[str, np.ndarray]:
        """A batch."""
        image = rng.standard_normal([size, 3, 6, 6]).astype("float32")
        return {"image": image, "label": rng.integers(0, 5, [size, 1])}


@contextmanager
def old_programs() -> Iterator[Any]:
    """Empty programs of the old kind, fresh names, an empty scope."""
    scope, names = static.Scope(), paddle.utils.unique_name.guard()
    with pcq.legacy_static(), names, static.scope_guard(scope), ExitStack() as stack:
        # Which program_guard there is depends on the mode.
        stack.enter_context(static.program_guard(static.Program(), static.Program()))
        yield scope


@cache
def quantized_net(name: str) -> tuple[Any, Any]:
    """A net of the equality table: its training program in float and quantized, without values."""
    with old_programs():
        main = static.default_main_program()
        paddle.optimizer.SGD(0.1).minimize(NETS[name].loss())
        quantized = pcq.quant_aware(
            main, CPU, LAYERS, return_program=True, weight_quantize_func=AbsMax(5),
            act_quantize_func=PACT(4), optimizer_func=lambda: paddle.optimizer.SGD(0.1),
        )  # fmt: skip
    return main, quantized


@pytest.fixture(scope="session")
def built() -> Built:
    """Convolution, batch norm, linear: weights in 4 bits a channel, activations in 3."""
    with old_programs() as scope:
        main, startup = static.default_main_program(), static.default_startup_program()
        startup.random_seed = main.random_seed = 7
        image = static.data("image", [None, 3, 6, 6])
        label = static.data("label", [None, 1], "int64")
        hidden = nn.functional.relu(nn.BatchNorm2D(4)(nn.Conv2D(3, 4, 3)(image)))
        logits = nn.Linear(64, 5)(paddle.flatten(hidden, 1))
        loss = nn.functional.cross_entropy(logits, label)
        test = main.clone(for_test=True)
        paddle.optimizer.Momentum(0.05, 0.9).minimize(loss)
        executor = static.Executor(CPU)
        executor.run(startup)
        settings = {
            "weight_quantize_func": LSQ(4, per_channel=True), "act_quantize_func": PACT(3),
            "optimizer_func": lambda: paddle.optimizer.Adam(1e-3),
        }  # fmt: skip
        train = pcq.quant_aware(main, CPU, LAYERS, return_program=True, **settings)
        quantized = pcq.quant_aware(test, CPU, LAYERS, for_test=True, **settings)
        converted = pcq.convert(quantized, CPU, LAYERS)
        return Built(
            scope, executor, main, test, train, quantized, converted, logits.name, loss.name
        )


@pytest.fixture(scope="session")
def saved(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with float, train (static.save), test and converted (inference models)."""
    folder = tmp_path_factory.mktemp("models")
    with pcq.legacy_static(), static.scope_guard(built.scope):
        for name in ("float_train", "train"):
            static.save(getattr(built, name), str(folder / name))
        for name in ("test", "converted"):
            program = getattr(built, name)
            block = program.global_block()
            inputs, outputs = [block.var("image")], [block.var(built.output)]
            static.save_inference_model(
                str(folder / name), inputs, outputs, built.executor, program=program
            )
    return folder
