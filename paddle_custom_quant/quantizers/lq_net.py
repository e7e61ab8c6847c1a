"""LQ-Net (arXiv 1807.10029): a basis of levels fitted to the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ..target import Target
from .base import LevelGrid, Parameter, Quantizer, Sample
from .functional import by_channel, no_gradient
from .initial import by_channel as rows_of
from .initial import least_error_step
from .look_up import level_index, nearest_level


@dataclass(frozen=True)
class LQNet(Quantizer):
    """The nearest level ``code . v``, code in {-1, 1}^bits (signed) or {0, 1}^bits; v is fitted.

    While training, after each forward, ``v <- momentum v + (1 - momentum) (B'B)^-1 B'x`` with B
    the codes of the elements. v gets no gradient; x gets that of min(x, largest level).

    Args:
        bits: 1 to 8.
        signed: weights; ``False`` for activations.
        per_channel: one basis for each output channel of a weight, as in the paper.
        momentum: weight of the past in v.

    v starts at the powers of two times the step of least squared error, followed by three fits on
    the known values. The levels are not equidistant in general.

    Source:
        arXiv 1807.10029, equations 3 to 7 and algorithm 1.
    """

    bits: int
    signed: bool = True
    per_channel: bool = False
    momentum: float = 0.9
    max_bits = 8

    @property
    def codes(self) -> np.ndarray:
        """All codes, float32 [2^bits, bits]."""
        bit = np.arange(2**self.bits)[:, None] >> np.arange(self.bits) & 1
        return (2 * bit - 1 if self.signed else bit).astype("float32")

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """``basis``, a running state [1, bits] or [channels, bits]."""
        values, axis = self.known_values(target, sample), self.axis(target)
        powers = 2.0 ** np.arange(self.bits)
        if values is None or sample is None:
            channels = 1 if axis is None else target.shape[axis]
            basis = np.tile(powers / powers.sum(), [channels, 1])
        else:
            top = 2**self.bits - 1
            # Signed levels are odd multiples of the basis: the same range, half the step.
            reach = -top if self.signed else 0
            magnitude = values if sample.range is None else np.array(sample.range)
            step = least_error_step(magnitude, reach, top, axis if sample.range is None else None)
            rows = rows_of(values, axis)
            step = np.where(np.abs(rows).max(axis=1) > 0, step, 0.0)
            basis = step[:, None] * powers
            for _ in range(0 if sample.range else 3):
                basis = np.stack([self._fit(row, v) for row, v in zip(rows, basis)])
        return {"basis": Parameter(basis.astype("float32"), trainable=False)}

    def _fit(self, row: np.ndarray, basis: np.ndarray) -> np.ndarray:
        order = np.argsort(self.codes @ basis)
        levels = (self.codes @ basis)[order]
        used = self.codes[order][np.searchsorted((levels[1:] + levels[:-1]) / 2, row)]
        ridge = 1e-6 * len(row) * np.eye(self.bits)
        return np.linalg.solve(used.T @ used + ridge, used.T @ row + ridge @ basis)

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """See the class; any shape, float32."""
        axis, basis = self.axis(target), parameters["basis"]
        levels = paddle.matmul(basis, paddle.assign(self.codes), transpose_y=True)
        order = paddle.argsort(levels, axis=1)
        levels = paddle.sort(levels, axis=1)
        thresholds = (levels[:, 1:] + levels[:, :-1]) * 0.5
        if axis is None:
            levels, thresholds = paddle.flatten(levels), paddle.flatten(thresholds)
        y = nearest_level(x, levels, thresholds, axis=axis, rule="below")
        if target.training:
            index = level_index(x, thresholds, axis)
            rows = paddle.reshape(x, [1, -1]) if axis is None else by_channel(x, axis)
            index = paddle.reshape(index, [1, -1]) if axis is None else index
            paddle.assign(self._refit(no_gradient(rows), index, order, basis), output=basis)
        return y

    def _refit(self, rows: Any, index: Any, order: Any, basis: Any) -> Any:
        """The averaged basis from elements [channels, elements] and the index of their level."""
        levels, channels = 2**self.bits, basis.shape[0]
        start = paddle.assign(np.arange(channels, dtype="int64")[:, None] * levels)
        place = paddle.flatten(index + start)
        counts = paddle.bincount(place, paddle.ones_like(paddle.flatten(rows)), channels * levels)
        sums = paddle.bincount(place, paddle.flatten(rows), channels * levels)
        # Counted by rank; the codes belong to levels as they were before sorting.
        back = paddle.argsort(order, axis=1)
        counts, sums = (
            paddle.take_along_axis(paddle.reshape(v, [channels, levels]), back, axis=1)
            for v in (counts, sums)
        )
        codes = self.codes
        products = (codes[:, :, None] * codes[:, None, :]).reshape(levels, -1)
        square = paddle.matmul(counts, paddle.assign(products))
        square = paddle.reshape(square, [channels, self.bits, self.bits])
        # A code that no element has would leave its part of v open: a little of the old v.
        size = paddle.sum(counts, axis=1, keepdim=True) * 1e-6
        ridge = paddle.unsqueeze(size, -1) * paddle.assign(np.eye(self.bits, dtype="float32"))
        right = paddle.matmul(sums, paddle.assign(codes)) + basis * size
        fitted = paddle.linalg.solve(square + ridge, paddle.unsqueeze(right, -1))
        fitted = paddle.reshape(fitted, [channels, self.bits])
        return no_gradient(basis * self.momentum + fitted * (1.0 - self.momentum))

    def grid(
        self, target: Target, values: np.ndarray | None, **parameters: np.ndarray
    ) -> LevelGrid:
        """All values of code . v."""
        levels = np.sort(np.asarray(parameters["basis"]) @ self.codes.T, axis=1).astype("float32")
        axis = self.axis(target)
        return LevelGrid(levels[0] if axis is None else levels, axis)


__all__ = ["LQNet"]
