"""What a classifier's outputs are worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Score:
    """Mean results over a set of images.

    Attributes:
        top1: percent of images whose class has the highest output.
        top5: percent of images whose class is among the five highest.
        loss: cross entropy in nats.
    """

    top1: float
    top5: float
    loss: float


def score(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Compare outputs with the true classes.

    Among equal outputs the lower class comes first, as it does for ``argmax``.

    Args:
        logits: ``[N, classes]``.
        labels: ``[N]``, integers.

    Raises:
        ValueError: shapes that do not belong together, or an output that is not finite.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not labels.size:
        raise ValueError(
            f"logits must be [N, classes] and labels [N] with N > 0, got {list(logits.shape)} "
            f"and {list(labels.shape)}."
        )
    logits = logits.astype(np.float64)
    if not np.isfinite(logits).all():
        broken = int((~np.isfinite(logits)).any(axis=1).sum())
        raise ValueError(f"the outputs of {broken} of {len(labels)} images are not finite.")
    true = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    rank = ((logits > true) | ((logits == true) & earlier)).sum(axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    loss = log_sum - shifted[np.arange(len(labels)), labels]
    return Score(
        top1=100 * float((rank < 1).mean()),
        top5=100 * float((rank < 5).mean()),
        loss=float(loss.mean()),
    )
