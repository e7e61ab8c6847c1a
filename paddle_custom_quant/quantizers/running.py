"""A running average kept over training batches, as a state inside the program."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from .base import Parameter
from .functional import no_gradient


def running_state(start: object = None, size: int = 1) -> dict[str, Parameter]:
    """The state of :func:`running_average`: ``total`` [size] and ``count`` [1].

    Args:
        start: what a calibration measured; ``None`` lets the average begin at the first batch.
        size: how many values are averaged.
    """
    total = np.zeros([size]) if start is None else np.broadcast_to(np.asarray(start), [size])
    count = np.full([1], 0.0 if start is None else 1.0)
    return {
        "total": Parameter(total.astype("float32"), trainable=False),
        "count": Parameter(count.astype("float32"), trainable=False),
    }


def running_average(measured: Any | None, momentum: float, *, total: Any, count: Any) -> Any:
    """The average including ``measured``, which is added to the state; no gradient.

    ``None`` leaves the state as it is. The weights of past values fall by ``momentum`` a batch and
    sum to one from the first batch on; before it the average is 0.
    """
    if measured is not None:
        new_total = no_gradient(total * momentum + measured)
        new_count = no_gradient(count * momentum + 1.0)
        paddle.assign(new_total, output=total)
        paddle.assign(new_count, output=count)
        total, count = new_total, new_count
    return no_gradient(total / paddle.clip(count, 1e-30, 1e30))


def check_momentum(momentum: float) -> None:
    """Raise ValueError unless momentum is in [0, 1)."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum should be in [0, 1), got {momentum!r}.")


__all__ = ["check_momentum", "running_average", "running_state"]
