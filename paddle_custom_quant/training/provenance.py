"""What a run was made with."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import paddle

from .data import Dataset


def facts(data: Dataset, processes: int = 1) -> dict[str, Any]:
    """Data, versions and commit, as plain data."""
    names = ("paddle-custom-quant", "paddleslim", "numpy", "opencv-python")
    return {
        "processes": processes,
        "data": {
            "name": data.name,
            "sha256": data.sha256,
            "training_images": len(data.train),
            "test_images": len(data.test),
        },
        "versions": {
            "python": platform.python_version(),
            "paddle": paddle.__version__,
            **{name: metadata.version(name) for name in names},
        },
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Commit of the sources, with ``+`` where they were changed since; ``None`` outside of git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        found = [
            subprocess.run([*git, *command], capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return found[0].strip() + ("+" if found[1].strip() else "")


__all__ = ["facts"]
