"""The learning rate of each step of a stage."""

from __future__ import annotations

import math
from typing import Any

from .recipe import Stage


class LearningRate:
    """A stage's learning rate: depends on the step, and after a plateau on the epochs before.

    Args:
        stage: of the recipe.
        epoch: steps of an epoch.
        steps: of the stage.
    """

    def __init__(self, stage: Stage, epoch: int, steps: int) -> None:
        self._stage, self._epoch, self._steps = stage, epoch, steps
        self.state: dict[str, Any] = {"lowest": None, "waited": 0, "factor": 1.0}

    def at(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        schedule, rate = self._stage.schedule, self._stage.learning_rate
        warmup = round(schedule.warmup * self._epoch)
        if step < warmup:
            return rate * (step + 1) / warmup
        if schedule.kind == "cosine":
            part = (step - warmup) / max(self._steps - warmup, 1)
            falling = 0.5 * (1 + math.cos(math.pi * part))
            return rate * (schedule.final + (1 - schedule.final) * falling)
        if schedule.kind == "step":
            return rate * schedule.factor ** sum(step >= at * self._epoch for at in schedule.at)
        return rate * float(self.state["factor"])

    def epoch_ended(self, loss: float) -> None:
        """Note the mean training loss of an epoch."""
        schedule, state = self._stage.schedule, self.state
        if schedule.kind != "plateau":
            return
        if state["lowest"] is None or loss < state["lowest"]:
            state.update(lowest=loss, waited=0)
            return
        state["waited"] += 1
        if state["waited"] >= schedule.patience:
            state.update(factor=state["factor"] * schedule.factor, waited=0)


__all__ = ["LearningRate"]
