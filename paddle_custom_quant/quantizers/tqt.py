"""TQT (arXiv 1903.08066): a learned threshold, with steps that are powers of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ..target import WEIGHT, Target
from .base import Parameter, Sample
from .functional import no_gradient
from .initial import by_channel, least_error_step, symmetric_step
from .power_of_two import power_of_two
from .scale import Scale, UniformQuantizer


@dataclass(frozen=True)
class TQT(UniformQuantizer):
    """``q(x) = s round(clip(x / s, qmin, qmax))``, ``s = 2^ceil(log2 t) / 2^(bits - 1)``.

    log2 t is learned (unsigned: 2^bits in the place of 2^(bits - 1)). Gradient to x: 1 inside, 0
    outside; to log2 t: ``s ln 2`` times round(x / s) - x / s inside, qmin below, qmax above; the
    ceiling is passed straight through.

    Args:
        bits: 1 to 16; signed: 2 to 16.
        signed: quantize negative values too.
        per_channel: one threshold for each output channel of a weight; the paper has one.

    The threshold starts at 3 sigma for weights, at the least squared error for activations, at an
    observer's range where there is one; with no values at 1.

    Source:
        arXiv 1903.08066, equations 4 to 8; start values: its table 2.
    """

    bits: int
    signed: bool = True
    per_channel: bool = False

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """``log2_threshold``, [1] or [channels]."""
        values, axis = self.known_values(target, sample), self.axis(target)
        threshold = np.ones([1 if axis is None else target.shape[axis]])
        if sample is not None and values is not None:
            if sample.range is not None:
                step = symmetric_step(*sample.range, self.qmin, self.qmax)
                threshold[:] = step * self._levels
            elif target.role == WEIGHT:
                threshold[:] = 3 * by_channel(values, axis).std(axis=1)
            else:
                threshold[:] = least_error_step(values, self.qmin, self.qmax) * self._levels
        threshold[threshold <= 0] = 1.0
        return {"log2_threshold": Parameter(np.log2(threshold).astype("float32"))}

    @property
    def _levels(self) -> float:
        return 2.0 ** (self.bits - self.signed)

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """The power of two at or above the threshold, over the number of levels on a side."""
        exponent = parameters["log2_threshold"]
        exponent = exponent + no_gradient(paddle.ceil(exponent) - exponent)
        return Scale(power_of_two(exponent) / self._levels, rule="lsq")


__all__ = ["TQT"]
