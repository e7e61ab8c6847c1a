"""Facts while training, against NumPy and a loop, and as VisualDL reads them back."""

from __future__ import annotations

import numpy as np
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.inspection.oscillation import Oscillation
from paddle_custom_quant.training.checkpoint import set_values, values_of
from tests.inspection.conftest import CPU


def value(built, name):
    return np.array(built.scope.find_var(name).get_tensor())


def test_facts(built, rng):
    live = pcq.LiveFacts(built.train, built.scope)
    image = rng.standard_normal([4, 3, 6, 6]).astype("float32") * 5
    facts = live.measure({"image": image})
    step, alpha = value(built, "conv2d_0.w_0.lsq.step"), value(built, "image.pact.alpha")[0]
    assert facts["step/conv2d_0.w_0"] == pytest.approx(step.min())
    assert facts["clip/conv2d_0.w_0"] == pytest.approx(7 * step.max())
    assert [facts["alpha/image"], facts["clip/image"]] == pytest.approx([alpha, alpha])
    assert facts["clipped/image"] == pytest.approx(100 * np.mean((image < 0) | (image > alpha)))
    assert facts["oscillating/conv2d_0.w_0"] == 0
    assert live.activations == ["image", "flatten_0.tmp_0"]


def test_facts_follow_the_scope(built):
    live = pcq.LiveFacts(built.train, built.scope, momentum=0.5)
    tensor = built.scope.find_var("linear_0.w_0").get_tensor()
    start = value(built, "linear_0.w_0")
    step = value(built, "linear_0.w_0.lsq.step")
    try:
        shares = []
        for move in (0, 1, 0, 1):
            tensor.set(start + (move * step).astype("float32"), CPU)
            shares.append(live.measure()["oscillating/linear_0.w_0"])
    finally:
        tensor.set(start, CPU)
    assert shares[:2] == [0, 0] and shares[2] > 50 and shares[3] >= shares[2]


def test_oscillation_against_a_loop(rng):
    momentum, threshold = 0.2, 0.1
    series = rng.integers(-2, 3, [40, 30])
    found = Oscillation(momentum, threshold)
    frequency, direction = np.zeros(30), np.zeros(30)
    for t, integers in enumerate(series):
        share = found.update(integers.astype("float32"))
        for i in range(30):
            change = np.sign(integers[i] - series[t - 1][i]) if t else 0
            event = change != 0 and change == -direction[i]
            if t:
                frequency[i] = momentum * event + (1 - momentum) * frequency[i]
            direction[i] = change or direction[i]
        assert share == pytest.approx((frequency > threshold).mean())


def test_visualdl_reads_it_back(built, tmp_path):
    visualdl = pytest.importorskip("visualdl")
    with pcq.LiveBoard(tmp_path, built.train, built.scope, every=2) as board:
        for step in range(4):
            board.record(step, {"loss": 1 / (step + 1)})
    (file,) = tmp_path.glob("*.log")
    reader = visualdl.LogReader(file_path=str(file))
    losses = reader.get_data("scalar", "loss")
    steps = reader.get_data("scalar", "step/conv2d_0.w_0")
    assert [(d.id, d.value) for d in losses] == [(i, pytest.approx(1 / (i + 1))) for i in range(4)]
    assert [d.id for d in steps] == [0, 2]
    assert steps[0].value == pytest.approx(value(built, "conv2d_0.w_0.lsq.step").min())


def test_wrong_use(built, tmp_path):
    with pytest.raises(ValueError, match="no quantizers"):
        pcq.LiveFacts(built.float_train, built.scope)
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        pcq.LiveBoard(tmp_path, built.train, built.scope, every=0)
    with pytest.raises(ValueError, match="momentum"):
        Oscillation(momentum=0)


def test_works_while_training(built, rng):
    with pcq.legacy_static(), static.scope_guard(built.scope):
        before = values_of(built.train, built.scope)
        live = pcq.LiveFacts(built.train, built.scope)
        names = live.activations
        values = built.executor.run(built.train, feed=built.feed(rng), fetch_list=names)
        facts = live.measure(dict(zip(names, values)))
        set_values(before, built.scope, CPU)
    assert 0 <= facts["clipped/flatten_0.tmp_0"] <= 100
