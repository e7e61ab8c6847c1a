"""MNIST from its four IDX files.

The format (big-endian): two zero bytes, a type byte (8 for uint8), the number of dimensions, one
32-bit length for each dimension, then the values. http://yann.lecun.com/exdb/mnist/
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .images import Dataset, Images

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
NAMES = [name for part in FILES.values() for name in part]
SIDE, CLASSES = 28, 10
_UINT8 = 8
_LARGEST = 2**31 - 2


def read_mnist(folder: str | Path) -> Dataset:
    """Read MNIST, or any data set in its form, from the four ``.gz`` files in ``folder``.

    Raises:
        ValueError: the folder or a file is missing, damaged or not MNIST.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give the one that holds {', '.join(NAMES)}.")
    missing = [name for name in NAMES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}: MNIST is {', '.join(NAMES)}.")
    train, test = (_read_part(folder / part[0], folder / part[1]) for part in FILES.values())
    return Dataset("MNIST", train, test, CLASSES)


def download_mnist() -> Dataset:
    """Let Paddle fetch MNIST into its cache folder, and read it from there.

    Raises:
        ValueError: Paddle could not fetch it, or what it fetched is damaged.
    """
    from paddle.vision.datasets import MNIST

    try:
        make: Any = MNIST
        parts = [make(mode=mode, download=True, backend="cv2") for mode in FILES]
    except Exception as error:
        # Paddle raises whatever its HTTP client or its own checks raise.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Paddle could not download MNIST ({reason}): fetch {', '.join(NAMES)} by other means "
            "and name their folder with --data."
        ) from error
    train, test = (_read_part(Path(part.image_path), Path(part.label_path)) for part in parts)
    return Dataset("MNIST", train, test, CLASSES)


def _read_part(images: Path, labels: Path) -> Images:
    pixels, digits = read_idx(images, 3), read_idx(labels, 1)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"{images} holds images of {pixels.shape[1:]}, MNIST's are (28, 28).")
    if len(pixels) != len(digits):
        raise ValueError(f"{images} holds {len(pixels)} images, {labels} {len(digits)} labels.")
    if digits.size and digits.max() >= CLASSES:
        raise ValueError(f"{labels} holds label {digits.max()}, MNIST's are 0 to 9.")
    if not digits.size:
        raise ValueError(f"{images} holds no images.")
    return Images(pixels, digits.astype(np.int64))


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read a gzipped IDX file of bytes.

    Args:
        path: the file.
        dimensions: how many the array must have.

    Returns:
        uint8 array.

    Raises:
        ValueError: the file is not gzip, not IDX, of another kind, truncated or too long.
    """
    try:
        with gzip.open(path) as file:
            header = file.read(4 + 4 * dimensions)
            if len(header) < 4 + 4 * dimensions:
                raise ValueError(f"{path} is truncated: its IDX header ends too early.")
            if header[:4] != bytes([0, 0, _UINT8, dimensions]):
                raise ValueError(
                    f"{path} is not an IDX file of {dimensions}-dimensional bytes: it starts with "
                    f"{header[:4].hex(' ')} in place of 00 00 08 {dimensions:02x}."
                )
            shape = struct.unpack(f">{dimensions}I", header[4:])
            # Python's own product: a header of nonsense must not overflow into a small size.
            size = 1
            for length in shape:
                size *= length
            # One byte more than announced tells a file that goes on from one that ends.
            values = file.read(min(size, _LARGEST) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}): fetch it again.") from error
    if len(values) != size:
        what = "is truncated" if len(values) < size else "goes on after its end"
        raise ValueError(f"{path} {what}: its header announces {size} bytes, fetch it again.")
    return np.frombuffer(values, np.uint8).reshape(shape)


__all__ = ["CLASSES", "FILES", "NAMES", "download_mnist", "read_idx", "read_mnist"]
