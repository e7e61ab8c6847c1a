"""LSQ+ (arXiv 2004.09576): a learned step size and a learned offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..target import WEIGHT, Target
from .base import Parameter, Sample, scalar
from .initial import by_channel, least_error_range, positive_or_default
from .lsq import step_gradient_scale
from .scale import Scale, UniformQuantizer


@dataclass(frozen=True)
class LSQPlus(UniformQuantizer):
    """``x^ = s round(clip((x - beta) / s, qmin, qmax)) + beta``, s and beta learned.

    Weights have beta = 0. Gradient to x: 1 inside, 0 outside; to s as LSQ's on (x - beta) / s; to
    beta: 1 outside, 0 inside; the last two times LSQ's g.

    Args:
        bits: 1 to 16; signed: 2 to 16.
        signed: the integers are signed. With an offset either kind reaches negative values.
        per_channel: one step for each output channel of a weight.

    Weights start at ``s = max(|mu - 3 sigma|, |mu + 3 sigma|) / 2^(bits - 1)``; activations at the
    (s, beta) of least squared error, or at an observer's range; with neither, at s = 1 / qmax.

    Source:
        arXiv 2004.09576, equations 3 to 8 and section 3.3.
    """

    bits: int
    signed: bool = True
    per_channel: bool = False

    def takes_negative(self, target: Target) -> bool:
        """An activation's offset reaches below zero."""
        return self.signed or target.role != WEIGHT

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """``step``, [1] or [channels]; for activations ``offset`` too, [1]."""
        values, axis = self.known_values(target, sample), self.axis(target)
        if target.role == WEIGHT:
            return {"step": Parameter(self._weight_step(values, target, axis))}
        low, high = 0.0, 1.0
        if values is not None and sample is not None:
            low, high = sample.range or least_error_range(values, self.qmax - self.qmin)
        step = (high - low) / (self.qmax - self.qmin)
        return {
            "step": Parameter(scalar(step)),
            "offset": Parameter(scalar(low - step * self.qmin)),
        }

    def _weight_step(
        self, values: np.ndarray | None, target: Target, axis: int | None
    ) -> np.ndarray:
        if values is None:
            channels = 1 if axis is None else target.shape[axis]
            return np.full([channels], 1.0 / self.qmax, dtype="float32")
        rows = by_channel(values, axis)
        reach = np.abs(rows.mean(axis=1)) + 3 * rows.std(axis=1)
        return positive_or_default(reach / 2 ** (self.bits - self.signed), self.qmax)

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """The learned step and offset."""
        gradient_scale = step_gradient_scale(target, self.axis(target), self.qmax)
        step, offset = parameters["step"], parameters.get("offset")
        return Scale(step, offset, "lsq", gradient_scale)


__all__ = ["LSQPlus"]
