"""Steps that are powers of two, so that rescaling is a shift."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, log2
from typing import Any

import paddle

from ..target import Target
from .functional import no_gradient, round_half_even, straight_through
from .scale import Scale
from .wrapper import UniformWrapper


def power_of_two(exponent: Any) -> Any:
    """2^exponent, exact for whole exponents; the derivative is ``ln(2) 2^exponent``."""
    value = no_gradient(paddle.pow(paddle.full_like(exponent, 2.0), exponent))
    return straight_through(value, paddle.exp(exponent * log(2.0)))


@dataclass(frozen=True)
class PowerOfTwoScale(UniformWrapper):
    """Another quantizer with its step s rounded to a power of two: ``s' = 2^round(log2 s)``.

    The rounding is straight-through in log2 s: the gradient to s is that to s' times s' / s. An
    offset is scaled along: the zero point stays.

    Args:
        quantizer: any uniform quantizer.

    Source:
        arXiv 1903.08066 (power-of-two scaling); rounding to nearest instead of up.
    """

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """The inner quantizer's scale, rounded."""
        inner = self.quantizer.scale(x, target, **parameters)
        own = inner.step
        if isinstance(own, float):
            return replace(inner, learned_step=2.0 ** round(log2(own)), unit=1.0)
        exponent = round_half_even(paddle.log(own) * (1.0 / log(2.0)))
        ratio = no_gradient(power_of_two(exponent) / own)
        offset = None if inner.offset is None else inner.offset * ratio
        step = straight_through(power_of_two(exponent), own * ratio)
        return replace(inner, learned_step=step, unit=1.0, offset=offset)

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """The inner quantizer's formula on the rounded scale."""
        scale = self.scale(x, target, **parameters)
        return self.quantizer.quantize_on(scale, x, target, **parameters)


__all__ = ["PowerOfTwoScale", "power_of_two"]
