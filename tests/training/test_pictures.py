from __future__ import annotations

import cv2
import numpy as np

from paddle_custom_quant.training.metrics import Score
from paddle_custom_quant.training.pictures import _running_mean, training_picture
from paddle_custom_quant.training.trainer import Curve


def test_running_mean_against_a_loop(rng):
    values = rng.normal(size=200)
    expected = []
    for end in range(1, 201):
        weights = 0.75 ** np.arange(end)[::-1]  # a mean over 200 / 50 = 4 values
        expected.append((weights * values[:end]).sum() / weights.sum())
    np.testing.assert_allclose(_running_mean(list(values)), expected, rtol=1e-9, atol=1e-12)


def test_running_mean_of_few_values_is_the_values():
    np.testing.assert_array_equal(_running_mean([3.0, 1.0, 2.0]), [3.0, 1.0, 2.0])


def test_picture_shows_each_stage(tmp_path):
    curve = Curve([2.0, 1.0, 0.5], [10.0, 50.0, 90.0])
    result = Score(91.0, 100.0, 0.4)
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    training_picture(one, "net", {"float": curve}, {"float": result})
    stages = {"float": curve, "quantized": Curve([1.0, 0.3], [40.0, 95.0])}
    training_picture(two, "net", stages, dict.fromkeys(stages, result))
    pictures = [cv2.imread(str(path)) for path in (one, two)]
    assert pictures[0].shape == pictures[1].shape == (840, 960, 3)
    orange = np.array([0x02, 0x5F, 0xD9])  # blue, green, red
    drawn = [(picture == orange).all(axis=2).sum() for picture in pictures]
    assert drawn[0] == 0 and drawn[1] > 100
