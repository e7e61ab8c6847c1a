from __future__ import annotations

import numpy as np
import paddle
from paddle import static

from paddle_custom_quant.training.checkpoint import save_values, set_values, values_of
from paddle_custom_quant.training.classifier import build_classifier


def test_values_come_back_from_disk(legacy, tmp_path):
    classifier = build_classifier("LeNetBN", (1, 28, 28), 10)
    scope = static.global_scope()
    legacy.run(classifier.startup)
    before = values_of(classifier.train, scope)
    assert {"conv2d_0.w_0", "batch_norm2d_0.w_1", "linear_2.b_0"} < set(before)
    assert any("velocity" in name for name in before)
    assert not any("velocity" in name for name in values_of(classifier.test, scope))

    save_values(before, tmp_path / "all.npz")
    paddle.seed(99)
    legacy.run(classifier.startup)
    changed = values_of(classifier.train, scope)
    assert (changed["conv2d_0.w_0"] != before["conv2d_0.w_0"]).any()

    with np.load(tmp_path / "all.npz", allow_pickle=False) as archive:
        set_values({name: archive[name] for name in archive.files}, scope, paddle.CPUPlace())
    for name, value in values_of(classifier.train, scope).items():
        np.testing.assert_array_equal(value, before[name])


def test_values_are_copies(legacy):
    classifier = build_classifier("LeNet", (1, 28, 28), 10)
    legacy.run(classifier.startup)
    scope = static.global_scope()
    values = values_of(classifier.test, scope)
    kept = values["conv2d_0.w_0"].copy()
    set_values({"conv2d_0.w_0": kept + 1}, scope, paddle.CPUPlace())
    np.testing.assert_array_equal(values["conv2d_0.w_0"], kept)
