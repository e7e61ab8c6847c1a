from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import static

from paddle_custom_quant.scope import read, write
from paddle_custom_quant.training.classifier import build_classifier
from paddle_custom_quant.training.divergence import (
    Diverged,
    first_invalid,
    invalid_values,
    likely_cause,
)
from paddle_custom_quant.training.how import How
from paddle_custom_quant.training.recipe_run import run_recipe
from paddle_custom_quant.training.stage_programs import build_stage
from paddle_custom_quant.training.start_check import start_report
from paddle_custom_quant.training.tensor_file import read_tensors
from tests.training.tiny_recipe import recipe, some_digits

DATA = some_digits()
QUIET = How(workers=0, tell=lambda line: None)


def start(executor, net):
    classifier = build_classifier(net, (1, 28, 28), 10)
    paddle.seed(3)
    executor.run(classifier.startup)
    return classifier


def feed(classifier, images):
    return {classifier.image: images, classifier.label: np.zeros((len(images), 1), np.int64)}


def scaled(executor, name, factor):
    scope = static.global_scope()
    write(scope, executor.place, name, read(scope, name) * np.float32(factor))


def find(executor, classifier, images):
    given = feed(classifier, images)
    return first_invalid(executor, classifier.train, given, classifier.loss)


def test_nothing_is_found_in_a_sound_step(legacy, rng):
    classifier = start(legacy, "LeNetBN")
    images = rng.normal(size=(8, 1, 28, 28)).astype(np.float32)
    assert find(legacy, classifier, images) is None


def test_an_overflow_is_found_in_its_layer(legacy, rng):
    classifier = start(legacy, "LeNet")
    scaled(legacy, "conv2d_1.w_0", 1e38)
    origin = find(legacy, classifier, 100 + rng.random((8, 1, 28, 28)).astype(np.float32))
    assert (origin.layer, origin.operator, origin.backward) == ("conv2d_1", "conv2d", False)


def test_an_overflow_of_gradients_is_found_in_its_layer(legacy):
    classifier = start(legacy, "LeNet")
    # Black images leave every output at zero, but not the gradients.
    for name in ("linear_1.w_0", "linear_2.w_0"):
        scaled(legacy, name, 1e25)
    origin = find(legacy, classifier, np.zeros((8, 1, 28, 28), np.float32))
    assert (origin.layer, origin.operator, origin.backward) == ("linear_1", "matmul_v2_grad", True)
    assert "gradient" in str(origin) and "layer linear_1" in str(origin)


def cause(programs, origin=None, bits=None):
    return likely_cause(programs.train, programs.scope, origin, 0.5, bits)


def test_causes(legacy):
    programs = build_stage(recipe(), "quantized", 0, DATA, None)
    assert cause(programs) == "the learning rate 0.5: lower it, or warm up longer"
    assert "gradients of 8 bits" in cause(programs, bits=8)
    scope, place = programs.scope, legacy.place
    variance = "batch_norm2d_1.w_2"
    write(scope, place, variance, read(scope, variance) * 0)
    assert "batch-norm ratio" in cause(programs, bits=8) and "batch_norm2d_1" in cause(programs)
    alpha = next(v.name for v in programs.train.list_vars() if v.name.endswith(".alpha"))
    write(scope, place, alpha, np.zeros_like(read(scope, alpha)))
    assert f"the scale {alpha} is at zero" in cause(programs)


def test_a_run_that_diverges_stops_and_keeps_its_last_checkpoint(tmp_path):
    wild = {"epochs": 3, "learning_rate": 1e20, "schedule": {"kind": "constant", "warmup": 2}}
    with pytest.raises(Diverged) as error:
        how = How(workers=0, tell=lambda line: None, checkpoint_every=1)
        run_recipe(recipe(float=wild), DATA, tmp_path, how)
    text = str(error.value)
    assert "stage float diverged at step" in text and "it began in layer" in text
    assert "Likely cause: the learning rate" in text
    (kept,) = (tmp_path / "seed-0").iterdir()
    values, state = read_tensors(kept)
    assert f"Last good checkpoint: that of step {state['step']} is kept" in text
    assert not invalid_values(values)


# DoReFa bounds the weights: a rate far too high makes the net useless, not infinite. LSQ does not.
@pytest.mark.parametrize(
    ("weights", "rate", "message"),
    [
        (
            "dorefa",
            1.5,
            r"accuracy collapsed: after 12 steps .* it begins in layer .*"
            r"Likely cause: the (learning rate 1|batch-norm ratio)",
        ),
        (
            "lsq",
            3.0,
            r"quantized diverged at step \d+: .* it began in .*Likely cause: the learning rate",
        ),
    ],
)
def test_a_quantized_stage_that_goes_wrong_at_the_start(tmp_path, weights, rate, message):
    held = recipe(
        float={"epochs": 4, "learning_rate": 0.02},
        quantized={"epochs": 2, "learning_rate": rate, "collapse_after": 12},
        quantizers={
            "weights": {"method": weights, "bits": 4},
            "activations": {"method": "lsq", "bits": 4},
        },
    )
    with pytest.raises(Diverged, match=message):
        run_recipe(held, DATA, tmp_path, QUIET)
    assert (tmp_path / "seed-0" / "float.safetensors").exists()


def test_a_loss_that_jumps_is_told_with_its_causes(legacy):
    held = recipe(quantized={"epochs": 1, "learning_rate": 0.01})
    programs = build_stage(held, "quantized", 0, DATA, None)
    assert start_report(1.4, 0.5, programs, held.quantized, held) == ""
    told = start_report(3.0, 0.5, programs, held.quantized, held)
    assert "starts with a loss of 3.000, the float net had 0.500" in told
    assert "above a tenth of float's" in told and "DoReFa changes the scale" in told


def test_outputs_that_are_not_finite_end_the_run(tmp_path, monkeypatch):
    def broken(executor, program, classifier, images):
        return np.full((len(images), 10), np.nan, np.float32)

    monkeypatch.setattr("paddle_custom_quant.training.stage_training.predict", broken)
    with pytest.raises(Diverged, match="outputs on test images are not finite; it began in no"):
        run_recipe(recipe(float={"epochs": 0.2, "learning_rate": 0.01}), DATA, tmp_path, QUIET)
