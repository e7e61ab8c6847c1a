"""Zero points that are integers, as integer hardware has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import paddle

from ..target import Target
from .functional import no_gradient, round_half_even, straight_through
from .scale import Scale
from .wrapper import UniformWrapper


@dataclass(frozen=True)
class WholeZeroPoint(UniformWrapper):
    """Another quantizer with its offset moved to a whole multiple of the step: 0.0 is a level.

    The zero point is ``z = clip(round(-offset / step), qmin, qmax)``, or ``at``; the levels are
    ``step (q - z)``. The rounding is straight-through: the gradient to the offset is that of an
    offset that was not moved. With ``at`` the offset follows the step, and gets no gradient.

    Args:
        quantizer: any uniform quantizer; one without an offset stays as it is.
        at: the zero point, from qmin to qmax; the quantizer's own, rounded, by default.
            ``2^(bits - 1)`` on unsigned integers makes a symmetric grid.

    Raises:
        ValueError: ``at`` is no integer of the quantizer's range.

    Source:
        arXiv 1712.05877, equation 1 and section 3.1.
    """

    at: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at is not None and not self.qmin <= self.at <= self.qmax:
            raise ValueError(f"at should be from {self.qmin} to {self.qmax}, got {self.at!r}.")

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """The inner quantizer's scale with the offset moved."""
        inner = self.quantizer.scale(x, target, **parameters)
        if inner.offset is None:
            return inner
        step = inner.step
        if self.at is not None:
            return replace(inner, offset=step * float(-self.at))
        point = round_half_even(no_gradient(inner.offset * (-1.0) / step))
        point = paddle.clip(point, float(self.qmin), float(self.qmax))
        offset = no_gradient(point * (-1.0) * step)
        return replace(inner, offset=straight_through(offset, inner.offset))

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """The inner quantizer's formula on the moved grid."""
        scale = self.scale(x, target, **parameters)
        return self.quantizer.quantize_on(scale, x, target, **parameters)


__all__ = ["WholeZeroPoint"]
