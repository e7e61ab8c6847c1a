from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant.training.data.augment import Augmentation, augmented_inputs
from paddle_custom_quant.training.data.images import Images

ALL = Augmentation(pad=2, flip=True, cutout=3)


@pytest.fixture
def images(rng):
    pixels = rng.integers(1, 256, (40, 8, 8, 3), np.uint8)  # no black: padding shows
    return Images(pixels, np.zeros(40, np.int64))


def pixels_of(inputs):
    return np.rint((inputs.transpose(0, 2, 3, 1) + 1) * 127.5).astype(np.uint8)


def windows(image, pad):
    wide = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            yield wide[top : top + 8, left : left + 8]


def test_every_result_is_a_window_or_its_mirror_image(images):
    chosen = np.arange(40)
    results = pixels_of(augmented_inputs(images, chosen, Augmentation(2, True), 1, 0))
    found = []
    for image, result in zip(images.pixels, results):
        plain = [np.array_equal(result, window) for window in windows(image, 2)]
        mirrored = [np.array_equal(result, window[:, ::-1]) for window in windows(image, 2)]
        assert sum(plain) + sum(mirrored) == 1
        found.append((plain + mirrored).index(True))
    assert len({index % 25 for index in found}) > 12  # many places, ...
    assert 8 < sum(index >= 25 for index in found) < 32  # ... about every other one mirrored


def test_cutout_is_a_grey_square(images):
    results = pixels_of(augmented_inputs(images, np.arange(40), Augmentation(cutout=3), 4, 0))
    areas = []
    for image, result in zip(images.pixels, results):
        changed = np.argwhere((image != result).any(axis=2))
        (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
        assert (result[top : bottom + 1, left : right + 1] == 128).all()
        assert max(bottom - top, right - left) <= 2
        areas.append((bottom - top + 1) * (right - left + 1))
    assert max(areas) == 9 > min(areas)  # at an edge a part of it falls outside


def test_depends_on_seed_and_number_alone(images):
    chosen = np.arange(10)
    first = augmented_inputs(images, chosen, ALL, 1, 5)
    np.testing.assert_array_equal(augmented_inputs(images, chosen, ALL, 1, 5), first)
    for seed, number in ((2, 5), (1, 6)):
        assert (augmented_inputs(images, chosen, ALL, seed, number) != first).any()


def test_nothing_to_do_and_grey_images(images):
    chosen = np.array([3, 1])
    assert not Augmentation()
    result = augmented_inputs(images, chosen, Augmentation(), 1, 0)
    np.testing.assert_array_equal(result, images.inputs(chosen))
    grey = Images(images.pixels[..., 0].copy(), images.labels)
    assert augmented_inputs(grey, chosen, ALL, 1, 0).shape == (2, 1, 8, 8)
    before = images.pixels.copy()
    augmented_inputs(images, chosen, ALL, 1, 0)
    np.testing.assert_array_equal(images.pixels, before)


def test_negative_numbers():
    with pytest.raises(ValueError, match="pad must be 0 or more, got -1"):
        Augmentation(pad=-1)
