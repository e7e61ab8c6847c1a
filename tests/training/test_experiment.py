from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant.training.checkpoint import set_values, values_of
from paddle_custom_quant.training.data import load_digits
from paddle_custom_quant.training.experiment import Experiment, Settings

DIGITS = load_digits()
SHORT = Settings(iterations=4, batch_size=16)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"net": "VGG"}, "net must be one of LeNet, LeNetBN, .*got 'VGG'"),
        ({"weight": "x"}, "weights: the method must be one of"),
        ({"activation_bits": 17}, "activations: bits must be between 1 and 16, got 17"),
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
        ({"batch_size": -2}, "batch_size must be at least 1, got -2"),
        ({"seed": 2**31}, "seed must be between 0 and 2147483647"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_refuse(values, message):
    with pytest.raises(ValueError, match=message):
        Settings(**values)


def test_bits_that_are_no_integer():
    with pytest.raises(TypeError, match=r"weights: bits must be an integer, got 4\.0"):
        Settings(weight_bits=4.0)


def test_epochs_round_up_to_whole_batches():
    assert Settings(batch_size=64).for_epochs(1, 60_000).iterations == 938
    assert Settings(batch_size=10).for_epochs(3, 20).iterations == 6


def test_batch_larger_than_the_data(legacy):
    with pytest.raises(ValueError, match="at most the 1437 training images of scikit-learn digits"):
        Experiment(Settings(batch_size=1438), DIGITS)


def test_quantized_training_goes_on_from_the_float_weights_alone(legacy):
    """Nothing but parameters and statistics is taken over: no optimizer state, no image order."""
    one = Experiment(SHORT, DIGITS)
    one.train_float()
    trained = values_of(one.classifier.test, one.scope)
    quantized = one.train_quantized()

    other = Experiment(SHORT, DIGITS)
    other.executor.run(other.classifier.startup, scope=other.scope)
    set_values(trained, other.scope, other.place)
    assert other.train_quantized().curve == quantized.curve


def test_from_scratch_forgets_the_float_weights(legacy):
    settings = Settings(iterations=4, batch_size=16, from_scratch=True)
    one, other = Experiment(settings, DIGITS), Experiment(settings, DIGITS)
    one.train_float()
    assert one.train_quantized().curve == other.train_quantized().curve


def test_steps_are_reported_by_stage(legacy):
    seen = []
    experiment = Experiment(SHORT, DIGITS, lambda *step: seen.append(step))
    float_stage, quantized = experiment.train_float(), experiment.train_quantized()
    assert [step[:2] for step in seen] == [
        (name, number) for name in ("float", "quantized") for number in range(1, 5)
    ]
    assert [step[2] for step in seen] == float_stage.curve.loss + quantized.curve.loss
    assert quantized.logits.shape == (360, 10) and np.isfinite(quantized.logits).all()
