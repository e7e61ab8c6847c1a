"""The levels that a quantizer can return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

import numpy as np


@dataclass(frozen=True)
class UniformGrid:
    """Levels ``step * q + offset`` for integers q in [qmin, qmax].

    ``step`` and ``offset`` are float32 of shape ``[1]``, or ``[channels]`` along ``axis``.
    """

    step: np.ndarray
    offset: np.ndarray
    qmin: int
    qmax: int
    axis: int | None = None

    @property
    def zero_point(self) -> np.ndarray:
        """The (possibly fractional) integer that stands for 0.0."""
        return -self.offset / self.step


@dataclass(frozen=True)
class LevelGrid:
    """An explicit ascending list of levels: ``[levels]``, or ``[channels, levels]`` on ``axis``."""

    levels: np.ndarray
    axis: int | None = None


Grid = Union[UniformGrid, LevelGrid]

__all__ = ["Grid", "LevelGrid", "UniformGrid"]
