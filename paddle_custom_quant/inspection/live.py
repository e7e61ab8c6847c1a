"""Facts while training: step sizes, clip values, shares clipped, oscillation, for VisualDL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..quantizers.base import UniformGrid
from ..target import WEIGHT
from .model import Model
from .oscillation import Oscillation
from .program import Inspectable, as_model
from .quantized import Quantizing, find_quantized
from .scales import along, bounds, clipped, grid_of, parameter_names


class LiveFacts:
    """The facts on a program's quantizers, as they are in the scope at the moment.

    Args:
        program: a quantized program.
        scope: that it trains in; the global scope by default.
        momentum: of the oscillation frequency.
        threshold: above which frequency a weight counts as oscillating.

    Raises:
        ValueError: the program has no quantizers.
    """

    def __init__(
        self,
        program: Inspectable,
        scope: Any = None,
        *,
        momentum: float = 0.01,
        threshold: float = 0.005,
    ) -> None:
        self._model: Model = as_model(program, scope)
        self._quantized: list[Quantizing] = find_quantized(self._model)
        if not self._quantized:
            raise ValueError("this program has no quantizers: pass what quant_aware returned.")
        self._oscillation = {
            one.copy: Oscillation(momentum, threshold)
            for one in self._quantized
            if one.role == WEIGHT
        }

    @property
    def activations(self) -> list[str]:
        """Names of the quantized activations: fetch them to learn what share is clipped."""
        return [one.tensor for one in self._quantized if one.role != WEIGHT]

    def measure(self, fetched: Mapping[str, np.ndarray] | None = None) -> dict[str, float]:
        """The facts now, by tag such as ``"step/conv2d_0.w_0"``.

        Tags: ``step`` and ``clip`` (least step and highest level over the channels), each
        quantizer parameter under its own name, ``clipped`` (percent of the values outside the
        grid: of weights, and of the activations in ``fetched``), ``oscillating`` (percent of a
        weight's values).

        Args:
            fetched: values of float activations by name, see :attr:`activations`.
        """
        facts: dict[str, float] = {}
        for one in self._quantized:
            for key, name in parameter_names(one, self._model).items():
                if name in self._model.values:
                    facts[f"{key}/{one.tensor}"] = float(np.mean(self._model.values[name]))
            grid = grid_of(one, self._model)
            if grid is None:
                continue
            facts[f"clip/{one.tensor}"] = float(bounds(grid)[1].max())
            if isinstance(grid, UniformGrid):
                facts[f"step/{one.tensor}"] = float(np.abs(grid.step).min())
            values = self._values(one, fetched or {})
            if values is None:
                continue
            facts[f"clipped/{one.tensor}"] = 100 * clipped(values, grid)
            if one.copy in self._oscillation and isinstance(grid, UniformGrid):
                share = self._oscillation[one.copy].update(_integers(values, grid))
                facts[f"oscillating/{one.tensor}"] = 100 * share
        return facts

    def _values(self, one: Quantizing, fetched: Mapping[str, np.ndarray]) -> np.ndarray | None:
        if one.role == WEIGHT:
            return self._model.values.get(one.tensor)
        return fetched.get(one.tensor)


def _integers(values: np.ndarray, grid: UniformGrid) -> np.ndarray:
    step, offset = (along(v, values, grid.axis) for v in (grid.step, grid.offset))
    scaled = (values - offset) / np.where(step == 0, 1, step)
    return np.clip(np.rint(scaled), grid.qmin, grid.qmax)


class LiveBoard:
    """Writes :class:`LiveFacts` for VisualDL: ``visualdl --logdir FOLDER`` shows them.

    Needs VisualDL (``pip install paddle-custom-quant[inspect]``). Use it in a ``with`` block::

        with LiveBoard("log", program, scope, every=50) as board:
            for step in range(steps):
                loss, = exe.run(program, feed=..., fetch_list=[loss])
                board.record(step, {"loss": float(loss)})

    Args:
        folder: for the records.
        program: the quantized program.
        scope: that it trains in; the global scope by default.
        every: look at the quantizers every so many steps; own values are written at each.
        facts: arguments of :class:`LiveFacts`.

    Raises:
        ValueError: the program has no quantizers, or ``every`` is below 1.
    """

    def __init__(
        self,
        folder: str | Path,
        program: Inspectable,
        scope: Any = None,
        *,
        every: int = 1,
        **facts: float,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}.")
        from visualdl import LogWriter

        self._every = every
        self.facts = LiveFacts(program, scope, **facts)
        self._writer = LogWriter(str(folder))

    def record(
        self,
        step: int,
        values: Mapping[str, float] | None = None,
        fetched: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Write what there is to know after a step.

        Args:
            step: its number.
            values: own values to write along, such as the loss.
            fetched: float activations, see :attr:`LiveFacts.activations`.
        """
        for tag, value in (values or {}).items():
            self._writer.add_scalar(tag, float(value), step)
        if step % self._every == 0:
            for tag, value in self.facts.measure(fetched).items():
                self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """Write out what is still in memory."""
        self._writer.close()

    def __enter__(self) -> LiveBoard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


__all__ = ["LiveBoard", "LiveFacts"]
