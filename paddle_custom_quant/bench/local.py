"""Cells in processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .folder import SuiteFolder

_SECONDS = 0.05


def run_local(
    folder: SuiteFolder,
    names: Sequence[str],
    *,
    jobs: int,
    threads: int,
    data: str,
    reuse: str,
    tell: Callable[[str], None],
) -> dict[str, str]:
    """Run cells, each in a process of its own, ``jobs`` at a time.

    Args:
        folder: of the suite's results.
        names: of cells, or of float trainings.
        jobs: processes at a time.
        threads: of each process.
        data: where the images are; empty for the default.
        reuse: folder of a run that the float net is taken from; empty for none.
        tell: called with one line for each that ends.

    Returns:
        Why a process ended without a result, by name.
    """
    waiting, failed = list(names), {}
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                running[name] = _start(folder, name, threads, data, reuse)
            for name, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[name]
                if code:
                    failed[name] = _why(code, folder.work(name) / "output.txt")
                done = f"{len(names) - len(waiting) - len(running)} of {len(names)}"
                tell(f"{done}: {name}{': ' + failed[name] if code else ''}")
            time.sleep(_SECONDS)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return failed


def _start(
    folder: SuiteFolder, name: str, threads: int, data: str, reuse: str
) -> subprocess.Popen[bytes]:
    work = folder.work(name)
    work.mkdir(parents=True, exist_ok=True)
    given = [str(folder.root), name, data, reuse, str(os.getpid())]
    package = str(Path(__file__).parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment: dict[str, Any] = {
        **os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(paths),
    }  # fmt: skip
    with open(work / "output.txt", "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.process", *given],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _why(code: int, output: Path) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if code < 0:
        return f"its process was ended by signal {-code} (9: killed, often for lack of memory)"
    return f"its process ended with code {code}: {lines[-1] if lines else 'it said nothing'}"


__all__ = ["run_local"]
