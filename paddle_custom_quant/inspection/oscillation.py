"""How often quantized weights jump back and forth between two levels."""

from __future__ import annotations

import numpy as np


class Oscillation:
    """Frequency of oscillations of one weight tensor, element by element.

    An element oscillates when its integer changes in the direction opposite to its last change.
    The frequency is the running mean ``f = m * o + (1 - m) * f`` of that event, as in Nagel et
    al., "Overcoming Oscillations in Quantization-Aware Training" (ICML 2022), section "Quantifying
    oscillations".

    Args:
        momentum: m, between 0 and 1.
        threshold: an element counts as oscillating above this frequency.
    """

    def __init__(self, momentum: float = 0.01, threshold: float = 0.005) -> None:
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be above 0 and at most 1, got {momentum}.")
        self._momentum, self._threshold = momentum, threshold
        self._integers: np.ndarray | None = None
        self._direction: np.ndarray | None = None
        self._frequency: np.ndarray | None = None

    def update(self, integers: np.ndarray) -> float:
        """Take the integers after a step; return the share of elements that oscillate."""
        integers = integers.astype("int32")
        if self._integers is None or self._direction is None or self._frequency is None:
            self._integers = integers
            self._direction = np.zeros(integers.shape, dtype="int8")
            self._frequency = np.zeros(integers.shape, dtype="float32")
            return 0.0
        change = np.sign(integers - self._integers).astype("int8")
        turned = (change != 0) & (change == -self._direction)
        self._frequency += self._momentum * (turned - self._frequency)
        self._direction = np.where(change != 0, change, self._direction)
        self._integers = integers
        return float((self._frequency > self._threshold).mean())


__all__ = ["Oscillation"]
