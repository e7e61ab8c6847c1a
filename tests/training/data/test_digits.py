from __future__ import annotations

import numpy as np
from sklearn import datasets

from paddle_custom_quant.training.data import load_digits


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
