from __future__ import annotations

import numpy as np
import pytest
from paddle import static

from paddle_custom_quant.scope import read, write
from paddle_custom_quant.training.data import batches
from paddle_custom_quant.training.metrics import score
from paddle_custom_quant.training.stage_programs import build_stage
from tests.training.tiny_recipe import recipe, some_digits

DATA = some_digits(40, 10)
SHORT = {"epochs": 1, "learning_rate": 0.01}
NAME = "conv2d_0.w_0"


def run(programs, program, fetch):
    classifier = programs.classifier
    feed = {
        classifier.image: DATA.train.inputs(slice(8)),
        classifier.label: DATA.train.labels[:8, None],
    }
    with static.scope_guard(programs.scope):
        return programs.executor.run(program, feed=feed, fetch_list=fetch)[0]


def test_constrained_nets_compute_with_clipped_weights(legacy):
    held = recipe(constrain={**SHORT, "weights": 1.0})
    clamped = build_stage(held, "constrain", 3, DATA, None)
    plain = build_stage(held, "float", 3, DATA, None)
    names = [v.name for v in plain.test.list_vars() if v.name.endswith(".w_0")]
    for name in names:
        w = read(plain.scope, name)
        np.testing.assert_array_equal(read(clamped.scope, name), w)  # kept as they are
        if w.ndim > 1:
            bound = np.abs(w).mean()
            write(plain.scope, legacy.place, name, np.clip(w, -bound, bound))
    ours = run(clamped, clamped.test, [clamped.classifier.logits])
    expected = run(plain, plain.test, [plain.classifier.logits])
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_smoothed_labels_and_decay(legacy):
    smooth = build_stage(recipe(label_smoothing=0.2), "float", 3, DATA, None)
    plain = build_stage(recipe(label_smoothing=0.0), "float", 3, DATA, None)
    labels = DATA.train.labels[:8]
    logits = run(plain, plain.train, [plain.classifier.logits])
    every = [score(logits, np.full(8, c)).loss for c in range(10)]
    expected = 0.8 * score(logits, labels).loss + 0.2 * np.mean(every)
    assert run(smooth, smooth.train, [smooth.classifier.loss]) == pytest.approx(expected, rel=1e-5)
    momenta = [op for op in plain.train.global_block().ops if op.type == "momentum"]
    assert all(op.attr("use_nesterov") for op in momenta)
    assert {round(op.attr("regularization_coeff"), 8) for op in momenta} == {1e-4}


def test_the_two_rates_reach_the_two_optimizers(legacy):
    programs = build_stage(recipe(), "quantized", 3, DATA, None)
    alpha = next(v.name for v in programs.train.list_vars() if v.name.endswith(".alpha"))

    def changed(net, quantizers):
        before = {name: read(programs.scope, name) for name in (NAME, alpha)}
        programs.set_rates(net, quantizers)
        run(programs, programs.train, [programs.classifier.loss])
        return [(read(programs.scope, name) != old).any() for name, old in before.items()]

    assert changed(0.0, 0.0) == [False, False]
    assert changed(0.1, 0.0) == [True, False]
    programs = build_stage(recipe(), "quantized", 3, DATA, None)
    assert changed(0.0, 0.1) == [False, True]


def test_values_of_another_net(legacy):
    programs = build_stage(recipe(), "float", 3, DATA, None)
    values = programs.values()
    values.pop(NAME)
    with pytest.raises(ValueError, match=rf"does not agree on 1 of \d+ tensors, such as '{NAME}'"):
        programs.set_values(values)
    other = build_stage(recipe(), "quantized", 3, DATA, None)
    with pytest.raises(ValueError, match="of another net or other quantizers"):
        other.set_values(programs.values())


def test_an_observer_chooses_the_ranges_of_activations(legacy):
    def steps(**changes):
        quantizers = {
            role: {"method": "lsq", "bits": 4} for role in ("weights", "activations")
        }  # fmt: skip
        held = recipe(quantizers=quantizers, quantized={**SHORT, "calibration": 1, **changes})
        programs = build_stage(held, "quantized", 3, DATA, None)
        names = sorted(v.name for v in programs.train.list_vars() if v.name.endswith(".step"))
        return {name: float(read(programs.scope, name)[0]) for name in names}, programs

    found, programs = steps(observer="min-max")
    order = batches(len(DATA.train), 16, 1, 3)
    seen = next(iter(order))
    read_by = [op for op in programs.classifier.test.global_block().ops if op.type == "conv2d"][1]
    (name,) = read_by.input("Input")
    feed = {programs.classifier.image: DATA.train.inputs(seen)}
    with static.scope_guard(programs.scope):
        (values,) = programs.executor.run(
            programs.classifier.test, feed=feed, fetch_list=[name]
        )  # fmt: skip
    step = next(value for key, value in found.items() if key.startswith(name))
    assert step == pytest.approx(values.max() / 15, rel=1e-5)
    assert found != steps()[0]
