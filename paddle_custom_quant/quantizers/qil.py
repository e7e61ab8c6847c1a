"""QIL (arXiv 1808.05779): a learned interval that is pruned below and clipped above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ..target import Target
from .base import Parameter, Sample
from .functional import along, positive, ste_round
from .initial import by_channel
from .scale import Scale, UniformQuantizer


@dataclass(frozen=True)
class QIL(UniformQuantizer):
    """``t = clip((|x| - C) / (2 D) + 1/2, 0, 1)``, rounded to qmax steps, with the sign of x.

    Unsigned: x in the place of |x|. C (center) and D (distance) are learned: below C - D values
    become 0, from C + D on they become 1. Gradients are those of the formula, straight through the
    rounding.

    Args:
        bits: 1 to 16; signed: 2 to 16, with 2^bits - 1 levels.
        signed: weights; ``False`` for activations.
        rescale: multiply by C + D (with its gradient). The textbook form always fills [-1, 1] or
            [0, 1], which a net without batch norm cannot bear.
        per_channel: one interval for each output channel of a weight; the paper has one.

    Both start at half the largest absolute value (or of an observer's range), 1/2 without values.

    Source:
        arXiv 1808.05779, equations 2 to 6, with gamma = 1 (the paper learns it for weights).
    """

    bits: int
    signed: bool = True
    rescale: bool = False
    per_channel: bool = False
    symmetric = True

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """``center`` and ``distance``, [1] or [channels]."""
        values, axis = self.known_values(target, sample), self.axis(target)
        half = np.full([1 if axis is None else target.shape[axis]], 0.5)
        if values is not None and sample is not None:
            half[:] = np.abs(by_channel(values, axis)).max(axis=1) / 2
            if sample.range is not None:
                half[:] = max(map(abs, sample.range)) / 2
        half = np.where(half > 0, half, 0.5).astype("float32")
        return {"center": Parameter(half), "distance": Parameter(half.copy())}

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """Step 1 / qmax, or (C + D) / qmax with ``rescale``."""
        if not self.rescale:
            return Scale(1.0 / self.qmax)
        reach = parameters["center"] + positive(parameters["distance"])
        return Scale(positive(reach) / float(self.qmax))

    def quantize_on(self, scale: Scale, x: Any, target: Target, **parameters: Any) -> Any:
        """The formula on a given step."""
        axis, top = self.axis(target), float(self.qmax)
        center, distance = parameters["center"], positive(parameters["distance"])
        # Finite, so that the gradient of an infinite x to C and D is not 0 times infinity.
        x = paddle.clip(x, -(2.0**96), 2.0**96)
        magnitude = paddle.abs(x) if self.signed else x
        factor = along(0.5 * top / distance, x, axis)
        edge = top * 2.0**-20
        t = (magnitude - along(center - distance, x, axis)) * factor
        q = ste_round(paddle.clip(t, -edge, top + edge))
        q = q * paddle.sign(x) if self.signed else q
        step = scale.step if isinstance(scale.step, float) else along(scale.step, x, axis)
        return q * step


__all__ = ["QIL"]
