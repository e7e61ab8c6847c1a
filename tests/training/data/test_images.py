from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant.training.data import Dataset, Images, batches


def grey(count: int, label: int = 0) -> Images:
    return Images(np.zeros((count, 4, 6), np.uint8), np.full(count, label, np.int64))


def test_inputs_scale_bytes_to_minus_one_to_one():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    inputs = Images(pixels, np.zeros(1, np.int64)).inputs()
    assert inputs.dtype == np.float32 and inputs.shape == (1, 1, 16, 16)
    np.testing.assert_allclose(inputs.ravel(), np.linspace(-1, 1, 256), atol=1e-7)
    assert inputs.min() == -1 and inputs.max() == 1


def test_inputs_put_colour_channels_first():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    images = Images(pixels, np.zeros(5, np.int64))
    assert images.shape == (3, 4, 6)
    inputs = images.inputs(np.array([3, 1]))
    assert inputs.shape == (2, 3, 4, 6)
    assert inputs[1, 2, 0, 5] == pytest.approx(pixels[1, 0, 5, 2] / 127.5 - 1, abs=1e-6)


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.zeros((2, 4, 4)), np.zeros(2, np.int64), "must be uint8"),
        (np.zeros((2, 16), np.uint8), np.zeros(2, np.int64), "must be uint8"),
        (np.zeros((0, 4, 4), np.uint8), np.zeros(0, np.int64), "N > 0"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(3, np.int64), r"int64 \[2\]"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.uint8), r"int64 \[2\]"),
        (np.zeros((1, 4, 4), np.uint8), np.full(1, -1, np.int64), "start at 0, got -1"),
    ],
    ids=["dtype", "dimensions", "empty", "label-count", "label-dtype", "negative-label"],
)
def test_images_refuses(pixels, labels, message):
    with pytest.raises(ValueError, match=message):
        Images(pixels, labels)


def test_dataset_refuses_parts_that_differ():
    wide = Images(np.zeros((1, 6, 6), np.uint8), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="toy: training images are"):
        Dataset("toy", grey(1), wide)


def test_dataset_refuses_label_beyond_classes():
    with pytest.raises(ValueError, match="label 3 in a data set of 3 classes"):
        Dataset("toy", grey(1), grey(1, label=3), classes=3)


def test_batches_cover_each_epoch_and_never_run_short():
    taken = list(batches(10, 4, 5, seed=3))
    assert [len(batch) for batch in taken] == [4] * 5
    stream = np.concatenate(taken)
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert list(stream[:10]) != list(stream[10:])


def test_batches_repeat_for_a_seed():
    first, second, other = (np.stack(list(batches(50, 7, 9, seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.parametrize("size", [0, 11])
def test_batches_refuse_sizes(size):
    with pytest.raises(ValueError, match=f"between 1 and 10 images, got {size}"):
        next(batches(10, size, 1, seed=0))
