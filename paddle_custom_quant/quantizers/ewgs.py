"""EWGS (arXiv 2104.00903): the gradient is scaled by each element's rounding error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import paddle

from ..target import Target
from .functional import along
from .scale import UniformQuantizer
from .wrapper import UniformWrapper


@dataclass(frozen=True)
class EWGS(UniformWrapper):
    """Another quantizer whose backward takes ``g (1 + delta sign(g) (x_n - x_q))`` for g.

    x_n is the input in units of the whole range, [0, 1], and x_q its quantized value; outside the
    range g stays as it is. Forward, and all else, is the inner quantizer's; delta = 0 makes it
    that altogether.

    Args:
        quantizer: a uniform quantizer that rounds its input itself: LSQ, LSQPlus, PACT, TQT,
            AbsMax, MovingAverageAbsMax, Percentile, SAWB or DoReFaActivation.
        delta: the scaling factor, 0 or more. The paper takes it from the Hessian's trace, or a
            constant such as 1e-3.

    Source:
        arXiv 2104.00903, equation 4. The paper's own quantizer learns the two ends of the range;
        with ``LSQPlus`` inside step and offset are learned.
    """

    delta: float = 1e-3
    replaces_gradient = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.delta >= 0:
            raise ValueError(f"delta should be 0 or more, got {self.delta!r}.")
        inner = self.quantizer
        while isinstance(inner, UniformWrapper):
            inner = inner.quantizer
        if type(inner).quantize_on is not UniformQuantizer.quantize_on:
            raise ValueError(
                f"EWGS takes a quantizer that rounds its input itself, such as LSQ(bits=4); "
                f"{type(inner).__name__} transforms it first."
            )

    def incoming_gradient(
        self, gradient: Any, x: Any, y: Any, target: Target, **parameters: Any
    ) -> Any:
        """The scaled gradient."""
        scale = self.scale(x, replace(target, training=False), **parameters)
        step = along(scale.step, x, self.axis(target))
        if scale.offset is not None:
            offset = along(scale.offset, x, self.axis(target))
            x, y = x - offset, y - offset
        error = paddle.clip(x / step, float(self.qmin), float(self.qmax)) - y / step
        return gradient + paddle.abs(gradient) * error * (self.delta / (self.qmax - self.qmin))


__all__ = ["EWGS"]
