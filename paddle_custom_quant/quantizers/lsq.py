"""LSQ (arXiv 1902.08153): a learned step size."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np

from ..target import WEIGHT, Target
from .base import Parameter, Sample
from .initial import by_channel, positive_or_default, symmetric_step
from .scale import Scale, UniformQuantizer


@dataclass(frozen=True)
class LSQ(UniformQuantizer):
    """``v^ = s round(clip(v / s, qmin, qmax))`` with a learned step size s.

    Gradient to v: 1 where qmin <= v / s <= qmax, else 0. To s: ``round(v / s) - v / s`` inside,
    qmin below, qmax above, times ``g = 1 / sqrt(N qmax)``. N is the number of weights that share
    s; for activations the number of features of one sample, as in the paper (dimensions that are
    unknown when the program is built count as 1). s is kept positive by its absolute value.

    Args:
        bits: 1 to 16; signed: 2 to 16.
        signed: weights, and activations below zero; ``False`` after a ReLU.
        per_channel: one step for each output channel of a weight.

    The step starts at ``2 E|v| / sqrt(qmax)``; with an observer's range, at the step that covers
    it; with neither, as for values of variance one.

    Source:
        arXiv 1902.08153, equations 1 to 3 and section 2.2. At the bounds themselves, where the
        paper counts v as clipped, it counts as inside.
    """

    bits: int
    signed: bool = True
    per_channel: bool = False

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """``step``, [1] or [channels]."""
        values, axis = self.known_values(target, sample), self.axis(target)
        if values is None or sample is None:
            channels = 1 if axis is None else target.shape[axis]
            mean_abs = np.full([channels], 0.8 if self.signed else 0.4)
        else:
            mean_abs = np.abs(by_channel(values, axis)).mean(axis=1)
        step = positive_or_default(2 * mean_abs / sqrt(self.qmax), self.qmax)
        if sample is not None and sample.range is not None:
            step[:] = symmetric_step(*sample.range, self.qmin, self.qmax)
        return {"step": Parameter(step)}

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """The learned step."""
        gradient_scale = step_gradient_scale(target, self.axis(target), self.qmax)
        return Scale(parameters["step"], rule="lsq", gradient_scale=gradient_scale)


def step_gradient_scale(target: Target, axis: int | None, qmax: int) -> float:
    """LSQ's ``1 / sqrt(N qmax)``; see :class:`LSQ` for N."""
    shape = target.shape if target.role == WEIGHT else target.shape[1:]
    elements = prod(size for size in shape if size > 0)
    channels = 1 if axis is None else target.shape[axis]
    return 1.0 / sqrt(elements / channels * qmax)


__all__ = ["LSQ", "step_gradient_scale"]
