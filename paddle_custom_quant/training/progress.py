"""Progress bars for the stages of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .how import Progress


class ProgressBars:
    """Called after each iteration; draws on standard error if that is a terminal.

    Args:
        iterations: of each stage.
    """

    def __init__(self, iterations: int) -> None:
        self._iterations = iterations
        self._stage = ""
        self._bar: Any | None = None

    def __call__(self, stage: str, step: int, loss: float, top1: float) -> None:
        """Show that ``step`` iterations of ``stage`` are done."""
        from tqdm import tqdm

        if self._bar is None or stage != self._stage:
            self.close()
            self._stage = stage
            self._bar = tqdm(
                total=self._iterations, desc=f"{stage:9}", unit="batch", leave=True, disable=None
            )
        self._bar.set_postfix_str(f"loss {loss:.3f}, top-1 {top1:5.1f} %", refresh=False)
        self._bar.update(step - self._bar.n)
        if step == self._iterations:
            self.close()

    def close(self) -> None:
        """End the bar that is being drawn."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ImageBars:
    """Called after each step of a recipe: loss, top-1, images per second and time left.

    Draws on standard error if that is a terminal.
    """

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any | None = None

    def __call__(self, progress: Progress) -> None:
        """Show that a step is done."""
        from tqdm import tqdm

        if self._bar is None or progress.stage != self._stage:
            self.close()
            self._stage = progress.stage
            self._bar = tqdm(
                total=progress.steps * progress.images,
                initial=(progress.step - 1) * progress.images,
                desc=f"{progress.stage:9}",
                unit="image",
                unit_scale=True,
                disable=None,
            )
        text = f"loss {progress.loss:.3f}, top-1 {progress.top1:5.1f} %"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(progress.images)
        if progress.step == progress.steps:
            self.close()

    def close(self) -> None:
        """End the bar that is being drawn."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
