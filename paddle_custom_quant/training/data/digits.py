"""The handwritten digits that scikit-learn ships, in the form of MNIST or CIFAR-10: no download."""

from __future__ import annotations

import cv2
import numpy as np

from .images import Dataset, Images

SIDE, COLOURED_SIDE = 28, 32
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
    return _split("scikit-learn digits", pixels, source.target)


def load_coloured_digits() -> Dataset:
    """The digits of :func:`load_digits` in CIFAR-10's form: 32x32 pixels in colour.

    Each image has an ink and a paper of its own, the paper darker; the same ones in every call.
    """
    from sklearn import datasets

    source = datasets.load_digits()
    random = np.random.default_rng(0)
    ink = random.uniform(140, 255, (len(source.images), 1, 1, 3))
    paper = random.uniform(0, 110, (len(source.images), 1, 1, 3))
    grey = np.stack([_enlarge(image, COLOURED_SIDE) for image in source.images])
    part = grey[..., None] / 255
    pixels = np.rint(part * ink + (1 - part) * paper).astype(np.uint8)
    return _split("scikit-learn digits in colour", pixels, source.target)


def _split(name: str, pixels: np.ndarray, labels: np.ndarray) -> Dataset:
    labels = labels.astype(np.int64)
    test = np.arange(len(labels)) % _TEST_EVERY == 0
    return Dataset(name, Images(pixels[~test], labels[~test]), Images(pixels[test], labels[test]))


def _enlarge(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    grey = np.float32(image * (255 / _DARKEST))
    # Cubic interpolation overshoots at edges.
    large = cv2.resize(grey, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(large), 0, 255).astype(np.uint8)
