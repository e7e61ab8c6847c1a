"""Plain uniform quantizers: the range is measured, nothing is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ..target import WEIGHT, Target
from .base import Parameter, Sample
from .functional import by_channel, max_abs, no_gradient, positive
from .running import check_momentum, running_average, running_state
from .scale import Scale, UniformQuantizer


@dataclass(frozen=True)
class AbsMax(UniformQuantizer):
    """Step ``max|x| / qmax``, measured anew at every forward; straight-through gradient.

    Args:
        bits: 1 to 16; signed: 2 to 16, with 2^bits - 1 levels.
        signed: quantize negative values too; otherwise max(x, 0) takes the place of max|x|.
        per_channel: one step for each output channel of a weight.

    Source:
        PaddleSlim's ``abs_max`` and ``channel_wise_abs_max``; arXiv 1712.05877, section 3.
    """

    bits: int
    signed: bool = True
    per_channel: bool = False
    symmetric = True
    measures_input = True

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """The largest absolute value over qmax."""
        largest = max_abs(_magnitude(x, self.signed), self.axis(target))
        return Scale(positive(no_gradient(largest)) / float(self.qmax))


@dataclass(frozen=True)
class MovingAverageAbsMax(UniformQuantizer):
    """Step from a moving average of max|x| over training batches; the gradient is 1 in the range.

    The average counts from the first batch, without a start value that has to fade. It stands
    still outside training.

    Args:
        bits: 1 to 16; signed: 2 to 16, with 2^bits - 1 levels.
        signed: quantize negative values too; otherwise max(x, 0) takes the place of max|x|.
        momentum: weight of the past in the average.

    Source:
        PaddleSlim's ``moving_average_abs_max``; arXiv 1712.05877, section 3.1.
    """

    bits: int
    signed: bool = True
    momentum: float = 0.9
    symmetric = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_momentum(self.momentum)

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """The running state, ``total`` and ``count``."""
        values = self.known_values(target, sample)
        if values is None or sample is None:
            return running_state()
        low, high = sample.range or (float(values.min()), float(values.max()))
        return running_state(max(-low if self.signed else 0.0, high))

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """The averaged largest absolute value over qmax."""
        measured = max_abs(_magnitude(x, self.signed)) if target.training else None
        average = running_average(measured, self.momentum, **parameters)
        return Scale(positive(average) / float(self.qmax))


@dataclass(frozen=True)
class Percentile(UniformQuantizer):
    """Step from a percentile of |x|, so that outliers do not widen it; gradient 1 in the range.

    Weights are measured at every forward; of activations a moving average over training batches
    is kept. The percentile is the value of nearest rank.

    Args:
        bits: 1 to 16; signed: 2 to 16, with 2^bits - 1 levels.
        signed: quantize negative values too; otherwise max(x, 0) takes the place of |x|.
        percentile: how many percent of the values the range holds.
        per_channel: one step for each output channel of a weight.
        momentum: weight of the past in the average.

    Source:
        arXiv 2004.09602, section 4.1 (percentile calibration).
    """

    bits: int
    signed: bool = True
    percentile: float = 99.9
    per_channel: bool = False
    momentum: float = 0.9
    symmetric = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_momentum(self.momentum)
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile should be in (0, 100], got {self.percentile!r}.")

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """Nothing for a weight; for an activation the running state, ``total`` and ``count``."""
        values = self.known_values(target, sample)
        if target.role == WEIGHT:
            return {}
        if values is None or sample is None:
            return running_state()
        if sample.range is not None:
            return running_state(max(-sample.range[0] if self.signed else 0.0, sample.range[1]))
        magnitude = np.abs(values) if self.signed else np.maximum(values, 0)
        return running_state(np.percentile(magnitude, self.percentile))

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """The percentile over qmax."""
        if target.role == WEIGHT:
            reach = self._measure(x, self.axis(target))
        else:
            measured = self._measure(x, None) if target.training else None
            reach = running_average(measured, self.momentum, **parameters)
        return Scale(positive(reach) / float(self.qmax))

    def _measure(self, x: Any, axis: int | None) -> Any:
        magnitude = _magnitude(x, self.signed)
        rows = paddle.flatten(magnitude) if axis is None else by_channel(magnitude, axis)
        rows = paddle.sort(rows, axis=-1)
        last = paddle.cast(paddle.shape(rows)[-1:], "float64") - 1.0
        rank = paddle.cast(paddle.floor(last * (self.percentile / 100) + 0.5), "int32")
        return no_gradient(paddle.reshape(paddle.index_select(rows, rank, axis=-1), [-1]))


def _magnitude(x: Any, signed: bool) -> Any:
    return no_gradient(paddle.abs(x) if signed else paddle.clip(x, 0.0, float("inf")))


__all__ = ["AbsMax", "MovingAverageAbsMax", "Percentile"]
