"""PACT (arXiv 1805.06085): activations with a learned clip value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import paddle

from ..target import Target
from .base import Parameter, Quantizer, Sample, scalar
from .functional import detach, no_gradient, positive
from .initial import least_error_step, symmetric_step
from .scale import Scale, UniformQuantizer


@dataclass(frozen=True)
class PACT(UniformQuantizer):
    """Clip to [0, alpha] (signed: [-alpha, alpha]), then round to levels of equal distance.

    The gradient to x is 1 in the range and 0 outside; to alpha it is 1 for x >= alpha (and -1 for
    x <= -alpha if signed), 0 elsewhere.

    Args:
        bits: 1 to 16; signed: 2 to 16, with 2^bits - 1 levels.
        alpha: start value of the clip value where no values are known.
        signed: quantize negative values too.
        weight_decay: L2 penalty on alpha. The paper gives alpha the penalty of the weights; 1e-4
            is what it uses on ImageNet.

    Known values give alpha the start of least squared error, an observer that of its range.

    Source:
        arXiv 1805.06085, equations 1 to 3.
    """

    bits: int
    alpha: float = 6.0
    signed: bool = False
    weight_decay: float = 1e-4
    symmetric = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha(self.alpha)

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """``alpha`` [1], the clip value."""
        values, alpha = self.known_values(target, sample), self.alpha
        if sample is not None and values is not None and values.any():
            if sample.range is not None:
                alpha = symmetric_step(*sample.range, self.qmin, self.qmax) * self.qmax
            else:
                alpha = float(least_error_step(values, self.qmin, self.qmax)[0]) * self.qmax
        return {"alpha": Parameter(scalar(alpha), weight_decay=self.weight_decay)}

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """Step alpha / qmax."""
        return Scale(parameters["alpha"], rule="clip", unit=1.0 / self.qmax)


@dataclass(frozen=True)
class PACTClip(Quantizer):
    """PACT's clip alone, for use as a preprocess function: clip x to [-alpha, alpha], no rounding.

    The gradient to x is 1 in the range and 0 outside; to alpha it is 1 above and -1 below. alpha
    has an L2 penalty.

    Args:
        alpha: start value of the clip value.
        weight_decay: coefficient of the penalty.

    Source:
        the ``pact`` preprocess function of PaddleSlim's quant_aware demo,
        ``x - relu(x - alpha) + relu(-alpha - x)``.
    """

    alpha: float = 20.0
    weight_decay: float = 1e-4
    bits = 0
    signed = True

    def __post_init__(self) -> None:
        check_alpha(self.alpha)

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """``alpha`` [1], the clip value."""
        self.known_values(target, sample)
        return {"alpha": Parameter(scalar(self.alpha), weight_decay=self.weight_decay)}

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """See the class; any shape, float32."""
        alpha = positive(parameters["alpha"])
        u = no_gradient(x / detach(alpha))
        side = paddle.clip(u, -1.0, 1.0)
        return paddle.where(paddle.equal(side, u), x, side * alpha)


def check_alpha(alpha: float) -> None:
    """Raise ValueError unless alpha is a positive number."""
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < 1e30:
        raise ValueError(f"alpha should be a positive number, got {alpha!r}.")


__all__ = ["PACT", "PACTClip"]
