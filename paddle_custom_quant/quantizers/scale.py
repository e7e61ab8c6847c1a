"""What uniform quantizers share: a step and an offset, and the formula on top of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import paddle

from ..target import Target
from .base import Quantizer, UniformGrid
from .fused import fake_quantize, in_units


@dataclass(frozen=True)
class Scale:
    """The uniform grid as tensors, and how it learns; see :func:`.fused.fake_quantize`.

    Attributes:
        learned_step: a number, or a tensor of any sign, of which the size counts, in units.
        offset: real value of integer 0; ``None`` for 0.
        rule: the gradient of step and offset.
        gradient_scale: factor on it.
        unit: real size of a learned step of 1.
    """

    learned_step: Any
    offset: Any | None = None
    rule: str = "range"
    gradient_scale: float = 1.0
    unit: float = 1.0

    @property
    def step(self) -> Any:
        """The step, positive."""
        held = self.learned_step
        return held if isinstance(held, float) else in_units(held, self.unit)


class UniformQuantizer(Quantizer):
    """Base of the methods with equidistant levels: a subclass writes :meth:`scale`.

    ``measures_input`` says that the scale is taken from the tensor itself at every forward, so
    that a grid can be named only where the values are known. ``symmetric`` leaves out the lowest
    integer of a signed grid.
    """

    min_signed_bits = 2
    measures_input = False
    symmetric = False

    @property
    def qmin(self) -> int:
        """Smallest integer of the grid."""
        return -self.qmax if self.symmetric and self.signed else super().qmin

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """Step and offset for ``x``, differentiable in the parameters."""
        raise NotImplementedError(f"{type(self).__name__} must define scale().")

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """Quantize x, of any shape, on the grid that :meth:`scale` gives."""
        scale = self.scale(x, target, **parameters)
        return self.quantize_on(scale, x, target, **parameters)

    def quantize_on(self, scale: Scale, x: Any, target: Target, **parameters: Any) -> Any:
        """Quantize x on a given grid (a wrapper's, for example)."""
        return fake_quantize(
            x,
            scale.learned_step,
            self.qmin,
            self.qmax,
            offset=scale.offset,
            axis=self.axis(target),
            rule=scale.rule,
            gradient_scale=scale.gradient_scale,
            unit=scale.unit,
        )

    def grid(
        self, target: Target, values: np.ndarray | None, **parameters: np.ndarray
    ) -> UniformGrid | None:
        """Integers qmin to qmax times the step, plus the offset; the formula of the forward."""
        if values is None and self.measures_input:
            return None
        # The formula itself runs, on arrays: the dynamic graph is there in every mode.
        with paddle.base.dygraph.guard(paddle.CPUPlace()), paddle.no_grad():
            x = None if values is None else paddle.to_tensor(np.asarray(values, dtype="float32"))
            tensors = {name: paddle.to_tensor(np.asarray(v)) for name, v in parameters.items()}
            scale = self.scale(x, replace(target, training=False), **tensors)
            step = _array(scale.step)
            offset = np.zeros_like(step) if scale.offset is None else _array(scale.offset)
        return UniformGrid(step, offset, self.qmin, self.qmax, self.axis(target))


def _array(value: Any) -> np.ndarray:
    return np.atleast_1d(np.asarray(value, dtype="float32"))


__all__ = ["Scale", "UniformQuantizer"]
