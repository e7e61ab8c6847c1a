from __future__ import annotations

import numpy as np
import pytest
from paddle import static

from paddle_custom_quant.training.classifier import build_classifier
from paddle_custom_quant.training.reload import predict_in_new_process, predict_saved


@pytest.fixture
def saved(legacy, tmp_path, rng):
    """Path of a saved net, inputs (more than one batch of them), and the program's outputs."""
    classifier = build_classifier("LeNet", (1, 28, 28), 10)
    legacy.run(classifier.startup)
    block = classifier.test.global_block()
    image, logits = block.var(classifier.image), block.var(classifier.logits)
    path = tmp_path / "folder with space" / "model"
    static.save_inference_model(str(path), [image], [logits], legacy, program=classifier.test)
    inputs = rng.uniform(-1, 1, (501, 1, 28, 28)).astype(np.float32)
    (expected,) = legacy.run(classifier.test, feed={"image": inputs}, fetch_list=[logits])
    return path, inputs, expected


def test_new_process_computes_the_same(saved):
    path, inputs, expected = saved
    np.testing.assert_allclose(predict_in_new_process(path, inputs), expected, rtol=1e-4, atol=1e-5)


def test_this_process_computes_the_same(saved):
    path, inputs, expected = saved
    np.testing.assert_allclose(predict_saved(path, inputs), expected, rtol=1e-4, atol=1e-5)


def test_failure_shows_what_the_process_said(tmp_path):
    with pytest.raises(RuntimeError, match=r"reloads .*absent ended with code (?s:.)*absent"):
        predict_in_new_process(tmp_path / "absent", np.zeros((1, 1, 28, 28), np.float32))
