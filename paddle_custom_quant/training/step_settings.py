"""What a training step depends on beside values and images: program, rates, random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ..distributed import ProcessGroup
from .batch_norm import freeze_statistics
from .learning_rate import LearningRate
from .recipe import Quantized, Stage
from .stage_programs import StagePrograms


class StepSettings:
    """Set for each step of a stage, from the step's number alone.

    Args:
        stage: of a recipe.
        programs: of the stage.
        rate: its learning rate.
        epoch: steps of an epoch.
        steps: of the stage.
        seed: of every random number.
        group: the processes that train together.
    """

    def __init__(
        self,
        stage: Stage,
        programs: StagePrograms,
        rate: LearningRate,
        epoch: int,
        steps: int,
        seed: int,
        group: ProcessGroup,
    ) -> None:
        self._programs, self._rate, self._seed, self._group = programs, rate, seed, group
        self._ratio, frozen = 1.0, None
        if isinstance(stage, Quantized):
            frozen = stage.freeze_bn
            if stage.quantizer_learning_rate is not None:
                self._ratio = stage.quantizer_learning_rate / stage.learning_rate
        self._frozen_from = steps + 1 if frozen is None else round(frozen * epoch)
        self._frozen: Any = None

    def prepare(self, step: int) -> Any:
        """Set learning rates and random numbers; the program to run."""
        rate = self._rate.at(step)
        self._programs.set_rates(rate, rate * self._ratio)
        # Random numbers depend on seed and step alone: a run that goes on draws the same ones.
        # Each process draws its own: its images are others.
        rank = self._group.rank
        entropy = [self._seed, step, *([rank] if rank else [])]
        paddle.seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]) >> 1)
        if step < self._frozen_from:
            return self._programs.train
        if self._frozen is None:
            self._frozen = freeze_statistics(self._programs.train)
        return self._frozen


__all__ = ["StepSettings"]
