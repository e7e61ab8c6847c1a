"""The training loop and its counterpart on test images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np

from .classifier import Classifier
from .data import Images, batches

OnStep = Callable[[int, float, float], None]
_TEST_BATCH = 500


@dataclass(frozen=True)
class Curve:
    """What each iteration saw on its own batch, before its update.

    Attributes:
        loss: cross entropy in nats.
        top1: percent of the batch that was right.
    """

    loss: list[float] = field(default_factory=list)
    top1: list[float] = field(default_factory=list)


def train(
    executor: Any,
    program: Any,
    classifier: Classifier,
    images: Images,
    *,
    iterations: int,
    batch_size: int,
    seed: int,
    on_step: OnStep | None = None,
) -> Curve:
    """Train on ``iterations`` batches.

    Args:
        executor: runs the program, in the current scope.
        program: ``classifier.train`` or its quantized form.
        classifier: names of inputs and outputs.
        images: training images.
        iterations: number of batches.
        batch_size: images a batch.
        seed: order of the images.
        on_step: called after each iteration with its number (from 1), loss and top-1.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    curve = Curve()
    chosen = batches(len(images), batch_size, iterations, seed)
    for step, batch in enumerate(chosen, start=1):
        labels = images.labels[batch]
        loss, logits = executor.run(
            program,
            feed={classifier.image: images.inputs(batch), classifier.label: labels[:, None]},
            fetch_list=[classifier.loss, classifier.logits],
        )
        if not np.isfinite(loss).all():
            raise FloatingPointError(
                f"the loss is {float(np.ravel(loss)[0])} at iteration {step}: "
                "try a lower learning rate or more bits."
            )
        curve.loss.append(float(np.ravel(loss)[0]))
        curve.top1.append(100 * float((logits.argmax(axis=1) == labels).mean()))
        if on_step:
            on_step(step, curve.loss[-1], curve.top1[-1])
    return curve


def predict(executor: Any, program: Any, classifier: Classifier, images: Images) -> np.ndarray:
    """Outputs for all images, in their order.

    Args:
        executor: runs the program, in the current scope.
        program: ``classifier.test`` or its quantized form.
        classifier: names of inputs and outputs.
        images: test images.

    Returns:
        float32 ``[N, classes]``.
    """
    parts = []
    for start in range(0, len(images), _TEST_BATCH):
        feed = {classifier.image: images.inputs(slice(start, start + _TEST_BATCH))}
        parts += executor.run(program, feed=feed, fetch_list=[classifier.logits])
    return np.concatenate(parts)
