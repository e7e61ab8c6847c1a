"""DoReFa-Net (arXiv 1606.06160): weights and activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..target import Target
from .base import Quantizer, UniformGrid
from .fused import dorefa_weight, fake_quantize


@dataclass(frozen=True)
class DoReFaWeight(Quantizer):
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
    signed = True

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """See the class; any shape, float32."""
        return dorefa_weight(
            x,
            self.bits,
            detach_max=self.detach_max,
            rescale=self.rescale,
            axis=self.axis(target),
        )

    def grid(
        self, target: Target, values: np.ndarray | None, **parameters: np.ndarray
    ) -> UniformGrid | None:
        """2^bits levels from -h to h; h is 1, max|w| with ``rescale``, or E|w| at one bit."""
        if values is None:
            return None
        axis = self.axis(target)
        size = np.abs(np.asarray(values, dtype="float64"))
        others = None if axis is None else tuple(i for i in range(size.ndim) if i != axis)
        largest = np.atleast_1d(size.max(axis=others))
        height = largest if self.rescale else np.sign(largest)
        if self.bits == 1:
            height = np.atleast_1d(size.mean(axis=others))
        steps = 2**self.bits - 1
        step = (2 * height / steps).astype("float32")
        return UniformGrid(step, -height.astype("float32"), 0, steps, axis)


@dataclass(frozen=True)
class DoReFaActivation(Quantizer):
    """DoReFa's activations: ``quantize_k(clip(a, 0, 1))``; the gradient is 1 on [0, 1], else 0.

    Args:
        bits: 1 to 16.

    Source:
        arXiv 1606.06160, equation 11 with the bounded activation h(x) = clip(x, 0, 1).
    """

    bits: int
    signed = False

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """See the class; any shape, float32."""
        return fake_quantize(x, 1.0 / self.qmax, 0, self.qmax)

    def grid(
        self, target: Target, values: np.ndarray | None, **parameters: np.ndarray
    ) -> UniformGrid:
        """2^bits levels from 0 to 1."""
        step = np.full([1], 1.0 / self.qmax, dtype="float32")
        return UniformGrid(step, np.zeros_like(step), 0, self.qmax)


__all__ = ["DoReFaActivation", "DoReFaWeight"]
