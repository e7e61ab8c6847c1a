from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import static

from paddle_custom_quant.scope import read, write
from paddle_custom_quant.training.batch_norm import freeze_statistics, reestimate_statistics
from paddle_custom_quant.training.classifier import build_classifier

MEAN, VARIANCE = "batch_norm2d_0.w_1", "batch_norm2d_0.w_2"
EPSILON = 1e-5


def start(executor):
    classifier = build_classifier("LeNetBN", (1, 28, 28), 10)
    paddle.seed(3)
    executor.run(classifier.startup)
    return classifier


def feed(classifier, rng, count=16):
    images = rng.normal(1.0, 2.0, (count, 1, 28, 28)).astype(np.float32)
    return {classifier.image: images, classifier.label: rng.integers(0, 10, (count, 1))}


def test_frozen_statistics_stay_and_the_net_learns_by_them(legacy, rng):
    classifier, scope = start(legacy), static.global_scope()
    legacy.run(classifier.train, feed(classifier, rng), [])
    frozen = freeze_statistics(classifier.train)
    before = {name: read(scope, name) for name in (MEAN, VARIANCE, "conv2d_0.w_0")}
    given = feed(classifier, rng)
    (expected,) = legacy.run(
        classifier.test, {classifier.image: given[classifier.image]}, [classifier.logits]
    )
    names = [classifier.logits, "batch_norm2d_0.tmp_2@GRAD", "conv2d_0.tmp_1@GRAD"]
    block = frozen.global_block()
    norm = next(op for op in block.ops if op.type == "batch_norm_grad" and op.input("Scale")[0] ==
                "batch_norm2d_0.w_0")  # fmt: skip
    scale = read(scope, "batch_norm2d_0.w_0")
    names[1:] = [norm.input("Y@GRAD")[0], norm.output("X@GRAD")[0]]
    logits, outer, inner = legacy.run(frozen, given, names)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)  # as in test
    for name in (MEAN, VARIANCE):
        np.testing.assert_array_equal(read(scope, name), before[name])
    assert (read(scope, "conv2d_0.w_0") != before["conv2d_0.w_0"]).any()
    # With constant statistics the gradient is a factor a channel.
    factor = scale / np.sqrt(before[VARIANCE] + EPSILON)
    np.testing.assert_allclose(inner, outer * factor[:, None, None], rtol=1e-4, atol=1e-7)
    legacy.run(classifier.train, given, [])  # the original still follows the batches
    assert (read(scope, MEAN) != before[MEAN]).any()


def test_statistics_become_the_mean_over_batches(legacy, rng):
    classifier, scope = start(legacy), static.global_scope()
    write(scope, legacy.place, MEAN, np.full(6, 99, np.float32))
    feeds = [{classifier.image: feed(classifier, rng)[classifier.image]} for _ in range(3)]
    block = classifier.test.global_block()
    before = next(op for op in block.ops if op.type == "batch_norm").input("X")[0]
    seen = [legacy.run(classifier.test, given, [before])[0] for given in feeds]
    assert reestimate_statistics(legacy, classifier.test, scope, feeds) == 4
    means = np.mean([values.mean(axis=(0, 2, 3)) for values in seen], axis=0)
    variances = np.mean([values.var(axis=(0, 2, 3)) for values in seen], axis=0)
    np.testing.assert_allclose(read(scope, MEAN), means, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read(scope, VARIANCE), variances, rtol=1e-3)
    assert all(op.attr("is_test") for op in block.ops if op.type == "batch_norm")


def test_statistics_need_batches(legacy):
    classifier = start(legacy)
    with pytest.raises(ValueError, match="need at least one batch, got none"):
        reestimate_statistics(legacy, classifier.test, static.global_scope(), [])
