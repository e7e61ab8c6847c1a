from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant.training.metrics import score


def test_score_against_a_plain_loop(rng):
    logits = rng.normal(size=(200, 10)).astype(np.float32) * 3
    labels = rng.integers(0, 10, 200)
    top1 = top5 = loss = 0.0
    for row, label in zip(logits.astype(np.float64), labels):
        order = sorted(range(10), key=lambda c: -row[c])
        top1 += order[0] == label
        top5 += label in order[:5]
        loss -= np.log(np.exp(row[label]) / np.exp(row).sum())
    result = score(logits, labels)
    assert result.top1 == pytest.approx(top1 / 2)
    assert result.top5 == pytest.approx(top5 / 2)
    assert result.loss == pytest.approx(loss / 200, rel=1e-9)


def test_equal_outputs_count_like_argmax():
    logits = np.zeros((10, 10), np.float32)
    result = score(logits, np.arange(10))
    assert result.top1 == 10 and result.top5 == 50
    assert result.loss == pytest.approx(np.log(10))


def test_large_outputs_do_not_overflow():
    result = score(np.array([[1e4, 0.0], [0.0, 1e4]], np.float32), np.array([0, 0]))
    assert (result.top1, result.loss) == (50, 5000)


def test_nan_is_never_a_result():
    logits = np.zeros((3, 4), np.float32)
    logits[1, 2] = np.nan
    with pytest.raises(ValueError, match="outputs of 1 of 3 images are not finite"):
        score(logits, np.zeros(3, np.int64))


@pytest.mark.parametrize(("rows", "labels"), [(2, 3), (0, 0)])
def test_shapes_that_do_not_belong_together(rows, labels):
    with pytest.raises(ValueError, match="logits must be"):
        score(np.zeros((rows, 4)), np.zeros(labels, np.int64))
