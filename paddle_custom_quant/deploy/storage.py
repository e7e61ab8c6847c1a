"""Write files so that what stood there stays whole until the new ones are complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """Raise FileExistsError if one of the files is there and may not be replaced."""
    found = [str(path) for path in paths if path.exists()]
    if found and not overwrite:
        raise FileExistsError(f"{found[0]} exists: pass overwrite=True to replace it.")


def write_files(files: Mapping[Path, bytes], overwrite: bool = False) -> None:
    """Write all files, or none.

    Each is written beside its place and moved there when all are complete; if one cannot be moved,
    those that were are put back. A full disk or an interrupt leaves the old files as they were.

    Raises:
        FileExistsError: a file is there and ``overwrite`` is not set.
        OSError: the folder cannot be written, or the disk is full.
    """
    refuse_existing(list(files), overwrite)
    folders = [path for path in files if path.is_dir()]
    if folders:
        raise IsADirectoryError(f"{folders[0]} is a folder: name another file.")
    beside: dict[Path, str] = {}
    old: dict[Path, str] = {}
    placed: list[Path] = []
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            beside[path] = name
            with os.fdopen(number, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        for path in files:
            if path.exists():
                old[path] = f"{beside[path]}.old"
                _keep(path, old[path])
        for path, name in beside.items():
            os.chmod(name, 0o666 & ~mask)
            placed.append(path)
            os.replace(name, path)
    except BaseException:
        for path in placed:
            if path in old:
                os.replace(old[path], path)
            elif not Path(beside[path]).exists():
                path.unlink(missing_ok=True)
        raise
    finally:
        for name in (*beside.values(), *old.values()):
            Path(name).unlink(missing_ok=True)


def _keep(path: Path, name: str) -> None:
    """A second name for a file; a copy where the file system has no such thing."""
    try:
        os.link(path, name)
    except OSError:
        shutil.copy2(path, name)


__all__ = ["refuse_existing", "write_files"]
