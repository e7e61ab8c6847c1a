from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import static

from paddle_custom_quant.training.classifier import build_classifier
from paddle_custom_quant.training.data import batches, load_digits
from paddle_custom_quant.training.metrics import score
from paddle_custom_quant.training.trainer import predict, train

DIGITS = load_digits()


def start(executor, seed=5, **kwargs):
    classifier = build_classifier("LeNetBN", (1, 28, 28), 10, **kwargs)
    paddle.seed(seed)
    executor.run(classifier.startup)
    return classifier


def fit(executor, classifier, iterations=40, seed=5, **kwargs):
    return train(
        executor,
        classifier.train,
        classifier,
        DIGITS.train,
        iterations=iterations,
        batch_size=32,
        seed=seed,
        **kwargs,
    )


def test_training_learns_and_reports(legacy):
    classifier = start(legacy)
    seen = []
    curve = fit(legacy, classifier, on_step=lambda *step: seen.append(step))
    assert seen == list(zip(range(1, 41), curve.loss, curve.top1))
    assert np.mean(curve.loss[-5:]) < 0.5 * np.mean(curve.loss[:5])
    logits = predict(legacy, classifier.test, classifier, DIGITS.test)
    assert score(logits, DIGITS.test.labels).top1 > 80


def test_first_loss_and_top1_are_those_of_the_start_values(legacy):
    classifier = start(legacy, learning_rate=0.0)
    curve = fit(legacy, classifier, iterations=3)
    for step, batch in enumerate(batches(len(DIGITS.train), 32, 3, seed=5)):
        feed = {"image": DIGITS.train.inputs(batch), "label": DIGITS.train.labels[batch][:, None]}
        (logits,) = legacy.run(classifier.train, feed=feed, fetch_list=[classifier.logits])
        expected = score(logits, DIGITS.train.labels[batch])
        assert curve.loss[step] == pytest.approx(expected.loss, rel=1e-5)
        assert curve.top1[step] == pytest.approx(expected.top1)


def test_same_seed_same_numbers(legacy):
    curves = []
    for seed in (5, 5, 6):
        with static.scope_guard(static.Scope()):
            classifier = start(legacy, seed)
            curves.append(fit(legacy, classifier, iterations=8, seed=seed).loss)
    assert curves[0] == curves[1] != curves[2]


def test_predict_keeps_the_order_over_several_batches(legacy):
    classifier = start(legacy)
    logits = predict(legacy, classifier.test, classifier, DIGITS.train)
    assert logits.shape == (1437, 10)
    for index in (0, 499, 500, 1436):
        feed = {"image": DIGITS.train.inputs([index])}
        (alone,) = legacy.run(classifier.test, feed=feed, fetch_list=[classifier.logits])
        np.testing.assert_allclose(logits[index], alone[0], rtol=1e-4, atol=1e-5)


def test_divergence_stops_with_the_iteration(legacy):
    classifier = start(legacy, learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf|-inf) at iteration \d+: try"):
        fit(legacy, classifier)
