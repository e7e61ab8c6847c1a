"""Float training, quantized training and freezing of one net on one data set."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Callable

import numpy as np
import paddle
from paddle import static

from ..qat.convert import convert
from .checkpoint import set_values, values_of
from .classifier import Classifier, build_classifier
from .data import Dataset
from .insert import insert_quantizers
from .methods import activation_rule, weight_rule
from .metrics import Score, score
from .models import NETS
from .trainer import Curve, OnStep, predict, train


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result of an experiment, beside its data.

    Attributes:
        net: a name in :data:`~paddle_custom_quant.training.models.NETS`.
        weight: a name in :data:`~paddle_custom_quant.training.methods.WEIGHT_METHODS`.
        activation: a name in :data:`~paddle_custom_quant.training.methods.ACTIVATION_METHODS`.
        weight_bits: of the layers between the first and the last.
        activation_bits: the same for activations.
        first_last_bits: weights and activations of the first and the last layer.
        from_scratch: quantized training starts from random weights, not from the float ones.
        iterations: batches of each of the two stages.
        batch_size: images a batch.
        learning_rate: of Momentum, in both stages.
        momentum: of Momentum, in both stages.
        seed: start values and order of the images.

    Raises:
        TypeError, ValueError: a value that no experiment can have, with its name.
    """

    net: str = "LeNetBN"
    weight: str = "dorefa"
    activation: str = "pact"
    weight_bits: int = 4
    activation_bits: int = 4
    first_last_bits: int = 8
    from_scratch: bool = False
    iterations: int = 938
    batch_size: int = 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is run."""
        if self.net not in NETS:
            raise ValueError(f"net must be one of {', '.join(NETS)}, got {self.net!r}.")
        for name in ("iterations", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be between 0 and {2**31 - 1}, got {self.seed}.")
        weight_rule(self.weight, self.weight_bits, self.first_last_bits)
        activation_rule(self.activation, self.activation_bits, self.first_last_bits, "image")

    def for_epochs(self, epochs: int, images: int) -> Settings:
        """The same settings with as many iterations as ``epochs`` passes over ``images`` take.

        Raises:
            ValueError: less than one epoch.
        """
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs}.")
        return replace(self, iterations=math.ceil(epochs * images / self.batch_size))


@dataclass(frozen=True)
class Stage:
    """A trained net.

    Attributes:
        program: its test program.
        curve: how training went.
        logits: its outputs on the test images.
        score: what they are worth.
    """

    program: Any
    curve: Curve
    logits: np.ndarray
    score: Score


class Experiment:
    """The stages of one experiment, in a scope of their own.

    Use it inside ``pcq.legacy_static()``.

    Args:
        settings: what to do.
        data: what to do it with.
        on_step: called after each iteration with the stage's name, the iteration, loss and top-1.

    Raises:
        ValueError: the batch is larger than the data set.
    """

    def __init__(
        self,
        settings: Settings,
        data: Dataset,
        on_step: Callable[[str, int, float, float], None] | None = None,
    ) -> None:
        if settings.batch_size > len(data.train):
            raise ValueError(
                f"batch_size must be at most the {len(data.train)} training images of {data.name}, "
                f"got {settings.batch_size}."
            )
        self.settings = settings
        self.data = data
        self.on_step = on_step
        self.place = paddle.CPUPlace()
        self.executor = static.Executor(self.place)
        self.scope = static.Scope()
        self.classifier: Classifier = build_classifier(
            settings.net,
            data.train.shape,
            data.classes,
            settings.learning_rate,
            settings.momentum,
        )

    def train_float(self) -> Stage:
        """Train the net as it is."""
        self._start()
        return self._run("float", self.classifier.train, self.classifier.test)

    def train_quantized(self) -> Stage:
        """Train with quantizers in place, from the float weights or from scratch.

        The optimizer starts anew.
        """
        trained = {} if self.settings.from_scratch else values_of(self.classifier.test, self.scope)
        self._start()
        set_values(trained, self.scope, self.place)
        settings = self.settings
        train_program, test_program = insert_quantizers(
            self.classifier,
            self.scope,
            self.executor,
            weight=weight_rule(settings.weight, settings.weight_bits, settings.first_last_bits),
            activation=activation_rule(
                settings.activation,
                settings.activation_bits,
                settings.first_last_bits,
                self.classifier.image,
            ),
            optimizer=lambda: paddle.optimizer.Momentum(settings.learning_rate, settings.momentum),
        )
        return self._run("quantized", train_program, test_program)

    def save_float(self, path: str | Path) -> None:
        """Write the net as an inference model; call it between the two stages."""
        self._save(self.classifier.test, path)

    def save_frozen(self, quantized: Stage, path: str | Path) -> None:
        """Freeze the quantized net and write it as an inference model."""
        with static.scope_guard(self.scope):
            frozen = convert(quantized.program, self.place, scope=self.scope)
        self._save(frozen, path)

    def _start(self) -> None:
        paddle.seed(self.settings.seed)
        with static.scope_guard(self.scope):
            self.executor.run(self.classifier.startup)

    def _run(self, name: str, train_program: Any, test_program: Any) -> Stage:
        report: OnStep | None = partial(self.on_step, name) if self.on_step else None
        with static.scope_guard(self.scope):
            curve = train(
                self.executor,
                train_program,
                self.classifier,
                self.data.train,
                iterations=self.settings.iterations,
                batch_size=self.settings.batch_size,
                seed=self.settings.seed,
                on_step=report,
            )
            logits = predict(self.executor, test_program, self.classifier, self.data.test)
        return Stage(test_program, curve, logits, score(logits, self.data.test.labels))

    def _save(self, program: Any, path: str | Path) -> None:
        block = program.global_block()
        with static.scope_guard(self.scope):
            static.save_inference_model(
                str(path),
                [block.var(self.classifier.image)],
                [block.var(self.classifier.logits)],
                self.executor,
                program=program,
            )
