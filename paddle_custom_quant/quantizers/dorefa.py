"""DoReFa-Net (arXiv 1606.06160): weights, activations and gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import paddle

from ..target import GRADIENT, WEIGHT, Target
from .base import Quantizer
from .functional import along, max_abs, mean_abs, no_gradient, positive, round_half_even
from .fused import dorefa_weight
from .scale import Scale, UniformQuantizer


@dataclass(frozen=True)
class DoReFaWeight(UniformQuantizer):
    """DoReFa's weights: ``2 quantize_k(tanh(w) / (2 max|tanh w|) + 1/2) - 1``, levels in [-1, 1].

    The gradient goes straight through the rounding, and through tanh, the division and the
    maximum. One bit: ``sign(w) E|w|``, gradient identity.

    Args:
        bits: 1 to 16.
        rescale: multiply by max|w| (no gradient). The textbook form always fills [-1, 1], which a
            net without batch norm cannot bear.
        detach_max: let no gradient through the maximum, as some implementations do.
        per_channel: take the maximum per output channel; the paper has one per tensor.

    Source:
        arXiv 1606.06160, equations 8 and 9; one bit: equation 7 (as in XNOR-Net, one scale).
    """

    bits: int
    rescale: bool = False
    detach_max: bool = False
    per_channel: bool = False
    roles: ClassVar[tuple[str, ...]] = (WEIGHT,)
    signed = True
    min_signed_bits = 1
    measures_input = True

    @property
    def qmin(self) -> int:
        """The levels are counted from the lowest."""
        return 0

    @property
    def qmax(self) -> int:
        """The levels are counted from the lowest."""
        return 2**self.bits - 1

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """See the class; any shape, float32."""
        return dorefa_weight(
            x,
            self.bits,
            detach_max=self.detach_max,
            rescale=self.rescale,
            axis=self.axis(target),
        )

    def quantize_on(self, scale: Scale, x: Any, target: Target, **parameters: Any) -> Any:
        """The result rescaled to a given step."""
        ratio = no_gradient(scale.step / self.scale(x, target).step)
        return self.quantize(x, target) * along(ratio, x, self.axis(target))

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """2^bits levels from -h to h; h is 1, max|w| with ``rescale``, or E|w| at one bit."""
        axis = self.axis(target)
        height = mean_abs(x, axis) if self.bits == 1 else max_abs(x, axis)
        if self.bits > 1 and not self.rescale:
            height = paddle.sign(height)
        height = no_gradient(positive(height))
        return Scale(height * (2.0 / self.qmax), -height)


@dataclass(frozen=True)
class DoReFaActivation(UniformQuantizer):
    """DoReFa's activations: ``quantize_k(clip(a, 0, 1))``; the gradient is 1 on [0, 1], else 0.

    Args:
        bits: 1 to 16.

    Source:
        arXiv 1606.06160, equation 11 with the bounded activation h(x) = clip(x, 0, 1).
    """

    bits: int
    signed = False

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """Step 1 / (2^bits - 1)."""
        return Scale(1.0 / self.qmax)


@dataclass(frozen=True)
class DoReFaGradient(Quantizer):
    """DoReFa's gradients: each sample on its own range, rounded with a random dither.

    With m = max|dr| over one sample and N uniform in [-1/2, 1/2] / (2^bits - 1):
    ``2 m (quantize_k(clip(dr / (2 m) + 1/2 + N, 0, 1)) - 1/2)``. It maps a gradient that goes
    backward, and is not differentiated itself. A sample whose gradient is zero stays zero; one
    that holds NaN or infinity becomes NaN altogether.

    Args:
        bits: 1 to 16.

    Source:
        arXiv 1606.06160, equation 12. The dither is drawn from Paddle's generator.
    """

    bits: int
    roles: ClassVar[tuple[str, ...]] = (GRADIENT,)
    signed = True

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """The gradient x, float32 [samples, ...], quantized."""
        steps = 2.0**self.bits - 1.0
        rows = paddle.flatten(x, 1)
        # The norm may step over a NaN; the mean does not.
        largest = paddle.norm(rows, p=float("inf"), axis=1) + paddle.mean(rows, axis=1) * 0.0
        largest = paddle.reshape(largest, [-1] + [1] * (len(x.shape) - 1))
        # One instead of a zero range: 0 / 1 is 0 where 0 / 0 would be NaN.
        empty = paddle.cast(paddle.equal(largest, paddle.zeros_like(largest)), x.dtype)
        dither = paddle.uniform(paddle.shape(x), x.dtype, -0.5, 0.5)
        q = x * (0.5 * steps / (largest + empty)) + 0.5 * steps + dither
        q = round_half_even(paddle.clip(q, 0.0, steps))
        return no_gradient((q - 0.5 * steps) * (largest * (2.0 / steps)))


__all__ = ["DoReFaActivation", "DoReFaGradient", "DoReFaWeight"]
