"""What a training reports, and what of it does not change its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable

from ..distributed import ProcessGroup


@dataclass(frozen=True)
class Progress:
    """A step that was done.

    Attributes:
        stage: its name.
        step: from 1.
        steps: of the stage.
        loss: of the step's batch, before its update.
        top1: percent of the batch that was right.
        images: number of images in the batch.
    """

    stage: str
    step: int
    steps: int
    loss: float
    top1: float
    images: int


@dataclass(frozen=True)
class How:
    """What does not change a training's result.

    Attributes:
        workers: processes that prepare images; 0 prepares them in this one.
        checkpoint_every: steps between checkpoints, beside one at the end of each epoch.
        on_step: called after each step.
        tell: called with one line on what the user should know.
        group: the processes that train together, each with its part of each batch; only the first
            calls ``on_step`` and ``tell``, and only it writes.
    """

    workers: int = 1
    checkpoint_every: int | None = None
    on_step: Callable[[Progress], None] | None = None
    tell: Callable[[str], None] = print
    group: ProcessGroup = field(default_factory=ProcessGroup)


__all__ = ["How", "Progress"]
