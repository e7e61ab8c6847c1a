"""Training as VisualDL shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .how import Progress


class Board:
    """Called after each step of a recipe; writes loss and top-1 of each stage for VisualDL.

    Args:
        folder: of the logs; ``visualdl --logdir FOLDER`` shows them.

    Raises:
        ValueError: VisualDL is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from visualdl import LogWriter
        except ModuleNotFoundError:
            raise ValueError(
                "VisualDL is not installed: pip install visualdl, or leave its logs out."
            ) from None
        self._writer: Any = LogWriter(logdir=str(folder))

    def __call__(self, progress: Progress) -> None:
        """Write one step."""
        for name, value in (("loss", progress.loss), ("top1", progress.top1)):
            tag = f"{name}/{progress.stage}"
            self._writer.add_scalar(tag=tag, step=progress.step, value=value)

    def close(self) -> None:
        """Write what is still held back."""
        self._writer.close()


__all__ = ["Board"]
