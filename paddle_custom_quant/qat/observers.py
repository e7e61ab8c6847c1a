"""Observers: what range a tensor's values span, as seen over several batches.

An observer is an immutable description; :meth:`Observer.range` gets all values that were kept of
a tensor. Any of them goes with any method that has a range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..quantizers.base import Quantizer

Range = tuple[float, float]


class Observer:
    """Base: turns the values of each batch into one range."""

    def range(self, batches: Sequence[np.ndarray], quantizer: Quantizer) -> Range:
        """(low, high) for the values of ``batches``, each one-dimensional and not empty."""
        raise NotImplementedError


@dataclass(frozen=True)
class MinMax(Observer):
    """The smallest and the largest value of all batches."""

    def range(self, batches: Sequence[np.ndarray], quantizer: Quantizer) -> Range:
        """The extremes."""
        return min(float(b.min()) for b in batches), max(float(b.max()) for b in batches)


@dataclass(frozen=True)
class MovingAverage(Observer):
    """The extremes of each batch, averaged with exponentially falling weights.

    Args:
        rate: weight of the past, in [0, 1).
    """

    rate: float = 0.9

    def __post_init__(self) -> None:
        """Check the rate."""
        if not 0 <= self.rate < 1:
            raise ValueError(f"rate must be in [0, 1), got {self.rate}.")

    def range(self, batches: Sequence[np.ndarray], quantizer: Quantizer) -> Range:
        """The averaged extremes, without bias towards zero."""
        low = high = total = 0.0
        for batch in batches:
            low = self.rate * low + (1 - self.rate) * float(batch.min())
            high = self.rate * high + (1 - self.rate) * float(batch.max())
            total = self.rate * total + (1 - self.rate)
        return low / total, high / total


@dataclass(frozen=True)
class Percentile(Observer):
    """The range that leaves out the outermost values.

    Args:
        percent: share of values inside, in (50, 100]; half of the rest is cut on either side of a
            signed tensor, all of it above for an unsigned one.
    """

    percent: float = 99.99

    def __post_init__(self) -> None:
        """Check the share."""
        if not 50 < self.percent <= 100:
            raise ValueError(f"percent must be in (50, 100], got {self.percent}.")

    def range(self, batches: Sequence[np.ndarray], quantizer: Quantizer) -> Range:
        """The percentiles."""
        values = np.concatenate(batches)
        cut = 100 - self.percent
        if not quantizer.signed:
            return float(values.min()), float(np.percentile(values, self.percent))
        low, high = np.percentile(values, [cut / 2, 100 - cut / 2])
        return float(low), float(high)


@dataclass(frozen=True)
class MSE(Observer):
    """The range whose uniform grid has the least squared error, among shrunk versions of all.

    Args:
        candidates: how many fractions of the full range are tried.
    """

    candidates: int = 100

    def range(self, batches: Sequence[np.ndarray], quantizer: Quantizer) -> Range:
        """The best fraction of the full range."""
        values = np.concatenate(batches).astype("float64")
        low, high = MinMax().range(batches, quantizer)

        def error(fraction: float) -> float:
            step = _step(low * fraction, high * fraction, quantizer)
            rounded = np.clip(np.rint(values / step), quantizer.qmin, quantizer.qmax) * step
            return float(((rounded - values) ** 2).mean())

        fractions = np.arange(1, self.candidates + 1) / self.candidates
        best = min(fractions, key=error)
        return low * float(best), high * float(best)


@dataclass(frozen=True)
class KL(Observer):
    """The threshold whose quantized histogram is nearest to the float one (relative entropy).

    Magnitudes are counted in ``bins`` equal bins; for each threshold the tail is folded into its
    last bin, and compared with the same histogram merged into as many groups as there are levels.

    Args:
        bins: bins of the histogram.
    """

    bins: int = 2048

    def range(self, batches: Sequence[np.ndarray], quantizer: Quantizer) -> Range:
        """Zero (or minus the threshold, for a signed tensor) to the best threshold."""
        values = np.abs(np.concatenate(batches))
        largest = float(values.max())
        if largest == 0:
            return 0.0, 0.0
        counts, edges = np.histogram(values, bins=self.bins, range=(0.0, largest))
        levels = max(quantizer.qmax, 1)
        if levels >= self.bins:
            high = largest
        else:
            # A threshold that cuts off most of the values can look perfect by accident.
            first = max(levels, int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) + 1)
            candidates = range(first, self.bins + 1, max(1, self.bins // 256))
            high = float(edges[min(candidates, key=lambda n: _divergence(counts, n, levels))])
        return (-high if quantizer.signed else 0.0), high


def _divergence(counts: np.ndarray, used: int, levels: int) -> float:
    """Relative entropy of the histogram cut at ``used`` bins against its merged version."""
    reference = counts[:used].astype("float64")
    merged = np.zeros(used)
    for group in np.array_split(np.arange(used), levels):
        filled = reference[group] > 0
        if filled.any():
            merged[group[filled]] = reference[group].sum() / filled.sum()
    reference[-1] += counts[used:].sum()
    p, q = reference / reference.sum(), merged / max(merged.sum(), 1.0)
    held = p > 0
    return float((p[held] * np.log(p[held] / np.maximum(q[held], 1e-12))).sum())


def _step(low: float, high: float, quantizer: Quantizer) -> float:
    below = low / quantizer.qmin if quantizer.qmin else 0.0
    return max(high / max(quantizer.qmax, 1), below, 1e-30)


OBSERVERS: dict[str, Callable[[], Observer]] = {
    "min-max": MinMax,
    "moving-average": MovingAverage,
    "percentile": Percentile,
    "mse": MSE,
    "kl": KL,
}


__all__ = ["KL", "MSE", "OBSERVERS", "MinMax", "MovingAverage", "Observer", "Percentile"]
