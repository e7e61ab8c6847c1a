"""The process of one cell: ``python -m ... FOLDER NAME DATA REUSE PARENT``.

``NAME`` is a cell's, or ``float_`` and a net. It ends with the process that started it, ``PARENT``;
a second one for the same cell waits until the first is gone.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

from ..keep_memory import keep_memory
from ..training.data import load_images
from ..training.how import How
from ..training.recipe_run import run_recipe
from .cell_run import run_cell
from .cells import float_recipe, planned_cells
from .folder import FLOAT_PREFIX, SuiteFolder
from .suite import load_suite

CHECKPOINT_EVERY = 100
_SECONDS = 0.5


def main(root: str, name: str, data: str, reuse: str, parent: str) -> None:
    """Train the float net or a cell.

    Args:
        root: folder of the suite's results.
        name: of the cell.
        data: where the images are; empty for the default.
        reuse: folder of a run to take the float net from; empty for none.
        parent: process that it ends with. It may be gone already.
    """
    _end_with(int(parent))
    keep_memory()
    folder = SuiteFolder(Path(root))
    suite = load_suite(folder.suite)
    work = folder.work(name)
    work.mkdir(parents=True, exist_ok=True)
    tell = partial(print, flush=True)
    how = How(workers=0, checkpoint_every=CHECKPOINT_EVERY, tell=tell)
    with open(work / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        images = load_images(suite.recipe.data.name, data or None)
        if name.startswith(FLOAT_PREFIX):
            recipe = float_recipe(suite, name[len(FLOAT_PREFIX) :])
            run_recipe(recipe, images, work, how, resume=True, reuse=reuse or None)
            return
        planned = {cell.name: cell for cell in planned_cells(suite, yes=True)}.get(name)
        if planned is None:
            raise ValueError(f"{folder.suite} has no cell {name}: another run has changed it.")
        assert planned.cell.net is not None
        files = run_cell(planned, images, work, folder.float_run(planned.cell.net), how)
        folder.keep(name, files)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
