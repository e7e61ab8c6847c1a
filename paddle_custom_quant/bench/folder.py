"""What stands where in the folder of a suite's results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..deploy.storage import write_files
from .cell_run import RESULT

FLOAT_PREFIX = "float_"


@dataclass(frozen=True)
class SuiteFolder:
    """Paths below one folder.

    ``suite.yaml``; ``cells/<name>/`` with each finished cell's recipe, log and result; ``work/``
    with checkpoints and what processes printed, which results do not need; the tables beside them.
    """

    root: Path

    @property
    def suite(self) -> Path:
        """The suite with every default written out."""
        return self.root / "suite.yaml"

    def cell(self, name: str) -> Path:
        """What is kept of a cell."""
        return self.root / "cells" / name

    def work(self, name: str) -> Path:
        """Checkpoints of a cell."""
        return self.root / "work" / name

    def float_run(self, net: str) -> Path:
        """The float training of a net."""
        return self.work(f"{FLOAT_PREFIX}{net}")

    def result(self, name: str) -> dict[str, Any] | None:
        """What a finished cell led to; ``None`` if it is not finished."""
        path = self.cell(name) / RESULT
        try:
            held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return held

    def keep(self, name: str, files: dict[str, bytes]) -> None:
        """Write a cell's files, its result last: what has one is finished."""
        folder = self.cell(name)
        write_files({folder / n: content for n, content in files.items() if n != RESULT}, True)
        write_files({folder / RESULT: files[RESULT]}, True)


__all__ = ["FLOAT_PREFIX", "SuiteFolder"]
