"""Run a suite: float nets first, then every cell that is not finished, then the tables."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..deploy.storage import write_files
from ..training.data import Dataset
from ..training.recipe_run import check_reusable
from .cells import PlannedCell, float_recipe
from .folder import FLOAT_PREFIX, SuiteFolder
from .local import run_local
from .overview import as_document
from .page import render
from .pictures import pictures
from .proof import check_engines
from .results import Row, as_csv, as_json, collect
from .suite import Suite, check_same_suite, suite_as_data, suite_as_text


@dataclass(frozen=True)
class Where:
    """What a suite runs on; it does not change a result, but for ``threads`` in the last bit.

    Attributes:
        jobs: processes at a time, on this machine.
        threads: of each.
        data: where the images are; ``None`` for the default.
        ray: address of a Ray cluster to run on, in place of this machine.
    """

    jobs: int = 1
    threads: int = 1
    data: Path | None = None
    ray: str | None = None


def run_suite(
    suite: Suite,
    cells: Sequence[PlannedCell],
    images: Dataset,
    root: Path,
    where: Where,
    tell: Callable[[str], None],
    *,
    title: str,
    reuse: Path | None = None,
) -> list[Row]:
    """Run what is not finished, and write the tables of all.

    Args:
        suite: to run.
        cells: its cells.
        images: to check ``reuse`` with; every process reads its own.
        root: folder for the results; it may hold some of the same suite.
        where: on what.
        tell: called with one line for each cell that ends.
        title: of the page.
        reuse: folder of a run that the float nets are taken from.

    Raises:
        ValueError: the folder is of another suite or in use, an engine is not installed, the float
            net of ``reuse`` does not fit, or no Ray cluster answers.
        OSError: something could not be written.
    """
    folder = SuiteFolder(root)
    check_same_suite(suite, folder.suite)
    if any(cell.recipe is not None for cell in cells):
        check_engines()
    open_cells = [
        cell for cell in cells if cell.recipe is not None and folder.result(cell.name) is None
    ]
    nets = list(dict.fromkeys(str(cell.cell.net) for cell in open_cells))
    if reuse is not None:
        for net in nets:
            check_reusable(float_recipe(suite, net), images, reuse)
    with _runner(where) as run, _alone_in(root):
        write_files({folder.suite: suite_as_text(suite).encode()}, overwrite=True)
        reused = str(reuse.resolve()) if reuse else ""
        ended = run(folder, [f"{FLOAT_PREFIX}{net}" for net in nets], reuse=reused, tell=tell)
        failed, ready = {}, []
        for cell in open_cells:
            why = ended.get(f"{FLOAT_PREFIX}{cell.cell.net}")
            if why is None:
                ready.append(cell.name)
            else:
                failed[cell.name] = f"the float net was not trained: {why}"
        try:
            failed |= run(folder, ready, reuse="", tell=tell)
        finally:
            rows = collect(folder, cells, failed)
            write_results(folder, suite, rows, title)
    return rows


@contextmanager
def _alone_in(root: Path) -> Iterator[None]:
    """Hold a folder for this process."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another run is at work in {root}: wait for it, or name another folder."
            ) from None
        yield


@contextmanager
def _runner(where: Where) -> Iterator[Callable[..., dict[str, str]]]:
    """What runs cells, as :func:`run_local` does."""
    data = str(where.data.resolve()) if where.data else ""
    given: dict[str, Any] = {"threads": where.threads, "data": data}
    if where.ray is None:
        yield partial(run_local, jobs=where.jobs, **given)
        return
    from . import ray_cluster

    with ray_cluster.connected(where.ray):
        yield partial(ray_cluster.run_on_ray, **given)


def write_results(folder: SuiteFolder, suite: Suite, rows: Sequence[Row], title: str) -> None:
    """Write the tables, the page and the pictures, all or none."""
    drawn = pictures(rows)
    texts = {
        "results.csv": as_csv(rows),
        "results.json": as_json(folder, suite_as_data(suite), rows),
        "results.md": as_document(rows),
        "results.html": render(title, rows, drawn),
    }
    files = {folder.root / name: text.encode() for name, text in texts.items()}
    files |= {folder.root / "pictures" / name: content for name, content in drawn.items()}
    write_files(files, overwrite=True)


__all__ = ["Where", "run_suite", "write_results"]
