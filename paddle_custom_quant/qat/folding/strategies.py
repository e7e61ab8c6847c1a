"""The five ways to fold a batch norm, each a rewrite of one layer and its batch norm.

sigma = sqrt(variance + epsilon); r stands for the running statistics, b for those of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .pairs import Pair
from .writer import Writer


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, as names of variables."""

    mean: str
    deviation: str


@dataclass(frozen=True)
class Site:
    """One pair in its program, with the names of what its batch norm reads.

    Attributes:
        block: of the program.
        pair: the layer and its batch norm.
        learning: 1 while the batch's statistics are used and 0 from then on, as the name of a
            variable of shape [1]; ``None`` if they always are.
    """

    block: Any
    pair: Pair
    learning: str | None = None

    def writer(self, before: Any) -> Writer:
        """Writes in front of an operator."""
        return Writer(self.block, before, self.pair.weight)

    @property
    def gamma(self) -> str:
        """The scale."""
        return str(self.pair.norm.input("Scale")[0])

    @property
    def beta(self) -> str:
        """The shift."""
        return str(self.pair.norm.input("Bias")[0])

    @property
    def mean(self) -> str:
        """The running mean."""
        return str(self.pair.norm.input("Mean")[0])

    @property
    def variance(self) -> str:
        """The running variance."""
        return str(self.pair.norm.input("Variance")[0])

    def deviation(self, write: Writer, variance: str) -> str:
        """sqrt(variance + epsilon)."""
        return write.square_root(write.affine(variance, 1.0, self.pair.norm.attr("epsilon")))

    def running(self, write: Writer) -> Statistics:
        """The running statistics."""
        return Statistics(self.mean, self.deviation(write, self.variance))

    def of_batch(self, write: Writer) -> Statistics:
        """Statistics of the float layer's output, which the running ones are moved towards."""
        pair = self.pair
        slots = {slot: pair.layer.input(slot)[0] for slot in pair.layer.input_names}
        y = write.again(pair.layer, slots, pair.output_slot)
        mean = write.mean(y, pair.reduced)
        centred = self.spread(write, y, write.affine(mean, -1.0, 0.0))
        variance = write.mean(write.multiply(centred, centred), pair.reduced)
        if pair.bias:
            mean = write.add(mean, pair.bias)
        mean = write.of_batch(mean, self.mean)
        variance = write.of_batch(variance, self.variance)
        deviation = self.deviation(write, variance)
        if self.learning:
            held = self.running(write)
            statistics = Statistics(
                self.while_learning(write, mean, held.mean),
                self.while_learning(write, deviation, held.deviation),
            )
        else:
            statistics = Statistics(mean, deviation)
        after = self.writer(pair.norm)
        for running, batch in ((self.mean, mean), (self.variance, variance)):
            self._move(after, running, batch)
        return statistics

    def spread(self, write: Writer, y: str, channels: str) -> str:
        """A number a channel, added to the layer's output."""
        return write.add(y, channels, axis=1)

    def while_learning(self, write: Writer, batch: str, then: str) -> str:
        """``batch`` as long as the batch's statistics are used, ``then`` afterwards; exact."""
        assert self.learning is not None
        rest = write.affine(self.learning, -1.0, 1.0)
        return write.add(write.multiply(batch, self.learning), write.multiply(then, rest))

    def _move(self, write: Writer, running: str, batch: str) -> None:
        momentum = self.pair.norm.attr("momentum")
        kept = write.affine(running, momentum, 0.0)
        new = write.affine(batch, 1.0 - momentum, 0.0)
        if self.learning is None:
            write.add(kept, new, running)
        else:
            write.operator(
                "assign", {"X": self.while_learning(write, write.add(kept, new), running)}, running
            )

    def fold_weight(self, write: Writer, factor: str) -> None:
        """Let the layer read its weight times a factor a channel."""
        pair = self.pair
        axis = pair.weight_axis
        folded = write.multiply(pair.weight, factor, f"{pair.weight}.folded", axis=axis)
        pair.layer._rename_input(pair.weight, folded)

    def shift(self, write: Writer, mean: str, factor: str) -> str:
        """beta + (bias - mean) factor."""
        bias = self.pair.bias
        centred = write.subtract(bias, mean) if bias else write.affine(mean, -1.0, 0.0)
        return write.add(self.beta, write.multiply(centred, factor))

    def finish(self, write: Writer, y: str, summand: str) -> None:
        """Write y plus a number a channel where the batch norm did, and remove that."""
        pair = self.pair
        write.add(y, summand, pair.output, axis=1)
        for op in pair.after_layer:
            self.block._remove_op(self.block.ops.index(op), sync=False)


def merged_once(site: Site) -> None:
    """0: values are merged (:meth:`.Folding.start`); beta is the layer's bias from then on."""
    site.finish(site.writer(site.pair.norm), site.pair.layer_output, site.beta)


def merged(site: Site) -> None:
    """1: merged at every step with the running statistics, which stay as they are."""
    write = site.writer(site.pair.layer)
    statistics = site.running(write)
    _fold(site, write, statistics)


def naive(site: Site) -> None:
    """2: merged with the statistics of the batch, which a second, float layer gives."""
    if not site.pair.training:
        merged(site)
        return
    write = site.writer(site.pair.layer)
    _fold(site, write, site.of_batch(write))


def _fold(site: Site, write: Writer, statistics: Statistics) -> None:
    factor = write.divide(site.gamma, statistics.deviation)
    site.fold_weight(write, factor)
    summand = site.shift(write, statistics.mean, factor)
    site.finish(site.writer(site.pair.norm), site.pair.layer_output, summand)


def corrected(site: Site) -> None:
    """3: merged with sigma_r, the output times sigma_r / sigma_b; statistics as in 2."""
    if not site.pair.training:
        merged(site)
        return
    write = site.writer(site.pair.layer)
    running, batch = site.running(write), site.of_batch(write)
    site.fold_weight(write, write.divide(site.gamma, running.deviation))
    ratio = write.divide(running.deviation, batch.deviation)
    summand = site.shift(write, batch.mean, write.divide(site.gamma, batch.deviation))
    write = site.writer(site.pair.norm)
    site.finish(write, write.multiply(site.pair.layer_output, ratio, axis=1), summand)


def divided(site: Site) -> None:
    """4: merged with sigma_r, the output divided by it again, and batch norm as before."""
    pair = site.pair
    write = site.writer(pair.layer)
    factor = write.divide(site.gamma, site.running(write).deviation)
    # A channel that batch norm multiplies by zero keeps its weight: 0 / 0 is no number.
    zero = write.operator("equal", {"X": site.gamma, "Y": write.affine(site.gamma, 0.0, 0.0)})
    kinds = {"in_dtype": site.block.var(zero).dtype, "out_dtype": site.block.var(site.gamma).dtype}
    factor = write.add(factor, write.operator("cast", {"X": zero}, **kinds))
    site.fold_weight(write, factor)
    after = pair.addition if pair.addition is not None else pair.norm
    write = site.writer(after)
    after._rename_input(pair.layer_output, write.divide(pair.layer_output, factor, axis=1))


STRATEGIES: tuple[Callable[[Site], None], ...] = (merged_once, merged, naive, corrected, divided)

__all__ = ["STRATEGIES", "Site"]
