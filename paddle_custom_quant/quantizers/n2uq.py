"""N2UQ (arXiv 2111.14826): input thresholds are learned, output levels stay equidistant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ..target import Target
from .base import Parameter, Sample, scalar
from .functional import mean_abs, no_gradient, positive, ste_round
from .fused import margin
from .initial import least_error_step
from .scale import Scale, UniformQuantizer


@dataclass(frozen=True)
class N2UQ(UniformQuantizer):
    """Unsigned (activations): thresholds are learned. Signed (weights): the clip value is.

    Unsigned: intervals of learned widths a_i > 0 follow each other from a learned start; output i
    is taken from the middle of interval i to the middle of the next, levels are i times a learned
    step. Backward the forward counts as piecewise linear, rising by one level in each interval:
    slope step / a_i to x, and its derivatives to the start, the widths and the step.

    Signed: per channel, w / m is clipped to [-c, c], rounded to 2^bits equidistant levels and
    multiplied by ``m = (2^bits - 1) / 2^(bits - 1) E|w|`` (no gradient). Gradient to w: 1 inside,
    0 outside; to c: m above, -m below.

    Args:
        bits: 1 to 8.
        signed: weights; ``False`` for activations.
        per_channel: one m for each output channel of a weight, as in the paper.

    Intervals start equal, on [0, 2] or at the step of least squared error; c starts at 1.

    Source:
        arXiv 2111.14826, equations 4 to 9 (activations) and section 3.3 (weights).
    """

    bits: int
    signed: bool = True
    per_channel: bool = True
    min_signed_bits = 1
    max_bits = 8

    @property
    def qmin(self) -> int:
        """Levels are counted from the lowest."""
        return 0

    @property
    def qmax(self) -> int:
        """Levels are counted from the lowest."""
        return 2**self.bits - 1

    @property
    def measures_input(self) -> bool:  # type: ignore[override]
        """The scale of weights is measured."""
        return self.signed

    def axis(self, target: Target) -> int | None:
        """The channel axis of weights; activations have one set of intervals."""
        return super().axis(target) if self.signed else None

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """Signed: ``clip`` [1]. Unsigned: ``start`` [1], ``widths`` [2^bits - 1], ``step`` [1]."""
        values = self.known_values(target, sample)
        if self.signed:
            return {"clip": Parameter(scalar(1.0))}
        step = 2.0 / self.qmax
        if sample is not None and values is not None:
            step = float(least_error_step(values, 0, self.qmax)[0])
            step = sample.range[1] / self.qmax if sample.range else step
        return {
            "start": Parameter(scalar(0.0)),
            "widths": Parameter(np.full([self.qmax], step, dtype="float32")),
            "step": Parameter(scalar(step)),
        }

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """Unsigned: the learned step. Signed: step 2 c m / (2^bits - 1) from -c m."""
        if not self.signed:
            return Scale(parameters["step"])
        size = mean_abs(x, self.axis(target)) * (self.qmax / 2.0 ** (self.bits - 1))
        reach = positive(no_gradient(size)) * positive(parameters["clip"])
        return Scale(reach * (2.0 / self.qmax), -reach, rule="clip")

    def quantize_on(self, scale: Scale, x: Any, target: Target, **parameters: Any) -> Any:
        """The formula on a given step."""
        if self.signed:
            return super().quantize_on(scale, x, target, **parameters)
        widths = positive(parameters["widths"])
        ends = paddle.cumsum(widths) + parameters["start"]
        # Finite, so that the gradient of an infinite x to a width is not 0 times infinity.
        x = paddle.clip(x, -(2.0**96), 2.0**96)
        inner = paddle.slice(ends, [0], [0], [self.qmax - 1]) if self.qmax > 1 else None
        if inner is None:
            interval = paddle.zeros_like(x)
            low, width = ends - widths, widths
        else:
            index = paddle.searchsorted(no_gradient(inner * 1.0), x)
            interval = no_gradient(paddle.cast(index, x.dtype))
            index = paddle.unsqueeze(index, -1)
            low = paddle.gather_nd(ends - widths, index)
            width = paddle.gather_nd(widths, index)
        edge = margin(0, self.qmax)
        share = paddle.clip((x - low) / width, -edge, 1.0 + edge)
        return ste_round(share + interval) * scale.step


__all__ = ["N2UQ"]
