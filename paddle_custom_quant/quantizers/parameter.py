"""What a quantizer owns for one tensor, and what is known of the tensor's values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Parameter:
    """A value that a quantizer owns for one tensor, with how it is trained.

    Attributes:
        value: start value, float32 array of the parameter's shape.
        trainable: learned by the optimizer; otherwise a running state.
        weight_decay: coefficient of an L2 penalty on this parameter (0 for none).
        learning_rate: factor on the optimizer's learning rate.
        name: variable name, by default ``<tensor>.<method>.<key>``.
    """

    value: np.ndarray
    trainable: bool = True
    weight_decay: float = 0.0
    learning_rate: float = 1.0
    name: str | None = None


@dataclass(frozen=True)
class Sample:
    """What is known of a tensor's values before training starts.

    Attributes:
        values: the whole weight, or values seen in calibration, float32, any shape.
        range: (low, high) that an observer chose, ``None`` to let the method choose from values.
    """

    values: np.ndarray
    range: tuple[float, float] | None = None


def scalar(value: float) -> np.ndarray:
    """A float32 array of shape [1]."""
    return np.full([1], value, dtype="float32")


__all__ = ["Parameter", "Sample", "scalar"]
