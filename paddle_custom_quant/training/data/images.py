"""Labelled images in memory, and the order in which training sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Images:
    """Labelled images as they are on disk.

    Attributes:
        pixels: ``[N, height, width]`` (grey) or ``[N, height, width, channels]``, uint8.
        labels: ``[N]``, int64, 0 for the first class.

    Raises:
        ValueError: no images, another shape or dtype, or not one label for each image.
    """

    pixels: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        if self.pixels.dtype != np.uint8 or self.pixels.ndim not in (3, 4) or not self.pixels.size:
            raise ValueError(
                "pixels must be uint8 [N, height, width] or [N, height, width, channels] with "
                f"N > 0, got {self.pixels.dtype} {list(self.pixels.shape)}."
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.pixels.shape[:1]:
            raise ValueError(
                f"labels must be int64 [{len(self.pixels)}], one for each image, got "
                f"{self.labels.dtype} {list(self.labels.shape)}."
            )
        if self.labels.min() < 0:
            raise ValueError(f"labels start at 0, got {self.labels.min()}.")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one network input."""
        height, width = self.pixels.shape[1:3]
        return (self.pixels.shape[3] if self.pixels.ndim == 4 else 1), height, width

    def inputs(self, chosen: Any = slice(None)) -> np.ndarray:
        """Network inputs of the chosen images.

        Args:
            chosen: indices or a slice; all images if left out.

        Returns:
            float32 ``[n, channels, height, width]``; byte 0 is -1.0 and byte 255 is 1.0.
        """
        pixels = self.pixels[chosen].astype(np.float32) / np.float32(127.5) - np.float32(1)
        return pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)


@dataclass(frozen=True)
class Dataset:
    """Training and test images of one problem.

    Attributes:
        name: for messages and reports.
        train: images to learn from.
        test: images to measure on; none of them is in ``train``.
        classes: number of classes.
    """

    name: str
    train: Images
    test: Images
    classes: int = 10

    @cached_property
    def sha256(self) -> str:
        """Of all pixels and labels."""
        held = hashlib.sha256()
        for part in (self.train, self.test):
            for array in (part.pixels, part.labels):
                held.update(f"{array.dtype} {array.shape}".encode())
                held.update(np.ascontiguousarray(array).tobytes())
        return held.hexdigest()

    def __post_init__(self) -> None:
        """Check that both parts belong to the same problem."""
        if self.train.shape != self.test.shape:
            raise ValueError(
                f"{self.name}: training images are {self.train.shape}, "
                f"test images {self.test.shape}."
            )
        highest = max(int(part.labels.max()) for part in (self.train, self.test))
        if highest >= self.classes:
            raise ValueError(
                f"{self.name}: label {highest} in a data set of {self.classes} classes."
            )


def batches(count: int, size: int, iterations: int, seed: int) -> Iterator[np.ndarray]:
    """Indices of each training batch: shuffled anew each epoch, every batch full.

    A batch that the end of an epoch would cut short continues in the next epoch, so that batch
    normalisation never sees a remainder of a few images.

    Args:
        count: number of images.
        size: images a batch, at most ``count``.
        iterations: number of batches.
        seed: the same seed gives the same batches.

    Yields:
        int64 ``[size]``.

    Raises:
        ValueError: ``size`` is not between 1 and ``count``.
    """
    if not 1 <= size <= count:
        raise ValueError(f"the batch size must be between 1 and {count} images, got {size}.")
    random = np.random.default_rng(seed)
    waiting = np.empty(0, np.int64)
    for _ in range(iterations):
        if len(waiting) < size:
            waiting = np.concatenate([waiting, random.permutation(count)])
        yield waiting[:size]
        waiting = waiting[size:]
