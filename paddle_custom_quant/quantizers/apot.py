"""APoT (arXiv 1909.13144): levels that are sums of powers of two."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import paddle

from ..target import WEIGHT, Target
from .base import LevelGrid, Parameter, Quantizer, Sample
from .functional import along, by_channel, no_gradient, positive
from .initial import least_error_scale
from .look_up import nearest_level

# For each number of bits the terms of a sum; a term is 0 or 2^-e for one of its exponents e.
_EXPONENTS: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((0,),),
    2: ((1, 2, 3),),
    3: ((1, 2, 4), (3,)),
    4: ((1, 3, 5), (2, 4, 6)),
    5: ((1, 3, 6), (2, 4, 7), (5,)),
    6: ((1, 4, 7), (2, 5, 8), (3, 6, 9)),
}


def apot_levels(bits: int) -> np.ndarray:
    """The 2^bits sums of powers of two, scaled to [0, 1], ascending; float32; bits 1 to 6."""
    terms = [np.array([0.0, *(2.0**-e for e in exponents)]) for exponents in _EXPONENTS[bits]]
    sums = reduce(np.add.outer, terms).ravel()
    return np.sort(sums / sums.max()).astype("float32")


@dataclass(frozen=True)
class APoT(Quantizer):
    """``x -> alpha Pi(clip(x / alpha, -1, 1))``, Pi the nearest of the sums of powers of two.

    Weights are first normalised, (w - mu) / sigma, without gradient through mu and sigma. Gradient
    to x: 1 inside, 0 outside; to alpha: sign(x) outside, Pi(x / alpha) - x / alpha inside.

    Args:
        bits: unsigned 1 to 6; signed 2 to 7: a sign and bits - 1 for the magnitude.
        signed: weights; ``False`` for activations.
        alpha: start value; by default 3 for weights and 8 for activations.
        rescale: undo the normalisation of weights. The textbook form gives weights of variance
            one, which a net without batch norm cannot bear.
        per_channel: normalisation and alpha for each output channel of a weight.

    An activation's alpha starts at the least squared error on known values, or at an observer's
    range. The levels are not equidistant.

    Source:
        arXiv 1909.13144, equations 2 to 8.
    """

    bits: int
    signed: bool = True
    alpha: float | None = None
    rescale: bool = False
    per_channel: bool = False
    min_signed_bits = 2
    max_bits = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.signed and self.bits > 6:
            raise ValueError(f"unsigned APoT: bits must be between 1 and 6, got {self.bits}.")
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"alpha should be a positive number, got {self.alpha!r}.")

    @property
    def levels(self) -> np.ndarray:
        """The levels for alpha = 1, float32, ascending."""
        if not self.signed:
            return apot_levels(self.bits)
        magnitude = apot_levels(self.bits - 1)
        return np.concatenate([-magnitude[:0:-1], magnitude])

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """``alpha``, [1] or [channels]."""
        values, axis = self.known_values(target, sample), self.axis(target)
        alpha = self.alpha or (3.0 if target.role == WEIGHT else 8.0)
        if values is not None and sample is not None and target.role != WEIGHT:
            largest = max(map(abs, sample.range)) if sample.range else 0.0
            alpha = largest or least_error_scale(values, self.levels)
        channels = 1 if axis is None else target.shape[axis]
        return {"alpha": Parameter(np.full([channels], alpha, dtype="float32"))}

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """See the class; any shape, float32."""
        axis, levels = self.axis(target), self.levels
        thresholds = (levels[1:] + levels[:-1]) / 2
        alpha = positive(parameters["alpha"])
        if target.role != WEIGHT:
            return nearest_level(x, levels, thresholds, scale=alpha)
        mean, deviation = _moments(x, axis)
        mean, deviation = along(mean, x, axis), along(deviation, x, axis)
        y = nearest_level((x - mean) / deviation, levels, thresholds, scale=alpha, axis=axis)
        return y * deviation + mean if self.rescale else y

    def grid(
        self, target: Target, values: np.ndarray | None, **parameters: np.ndarray
    ) -> LevelGrid | None:
        """The levels times alpha; rescaled as :meth:`quantize` does."""
        axis = self.axis(target)
        levels = np.abs(np.asarray(parameters["alpha"]))[:, None] * self.levels
        if self.rescale and target.role == WEIGHT:
            if values is None:
                return None
            with paddle.base.dygraph.guard(paddle.CPUPlace()), paddle.no_grad():
                x = paddle.to_tensor(np.asarray(values, dtype="float32"))
                mean, deviation = (m.numpy()[:, None] for m in _moments(x, axis))
            levels = levels * deviation + mean
        levels = levels.astype("float32")
        return LevelGrid(levels[0] if axis is None else levels, axis)


def _moments(x: Any, axis: int | None) -> tuple[Any, Any]:
    """Mean and standard deviation, [1] or [channels], without gradient."""
    rows = paddle.reshape(x, [1, -1]) if axis is None else by_channel(x, axis)
    mean = no_gradient(paddle.mean(rows, axis=1, keepdim=True))
    deviation = no_gradient(paddle.sqrt(paddle.mean((rows - mean) * (rows - mean), axis=1)))
    return paddle.reshape(mean, [-1]), positive(deviation)


__all__ = ["APoT", "apot_levels"]
