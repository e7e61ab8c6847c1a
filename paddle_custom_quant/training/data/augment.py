"""Random changes of training images, the same for a seed wherever they are made."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .images import Images

ALL = slice(None)


@dataclass(frozen=True)
class Augmentation:
    """What happens to each training image.

    Attributes:
        pad: pixels of black added on each side before a window of the old size is cut out at
            random; 0 leaves the image in its place.
        flip: mirror every other image, left to right.
        cutout: side of a grey square at a random place (arXiv 1708.04552); 0 for none.

    Raises:
        ValueError: a negative number.
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("pad", "cutout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}.")

    def __bool__(self) -> bool:
        """Whether anything happens."""
        return bool(self.pad or self.flip or self.cutout)


def augmented_inputs(
    images: Images,
    chosen: np.ndarray,
    augmentation: Augmentation,
    seed: int,
    number: int,
    part: slice = ALL,
) -> np.ndarray:
    """Network inputs of a batch, changed at random.

    Args:
        images: training images.
        chosen: indices of the batch, ``[n]``.
        augmentation: what to do.
        seed: of the training.
        number: of the batch in the training; the changes depend on this and the seed alone.
        part: of the batch that is wanted; it is changed as the whole batch is.

    Returns:
        float32 ``[n, channels, height, width]``, scaled as :meth:`Images.inputs` does.
    """
    if not augmentation:
        return images.inputs(chosen[part])
    random = np.random.default_rng([seed, number])
    height, width = images.shape[1:]
    size, pad, cutout = len(chosen), augmentation.pad, augmentation.cutout
    tops, lefts = random.integers(0, 2 * pad + 1, (2, size))
    mirrored = random.random(size) < 0.5
    rows, columns = random.integers(0, height, size), random.integers(0, width, size)
    tops, lefts, mirrored = tops[part], lefts[part], mirrored[part]
    rows, columns, chosen = rows[part], columns[part], chosen[part]
    pixels = images.pixels[chosen]
    for index, image in enumerate(pixels):
        changed = image
        if pad:
            wide = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
            top, left = tops[index], lefts[index]
            changed = wide[top : top + height, left : left + width]
        if augmentation.flip and mirrored[index]:
            changed = cv2.flip(changed, 1)
        pixels[index] = changed
        if cutout:
            top, left = rows[index] - cutout // 2, columns[index] - cutout // 2
            # Grey is the middle of the scale, which inputs have at 0.
            pixels[index, max(top, 0) : top + cutout, max(left, 0) : left + cutout] = 128
    return Images(pixels, images.labels[chosen]).inputs()


__all__ = ["ALL", "Augmentation", "augmented_inputs"]
