"""An image classifier as static programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import static

from ..qat.folding import Folding, fold_batch_norm
from .models import NETS


@dataclass(frozen=True)
class Classifier:
    """Programs that train and test one net, and the names of what goes in and out.

    Attributes:
        startup: gives every parameter and optimizer state its start value.
        train: forward, backward and update; fed ``image`` and ``label``.
        test: forward alone, from ``image`` to ``logits``.
        image: float32 ``[-1, channels, height, width]``.
        label: int64 ``[-1, 1]``.
        logits: float32 ``[-1, classes]``.
        loss: mean cross entropy, a scalar; with smoothed labels if asked for.
        shapes: of all parameters and statistics of the float net, by name.
        folding: what was folded, if batch norm was.
    """

    startup: Any
    train: Any
    test: Any
    image: str
    label: str
    logits: str
    loss: str
    shapes: Mapping[str, tuple[int, ...]]
    folding: Folding | None = None

    def check_values(self, values: Mapping[str, np.ndarray]) -> None:
        """Raise ValueError unless these can be the float net's parameters and statistics."""
        different = sorted(
            name
            for name, shape in self.shapes.items()
            if name not in values or values[name].shape != shape
        )
        if different:
            name = different[0]
            found = "is missing" if name not in values else f"has shape {[*values[name].shape]}"
            raise ValueError(
                f"the checkpoint is of another net: {name!r} {found}, the net has "
                f"{[*self.shapes[name]]} ({len(different)} of {len(self.shapes)} tensors differ)."
            )


def build_classifier(
    net: str,
    shape: tuple[int, int, int],
    classes: int,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    *,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    folding: int | None = None,
    folding_delay: int | None = None,
) -> Classifier:
    """Write the programs of a net that is trained by Momentum.

    Call it inside ``pcq.legacy_static()``. Two calls give the same names.

    Args:
        net: a name in :data:`paddle_custom_quant.training.models.NETS`.
        shape: channels, height and width of an image.
        classes: number of outputs.
        learning_rate: of the optimizer.
        momentum: of the optimizer.
        nesterov: look ahead.
        weight_decay: factor of the L2 penalty on every parameter.
        label_smoothing: part of the target that is spread over all classes.
        folding: fold batch norm by this strategy (:func:`.fold_batch_norm`); the caller gives the
            start values (:meth:`.Folding.start`).
        folding_delay: of strategy 3, in steps.

    Raises:
        ValueError: the net is not known, or has no batch norm to fold.
    """
    if net not in NETS:
        raise ValueError(f"the net must be one of {', '.join(NETS)}, got {net!r}.")
    train, startup = static.Program(), static.Program()
    with static.program_guard(train, startup), paddle.utils.unique_name.guard():
        image = static.data("image", [-1, *shape], "float32")
        label = static.data("label", [-1, 1], "int64")
        channels, side, _ = shape
        logits = NETS[net](classes, channels, side)(image)
        test = train.clone(for_test=True)
        shapes = {v.name: tuple(v.shape) for v in test.list_vars() if v.persistable}
        folded = None
        if folding is not None:
            folded = fold_batch_norm(train, test, strategy=folding, delay=folding_delay)
        loss = F.cross_entropy(logits, label)
        if label_smoothing:
            uniform = paddle.mean(F.log_softmax(logits, axis=-1)) * -label_smoothing
            loss = loss * (1 - label_smoothing) + uniform
        paddle.optimizer.Momentum(
            learning_rate, momentum, use_nesterov=nesterov, weight_decay=weight_decay or None
        ).minimize(loss)
    names = (image.name, label.name, logits.name, loss.name)
    return Classifier(startup, train, test, *names, shapes, folded)
