"""The programs of one stage of a recipe, with their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import static

from ..distributed import ProcessGroup, data_parallel
from ..graph.marks import QUANTIZER_OPTIMIZER
from ..qat.backends import backend
from ..qat.calibrate import calibrate
from ..qat.observers import OBSERVERS
from ..qat.onednn import use_onednn
from ..scope import read, write
from . import recipe_rules
from .checkpoint import set_values, values_of
from .classifier import Classifier, build_classifier
from .constrain import clamp_output, clamp_weight
from .data import Dataset, batches
from .insert import insert_quantizers
from .recipe import Recipe

FLOAT, CONSTRAIN, CONTROL, QUANTIZED = "float", "constrain", "control", "quantized"


@dataclass(frozen=True)
class StagePrograms:
    """What a stage runs.

    Attributes:
        classifier: the float programs, and names of inputs and outputs.
        train: the stage's training program.
        test: its test program.
        scope: holds all values.
        executor: runs both, on a CPU.
    """

    classifier: Classifier
    train: Any
    test: Any
    scope: Any
    executor: Any

    def values(self) -> dict[str, np.ndarray]:
        """All values of the training program: parameters, statistics and optimizers' state."""
        return values_of(self.train, self.scope)

    def set_values(self, values: Mapping[str, np.ndarray]) -> None:
        """Put back what :meth:`values` gave.

        Raises:
            ValueError: values of another net, or of other quantizers.
        """
        own = self.values()
        different = sorted(
            {name for name in own if name not in values or values[name].shape != own[name].shape}
            | set(values) - set(own)
        )
        if different:
            raise ValueError(
                f"the checkpoint is of another net or other quantizers: it does not agree on "
                f"{len(different)} of {len(own)} tensors, such as {different[0]!r}."
            )
        set_values(values, self.scope, self.executor.place)

    def set_rates(self, net: float, quantizers: float) -> None:
        """Set the learning rates of the two optimizers."""
        for name in self._rate_names():
            rate = quantizers if name.startswith(QUANTIZER_OPTIMIZER) else net
            value = np.full_like(read(self.scope, name), rate)
            write(self.scope, self.executor.place, name, value)

    def _rate_names(self) -> set[str]:
        ops = self.train.global_block().ops
        return {op.input("LearningRate")[0] for op in ops if "LearningRate" in op.input_names}


def build_stage(
    recipe: Recipe,
    stage: str,
    seed: int,
    data: Dataset,
    start: Mapping[str, np.ndarray] | None,
    group: ProcessGroup | None = None,
) -> StagePrograms:
    """Write the programs of a stage and give them their start values.

    Call it inside ``pcq.legacy_static()``.

    Args:
        recipe: what to train.
        stage: one of the recipe's.
        seed: of the random start values.
        data: images, for their shape and for the quantizers' start values.
        start: parameters and statistics that the stage goes on from; ``None`` for random ones.
        group: the processes that train together.

    Raises:
        ValueError: quantizers or start values that do not fit the net.
    """
    group, optimizer = group or ProcessGroup(), recipe.optimizer
    form = recipe.hardware if stage == QUANTIZED else None
    classifier = build_classifier(
        recipe.net,
        data.train.shape,
        data.classes,
        momentum=optimizer.momentum,
        nesterov=optimizer.nesterov,
        weight_decay=optimizer.weight_decay,
        label_smoothing=recipe.label_smoothing,
        folding=form.folding if form else None,
        folding_delay=_delay(recipe, len(data.train)) if form and form.folding == 3 else None,
    )
    scope, executor = static.Scope(), static.Executor(paddle.CPUPlace())
    paddle.seed(seed)
    with static.scope_guard(scope):
        executor.run(classifier.startup)
    if start is not None:
        classifier.check_values(start)
        set_values(start, scope, executor.place)
    if classifier.folding is not None:
        classifier.folding.start(scope, executor.place)
    train, test = classifier.train, classifier.test
    if stage == CONSTRAIN and recipe.constrain is not None:
        bounds = recipe.constrain
        train, test = insert_quantizers(
            classifier,
            scope,
            executor,
            weight=clamp_weight(bounds.weights),
            activation=clamp_output(bounds.outputs),
        )
    elif stage == QUANTIZED and recipe.quantized is not None:
        train, test = insert_quantizers(
            classifier,
            scope,
            executor,
            **_rules(recipe, classifier),
            optimizer=lambda: paddle.optimizer.Momentum(0.01, optimizer.momentum),
        )
    else:
        use_onednn(train)
        use_onednn(test)
    data_parallel(train, group, scope=scope)
    if stage == QUANTIZED and recipe.quantized is not None:
        order = batches(len(data.train), recipe.batch_size, recipe.quantized.calibration, seed)
        part = group.part(recipe.batch_size)
        feeds = ({classifier.image: data.train.inputs(chosen[part])} for chosen in order)
        chosen_by = recipe.quantized.observer
        calibrate(
            classifier.test,
            train,
            feeds,
            observer=OBSERVERS[chosen_by]() if chosen_by else None,
            scope=scope,
            place=executor.place,
            group=group,
        )
    return StagePrograms(classifier, train, test, scope, executor)


def _rules(recipe: Recipe, classifier: Classifier) -> dict[str, Any]:
    """Which quantizers go where."""
    held, form = recipe.quantizers, recipe.hardware
    if form is not None:
        made = backend(form.setting).arguments(
            form.method, form.bits, classifier.test, ends_bits=form.first_last_bits
        )
        return {
            "weight": made["weight_quantize_func"],
            "activation": made["act_quantize_func"],
            "op_types": made["config"]["quantize_op_types"],
        }
    assert held is not None
    return {
        "weight": recipe_rules.weights(held),
        "activation": recipe_rules.activations(held, classifier.test, classifier.image),
        "gradient": recipe_rules.gradients(held),
    }


def _delay(recipe: Recipe, images: int) -> int | None:
    """Steps after which folded statistics are frozen."""
    epochs = recipe.quantized.freeze_bn if recipe.quantized is not None else None
    return None if epochs is None else round(epochs * max(1, images // recipe.batch_size))


__all__ = ["CONSTRAIN", "CONTROL", "FLOAT", "QUANTIZED", "StagePrograms", "build_stage"]
