"""DSQ (arXiv 1908.05033): differentiable soft quantization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ..target import WEIGHT, Target
from . import fused
from .base import Parameter, Sample, scalar
from .functional import by_channel, no_gradient, positive, straight_through
from .initial import by_channel as rows_of
from .running import check_momentum, running_average, running_state
from .scale import Scale, UniformQuantizer


@dataclass(frozen=True)
class DSQ(UniformQuantizer):
    """Rounded to 2^bits levels on [l, u] forward; backward through a chain of tanh.

    The tanh's ends lie a distance alpha / 2 from the levels: with a small alpha it is nearly a
    staircase. See :func:`.fused.dsq` for formula and gradient.

    Args:
        bits: 1 to 16.
        signed: ``False`` fixes l at 0.
        alpha: softness in (0, 0.5]; learned from this start value, at most 0.5, unless
            ``learn_alpha`` is false.
        learn_alpha: learn alpha.
        learn_range: learn l and u. Otherwise weights take mu -+ 2.6 sigma at every forward, and
            activations a moving average of their smallest and largest value.
        per_channel: one range for each output channel of a weight.
        momentum: weight of the past in the moving average.

    Source:
        arXiv 1908.05033, equations 3 to 8 and section 3.3. Levels are counted from l, as there.
    """

    bits: int
    signed: bool = True
    alpha: float = 0.2
    learn_alpha: bool = True
    learn_range: bool = False
    per_channel: bool = False
    momentum: float = 0.9
    min_signed_bits = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_momentum(self.momentum)
        if not 0 < self.alpha <= 0.5:
            raise ValueError(f"alpha should be in (0, 0.5], got {self.alpha!r}.")

    @property
    def qmin(self) -> int:
        """The levels are counted from l."""
        return 0

    @property
    def qmax(self) -> int:
        """The levels are counted from l."""
        return 2**self.bits - 1

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """``alpha`` if learned; ``low`` and ``high`` if learned, else an activation's state."""
        values, axis = self.known_values(target, sample), self.axis(target)
        created = {"alpha": Parameter(scalar(self.alpha))} if self.learn_alpha else {}
        ends = None
        if values is not None and sample is not None:
            ends = np.array([[v] for v in sample.range or (values.min(), values.max())])
            if target.role == WEIGHT and sample.range is None:
                rows = rows_of(values, axis)
                reach = 2.6 * rows.std(axis=1)
                ends = np.stack([rows.mean(axis=1) - reach, rows.mean(axis=1) + reach])
        if self.learn_range:
            channels = 1 if axis is None else target.shape[axis]
            ends = np.array([[-1.0 if self.signed else 0.0], [1.0]]) if ends is None else ends
            low, high = np.broadcast_to(ends, [2, channels]).astype("float32")
            created["high"] = Parameter(high)
            if self.signed:
                created["low"] = Parameter(low)
        elif target.role != WEIGHT:
            created.update(running_state(None if ends is None else ends[:, 0], size=2))
        return created

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """Step (u - l) / (2^bits - 1) from l."""
        if self.learn_range:
            high = parameters["high"]
            low = parameters["low"] if self.signed else paddle.zeros_like(high)
        else:
            low, high = self._measured(x, target, **parameters)
        return Scale(positive(high - low) / float(self.qmax), low)

    def _measured(self, x: Any, target: Target, **parameters: Any) -> tuple[Any, Any]:
        if target.role == WEIGHT:
            axis = self.axis(target)
            rows = paddle.reshape(x, [1, -1]) if axis is None else by_channel(x, axis)
            mean = paddle.mean(rows, axis=1, keepdim=True)
            reach = paddle.sqrt(paddle.mean((rows - mean) * (rows - mean), axis=1)) * 2.6
            mean = paddle.reshape(mean, [-1])
            low, high = no_gradient(mean - reach), no_gradient(mean + reach)
        else:
            measured = None
            if target.training:
                ends = [paddle.reshape(end, [1]) for end in (paddle.min(x), paddle.max(x))]
                measured = no_gradient(paddle.concat(ends))
            state = {name: parameters[name] for name in ("total", "count")}
            ends = paddle.split(running_average(measured, self.momentum, **state), 2)
            low, high = (no_gradient(end) for end in ends)
        return (low if self.signed else paddle.zeros_like(high)), high

    def quantize_on(self, scale: Scale, x: Any, target: Target, **parameters: Any) -> Any:
        """The soft formula on a given range."""
        alpha = parameters.get("alpha")
        if alpha is None:
            alpha = paddle.full([1], self.alpha, "float32")
        else:
            alpha = straight_through(paddle.clip(alpha, 1e-3, 0.5), alpha)
        high = scale.offset + scale.step * float(self.qmax)
        return fused.dsq(x, scale.offset, high, alpha, self.bits, axis=self.axis(target))


__all__ = ["DSQ"]
