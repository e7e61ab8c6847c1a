from __future__ import annotations

import math

import pytest

from paddle_custom_quant.training.learning_rate import LearningRate
from paddle_custom_quant.training.recipe import Schedule, Stage


def rates(epochs=4, epoch=10, **schedule):
    stage = Stage(epochs=epochs, learning_rate=0.2, schedule=Schedule(**schedule))
    made = LearningRate(stage, epoch, epochs * epoch)
    return [made.at(step) for step in range(epochs * epoch)]


def test_constant_and_step():
    assert set(rates(kind="constant")) == {0.2}
    expected = [0.2] * 10 + [0.1] * 15 + [0.05] * 15
    assert rates(kind="step", at=[1.0, 2.5], factor=0.5) == pytest.approx(expected)


def test_cosine_with_warmup():
    found = rates(kind="cosine", warmup=1.0, final=0.1)
    assert found[:10] == pytest.approx([0.02 * (step + 1) for step in range(10)])
    expected = [0.02 + 0.18 * (1 + math.cos(math.pi * k / 30)) / 2 for k in range(30)]
    assert found[10:] == pytest.approx(expected)


def test_plateau_falls_after_epochs_without_a_lower_loss():
    stage = Stage(epochs=9, learning_rate=1.0, schedule=Schedule(kind="plateau", factor=0.5))
    made, found = LearningRate(stage, 1, 9), []
    for loss in (3.0, 2.0, 2.0, 2.5, 1.0, 1.0, 1.1, 1.2, 1.3):
        found.append(made.at(len(found)))
        made.epoch_ended(loss)
    assert found == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    other = LearningRate(stage, 1, 9)
    other.state = dict(made.state)
    assert other.at(9) == made.at(9) == 0.125
