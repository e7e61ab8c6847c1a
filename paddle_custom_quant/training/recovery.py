"""Checkpoints of a training: the two newest are kept, and the newest that is sound is used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from ..distributed import ProcessGroup
from .tensor_file import packed_tensors, read_tensors, unpacked_tensors, write_tensors

_KEPT = 2
_Held = Optional[tuple[dict[str, np.ndarray], dict[str, Any]]]
Tell = Callable[[str], None]


class Checkpoints:
    """The checkpoints of one stage; of several processes the first writes and reads for all.

    Args:
        folder: of the training.
        stage: name of the stage; files are called ``<stage>-<step>.safetensors``.
        owner: plain data that says which training this is: its recipe and seed.
        tell: called with one line where a checkpoint is damaged.
        group: the processes that train together.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        owner: Mapping[str, Any],
        tell: Tell,
        group: ProcessGroup | None = None,
    ) -> None:
        self._group = group or ProcessGroup()
        self._folder, self._stage, self._owner, self._tell = folder, stage, owner, tell

    def save(self, step: int, values: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Write a checkpoint, and remove those before the last.

        Raises:
            OSError: it could not be written; those before it are still there.
        """

        def write() -> bytes:
            path = self._folder / f"{self._stage}-{step:08d}.safetensors"
            self._write(path, values, {**state, "step": step})
            for old in self._files()[_KEPT:]:
                old.unlink()
            return b""

        self._group.agreed(write)

    def newest(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Values and state of the newest sound checkpoint; ``None`` where there is none.

        Raises:
            ValueError: it is of another training.
        """
        return self._from_first(self._newest)

    def finish(self, values: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """Write what the stage led to."""

        def write() -> bytes:
            self._write(self._folder / f"{self._stage}.safetensors", values, state)
            return b""

        self._group.agreed(write)

    def finished(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """What the stage led to, if it is finished.

        Raises:
            ValueError: it is of another training.
        """
        path = self._folder / f"{self._stage}.safetensors"
        return self._from_first(lambda: self._read(path) if path.is_file() else None)

    def _from_first(self, find: Callable[[], _Held]) -> _Held:
        if self._group.size == 1:
            return find()

        def read() -> bytes:
            found = find()
            return b"" if found is None else packed_tensors(*found)

        content = self._group.agreed(read)
        return unpacked_tensors(content, "what the first process sent") if content else None

    def _newest(self) -> _Held:
        for path in self._folder.glob(f".{self._stage}-*"):
            path.unlink()  # begun when the process was killed
        for path in self._files():
            held = self._read(path)
            if held is not None:
                return held
        return None

    def _files(self) -> list[Path]:
        """Newest first."""
        name = re.compile(rf"{re.escape(self._stage)}-\d{{8}}\.safetensors")
        files = self._folder.iterdir() if self._folder.is_dir() else []
        return sorted((path for path in files if name.fullmatch(path.name)), reverse=True)

    def _write(self, path: Path, values: Mapping[str, np.ndarray], state: Any) -> None:
        try:
            write_tensors(path, values, {**state, "owner": self._owner})
        except OSError as error:
            kept = [file.name for file in self._files()[:1]]
            raise OSError(
                f"cannot write the checkpoint {path} ({error.strerror or error}); the last good "
                f"one is {kept[0] if kept else 'that of the stage before, if any'}: make room, "
                "then go on with --resume."
            ) from error

    def _read(self, path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        try:
            values, state = read_tensors(path)
        except (ValueError, OSError) as error:
            self._tell(f"{error} The one before it is used.")
            return None
        different = differences(state.pop("owner", {}), self._owner)
        if different:
            raise ValueError(
                f"{path} is a checkpoint of another training: {'; '.join(different[:3])}. "
                "Name another folder, or use the recipe it was made with."
            )
        return values, state


def differences(held: Any, wanted: Any, name: str = "") -> list[str]:
    """Where two trees of plain data differ: ``key: value held, value wanted``."""
    if isinstance(held, Mapping) and isinstance(wanted, Mapping):
        found = []
        for key in sorted({*held, *wanted}):
            inner = f"{name}.{key}" if name else str(key)
            found += differences(held.get(key), wanted.get(key), inner)
        return found
    return [] if held == wanted else [f"{name} was {held!r} there and is {wanted!r} here"]


__all__ = ["Checkpoints", "differences"]
