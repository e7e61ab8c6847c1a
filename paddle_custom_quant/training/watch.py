"""Watch over the first steps of a quantized stage."""

from __future__ import annotations

from typing import Callable

from .data import Dataset
from .divergence import Diverged
from .recipe import Quantized, Recipe, Stage
from .stage_programs import StagePrograms
from .start_check import collapse_report, start_report

# A net that was this many times above chance, and is now hardly above it, has collapsed.
_ABOVE, _HARDLY = 3.0, 1.5
_IMAGES = 64


class StageWatch:
    """Tells of a start that is far from the float net, and stops a stage that learns nothing.

    It does nothing for stages without quantizers, or that start from random values.

    Args:
        stage: of the recipe.
        recipe: that it belongs to.
        programs: of the stage.
        data: images.
        before: what the stage goes on from: its last training loss and its top-1.
        tell: called with one line.
    """

    def __init__(
        self,
        stage: Stage,
        recipe: Recipe,
        programs: StagePrograms,
        data: Dataset,
        before: tuple[float, float] | None,
        tell: Callable[[str], None],
    ) -> None:
        self._stage, self._recipe, self._programs, self._data = stage, recipe, programs, data
        self._before, self._tell = before, tell
        # Right ones and all images of the steps that are judged.
        self.window = [0.0, 0.0]

    def start(self, loss: float) -> None:
        """Compare the loss of the first step with that of the stage before."""
        if self._before is not None and isinstance(self._stage, Quantized):
            before = self._before[0]
            told = start_report(loss, before, self._programs, self._stage, self._recipe)
            if told:
                self._tell(told)

    def step(self, step: int, right: float, count: int) -> None:
        """Note a step that was done.

        Raises:
            Diverged: after ``collapse_after`` steps the net is no better than chance.
        """
        stage = self._stage
        if not isinstance(stage, Quantized) or self._before is None or step > stage.collapse_after:
            return
        if step > stage.collapse_after // 2:
            self.window = [self.window[0] + right, self.window[1] + count]
        if step < stage.collapse_after:
            return
        chance, before = 100.0 / self._data.classes, self._before[1]
        top1 = 100 * self.window[0] / self.window[1]
        if before > _ABOVE * chance and top1 < _HARDLY * chance:
            images = self._data.train.inputs(slice(_IMAGES))
            raise Diverged(collapse_report(top1, before, step, self._programs, stage, images))


__all__ = ["StageWatch"]
