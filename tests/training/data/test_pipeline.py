from __future__ import annotations

import multiprocessing
import os
import signal

import numpy as np
import pytest

from paddle_custom_quant.training.data import pipeline
from paddle_custom_quant.training.data.augment import Augmentation
from paddle_custom_quant.training.data.images import Images, batches
from paddle_custom_quant.training.data.pipeline import augmented_batches


@pytest.fixture
def images(rng):
    pixels = rng.integers(0, 256, (30, 8, 8, 3), np.uint8)
    return Images(pixels, np.arange(30) % 10)


def make(images, first=0, last=12, workers=0, seed=7):
    augmentation = Augmentation(2, True, 3)
    given = {"first": first, "last": last, "seed": seed, "workers": workers}
    return augmented_batches(images, augmentation, 8, **given)


def listed(made):
    return [(batch.inputs.copy(), batch.labels.copy()) for batch in made]


def same(one, other):
    assert len(one) == len(other)
    for mine, theirs in zip(one, other):
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(images, workers):
    same(listed(make(images, workers=workers)), listed(make(images)))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_begins_anywhere(images, workers):
    same(listed(make(images, first=5, workers=workers)), listed(make(images))[5:])


def test_order_is_that_of_plain_batches(images):
    for batch, chosen in zip(make(images, workers=1), batches(30, 8, 12, seed=7)):
        np.testing.assert_array_equal(batch.labels, images.labels[chosen])


def test_a_batch_stays_until_the_next_is_asked_for(images):
    expected = listed(make(images))
    for number, batch in enumerate(make(images, workers=2)):
        held = batch.inputs.copy()
        np.testing.assert_array_equal(held, expected[number][0])
        np.testing.assert_array_equal(batch.inputs, held)


def test_leaving_early_ends_the_workers(images):
    made = make(images, workers=2)
    next(made)
    assert len(multiprocessing.active_children()) == 2
    made.close()
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_an_error_not_a_hang(images):
    made = make(images, workers=2, last=1000)
    next(made)
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"ended with code -9 .*: use fewer workers, or 0"):
        for _ in made:
            pass
    assert not multiprocessing.active_children()


def test_an_error_in_a_worker_is_told(images, monkeypatch):
    def fails(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(pipeline, "augmented_inputs", fails)
    with pytest.raises(RuntimeError, match="could not make a batch: MemoryError: no room"):
        next(make(images, workers=1))


def test_more_images_a_batch_than_there_are(images):
    given = {"first": 0, "last": 1, "seed": 0, "workers": 0}
    with pytest.raises(ValueError, match="between 1 and 30 images, got 31"):
        next(augmented_batches(images, Augmentation(), 31, **given))
