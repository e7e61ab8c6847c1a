"""SAWB (arXiv 1807.06964): weights clipped where their statistics say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import paddle

from ..target import Target
from .functional import by_channel, max_abs, no_gradient, positive
from .scale import Scale, UniformQuantizer

_COEFFICIENTS = {
    2: (3.12, -2.064),
    3: (7.509, -6.892),
    4: (12.68, -12.80),
    5: (17.74, -18.64),
    8: (31.76, -35.04),
}


@dataclass(frozen=True)
class SAWB(UniformQuantizer):
    """2^bits equidistant levels from -alpha to alpha, ``alpha = c1 sqrt(E[w^2]) + c2 E|w|``.

    alpha is computed anew at every forward and gets no gradient; where the formula gives no
    positive number it is max|w|. The gradient to w is 1 on [-alpha, alpha] and 0 outside. There is
    no level at zero.

    Args:
        bits: 2, 3, 4, 5 or 8: the widths with coefficients.
        per_channel: one alpha for each output channel of a weight; the paper has one per tensor.

    Source:
        arXiv 1807.06964, section 3.1 (equation 2 and the coefficients of its table).
    """

    bits: int
    per_channel: bool = False
    signed = True
    max_bits = 8
    measures_input = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits not in _COEFFICIENTS:
            widths = ", ".join(map(str, _COEFFICIENTS))
            raise ValueError(f"SAWB has coefficients for {widths} bits, got {self.bits}.")

    @property
    def qmin(self) -> int:
        """The levels are counted from -alpha."""
        return 0

    @property
    def qmax(self) -> int:
        """The levels are counted from -alpha."""
        return 2**self.bits - 1

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """Step 2 alpha / (2^bits - 1) from -alpha."""
        axis = self.axis(target)
        c1, c2 = _COEFFICIENTS[self.bits]
        rows = paddle.reshape(x, [1, -1]) if axis is None else by_channel(x, axis)
        rows = no_gradient(rows)
        alpha = paddle.sqrt(paddle.mean(rows * rows, axis=1)) * c1
        alpha = alpha + paddle.mean(paddle.abs(rows), axis=1) * c2
        alpha = paddle.where(alpha > 0.0, alpha, max_abs(rows, 0))
        alpha = positive(no_gradient(alpha))
        return Scale(alpha * (2.0 / self.qmax), -alpha)


__all__ = ["SAWB"]
