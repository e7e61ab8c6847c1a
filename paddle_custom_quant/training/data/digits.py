"""The handwritten digits that scikit-learn ships, in MNIST's form: no download."""

from __future__ import annotations

import cv2
import numpy as np

from .images import Dataset, Images

SIDE = 28
_DARKEST = 16.0
_TEST_EVERY = 5


def load_digits() -> Dataset:
    """1,797 real handwritten digits, scaled from 8x8 to 28x28 pixels.

    Every fifth image is for testing (360), the other 1,437 are for training. Source: E. Alpaydin
    and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, as scikit-learn distributes it.
    """
    from sklearn import datasets

    source = datasets.load_digits()
    pixels = np.stack([_enlarge(image) for image in source.images])
    labels = source.target.astype(np.int64)
    test = np.arange(len(labels)) % _TEST_EVERY == 0
    return Dataset(
        "scikit-learn digits",
        Images(pixels[~test], labels[~test]),
        Images(pixels[test], labels[test]),
    )


def _enlarge(image: np.ndarray) -> np.ndarray:
    grey = np.float32(image * (255 / _DARKEST))
    # Cubic interpolation overshoots at edges.
    large = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(large), 0, 255).astype(np.uint8)
