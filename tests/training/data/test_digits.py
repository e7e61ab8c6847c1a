from __future__ import annotations

import numpy as np
from sklearn import datasets

from paddle_custom_quant.training.data import load_coloured_digits, load_digits


def test_digits_have_mnists_form():
    data = load_digits()
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.train.shape == (1, 28, 28)
    assert set(data.test.labels) == set(range(10))


def test_digits_are_the_source_enlarged():
    source, data = datasets.load_digits(), load_digits()
    np.testing.assert_array_equal(data.test.labels, source.target[::5])
    # The mean over each quarter survives enlargement, up to the overshoot that is clipped.
    small = source.images[::5].reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)) * 255 / 16
    large = data.test.pixels.reshape(-1, 2, 14, 2, 14).mean(axis=(2, 4))
    assert np.abs(large - small).max() < 16


def test_digits_are_the_same_each_time():
    np.testing.assert_array_equal(load_digits().train.pixels, load_digits().train.pixels)


def test_coloured_digits_have_cifars_form():
    data, grey = load_coloured_digits(), load_digits()
    assert data.train.shape == (3, 32, 32) and len(data.train) == 1437
    np.testing.assert_array_equal(data.test.labels, grey.test.labels)
    np.testing.assert_array_equal(data.test.pixels, load_coloured_digits().test.pixels)
    # Ink is brighter than paper, in each image and channel, and images differ in colour.
    pixels = data.test.pixels.reshape(360, -1, 3)
    assert (pixels.max(axis=1) >= 130).all() and (pixels.min(axis=1) <= 110).all()
    assert pixels.min(axis=1).std(axis=0).min() > 10
