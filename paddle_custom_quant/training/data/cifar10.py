"""CIFAR-10 from its archive, its folder or its binary version.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009;
https://www.cs.toronto.edu/~kriz/cifar.html describes both versions.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from .images import Dataset, Images
from .plain_pickle import read_plain_pickle

SIDE, CHANNELS, CLASSES = 32, 3, 10
ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
TEST = "test_batch"
# sha256 of each batch in the form of the binary version, which both versions are brought to.
CHECKSUMS = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    TEST: "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
_ROW = 1 + CHANNELS * SIDE * SIDE
_LARGEST = 64 << 20


def read_cifar10(path: str | Path, checksums: Mapping[str, str] = CHECKSUMS) -> Dataset:
    """Read CIFAR-10, the Python or the binary version.

    Args:
        path: ``cifar-10-python.tar.gz`` or ``cifar-10-binary.tar.gz``, the folder that was
            unpacked from one, or a folder that holds either.
        checksums: sha256 of each batch as rows of label and pixels, by its name without suffix.

    Raises:
        ValueError: nothing is there, or what is there is truncated, damaged, not CIFAR-10, asks to
            run code, or leaves its folder.
    """
    path = Path(path)
    batches: dict[str, np.ndarray] = {}
    wanted = {f"{batch}{suffix}" for batch in checksums for suffix in ("", ".bin")}
    for name, content in _files(path, wanted):
        batch = name[: -len(".bin")] if name.endswith(".bin") else name
        source = f"{path}: {name}"
        rows = _binary(content, source) if name.endswith(".bin") else _pickled(content, source)
        if hashlib.sha256(rows.tobytes()).hexdigest() != checksums[batch]:
            raise ValueError(f"{source} has a wrong checksum: it is damaged, fetch it again.")
        batches[batch] = rows
    missing = [name for name in checksums if name not in batches]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: CIFAR-10 is {', '.join(checksums)}.")
    train = np.concatenate([batches[name] for name in checksums if name != TEST])
    return Dataset("CIFAR-10", _images(train), _images(batches[TEST]), CLASSES)


def download_cifar10() -> Dataset:
    """Let Paddle fetch CIFAR-10 into its cache folder, and read it from there.

    Raises:
        ValueError: Paddle could not fetch it, or what it fetched is damaged.
    """
    from paddle.dataset import cifar, common

    try:
        path = common.download(cifar.CIFAR10_URL, "cifar", cifar.CIFAR10_MD5)
    except Exception as error:
        # Paddle raises whatever its HTTP client or its own checks raise.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Paddle could not download CIFAR-10 ({reason}): fetch {ARCHIVES[0]} by other means "
            "and name it with --data."
        ) from error
    return read_cifar10(path)


def _files(path: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Names, without folder, and contents."""
    if path.is_dir():
        archives = [path / name for name in ARCHIVES if (path / name).is_file()]
        folders = [path / f"cifar-10-batches-{form}" for form in ("py", "bin")]
        inner = [*archives, *(folder for folder in folders if folder.is_dir())]
        if inner:
            yield from _files(inner[0], wanted)
            return
        for file in sorted(path.iterdir()):
            if file.name in wanted and file.is_file() and file.stat().st_size <= _LARGEST:
                yield file.name, file.read_bytes()
    elif path.is_file():
        yield from _members(path, wanted)
    else:
        raise ValueError(
            f"{path} does not exist: give {' or '.join(ARCHIVES)}, or the folder of one."
        )


def _members(path: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Files of an archive, read in memory: nothing is written anywhere."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                _check(member, path)
                name = PurePosixPath(member.name).name
                file = archive.extractfile(member) if name in wanted else None
                if file is not None:
                    yield name, file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path} is truncated or no .tar.gz archive ({error}): fetch it again."
        ) from error


def _check(member: Any, path: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{path} holds {member.name!r}, which leaves its folder: do not use it.")
    if not (member.isfile() or member.isdir()):
        raise ValueError(f"{path} holds {member.name!r}, which is no plain file: do not use it.")
    if member.size > _LARGEST:
        raise ValueError(
            f"{path} holds {member.name!r} of {member.size} bytes, more than any file of CIFAR-10."
        )


def _binary(content: bytes, source: str) -> np.ndarray:
    if not content or len(content) % _ROW:
        raise ValueError(
            f"{source} is truncated: {len(content)} bytes are not a multiple of the {_ROW} of a "
            "label and an image, fetch it again."
        )
    return np.frombuffer(content, np.uint8).reshape(-1, _ROW)


def _pickled(content: bytes, source: str) -> np.ndarray:
    batch = read_plain_pickle(content, source)
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= set(batch):
        raise ValueError(f"{source} is no batch of CIFAR-10: it has no data and labels.")
    pixels, labels = batch[b"data"], batch[b"labels"]
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (_ROW - 1,):
        raise ValueError(f"{source} is no batch of CIFAR-10: its images are not 32 x 32 x 3 bytes.")
    known = isinstance(labels, list) and all(isinstance(v, int) and 0 <= v < 256 for v in labels)
    if not known or len(labels) != len(pixels):
        raise ValueError(f"{source} is no batch of CIFAR-10: it has not one label for each image.")
    return np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1)


def _images(rows: np.ndarray) -> Images:
    planes = rows[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE)
    return Images(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), rows[:, 0].astype(np.int64))


__all__ = ["ARCHIVES", "CHECKSUMS", "download_cifar10", "read_cifar10"]
