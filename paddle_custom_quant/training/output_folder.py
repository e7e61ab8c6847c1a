"""A folder of results that is complete or left as it was."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def output_folder(folder: str | Path) -> Iterator[Path]:
    """A place to write results that reach ``folder`` only if the block ends without an error.

    Files that ``folder`` already holds stay, unless a result of the same name takes their place.

    Args:
        folder: where the results go; it is created, with its parents, if need be.

    Yields:
        An empty folder on the same file system.

    Raises:
        ValueError: the folder cannot be created or written.
    """
    folder = Path(folder)
    created: list[Path] = []
    try:
        try:
            created = _make(folder)
            staging = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
        except OSError as error:
            raise ValueError(
                f"cannot write results into {folder} ({error.strerror or error}): "
                "name another folder."
            ) from error
        try:
            yield staging
            _move(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except BaseException:
        for path in reversed(created):
            _remove_if_empty(path)
        raise


def _make(folder: Path) -> list[Path]:
    """Create the folder; return what was missing, outermost first."""
    missing = []
    path = folder
    while not path.exists() and path != path.parent:
        missing.append(path)
        path = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _move(source: Path, folder: Path) -> None:
    for path in sorted(source.iterdir()):
        destination = folder / path.name
        if path.is_dir():
            destination.mkdir(exist_ok=True)
            _move(path, destination)
        else:
            os.replace(path, destination)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
