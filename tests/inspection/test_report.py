"""The layer report against the same facts computed by hand, and its pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.inspection.pictures import write_pictures
from tests.inspection.conftest import CPU


@pytest.fixture(scope="module")
def batches(built):
    rng = np.random.default_rng(0)
    return [built.feed(rng, 16) for _ in range(3)]


@pytest.fixture(scope="module")
def report(built, batches):
    return pcq.layer_report(built.test, batches, built.scope, output=built.output, label="label")


def fetch(built, program, batches, name):
    with pcq.legacy_static(), static.scope_guard(built.scope):
        return np.concatenate(
            [static.Executor(CPU).run(program, feed=feed, fetch_list=[name])[0] for feed in batches]
        )


def ratio(x, q):
    x, q = x.astype("float64"), q.astype("float64")
    return 10 * np.log10((x**2).sum() / ((x - q) ** 2).sum())


def test_layers(report):
    assert [(f.layer, f.operator, f.weight_bits, f.activation_bits) for f in report.layers] == [
        ("conv2d_0.w_0", "conv2d", 4, 3), ("linear_0.w_0", "matmul_v2", 4, 3),
    ]  # fmt: skip


def test_weights(built, report):
    value = np.array(built.scope.find_var("conv2d_0.w_0").get_tensor())
    step = np.array(built.scope.find_var("conv2d_0.w_0.lsq.step").get_tensor()).reshape(4, 1, 1, 1)
    integers = np.clip(np.rint(value / step), -8, 7)
    found = report.layers[0].weight
    assert found.snr == pytest.approx(ratio(value, integers * step), rel=1e-4)
    assert found.levels_used == len(np.unique(integers)) / 16
    assert found.clipped == pytest.approx(np.mean(np.abs(value + step / 2) > 7.5 * step), abs=1e-6)


def test_activations(built, report, batches):
    x = fetch(built, built.test, batches, "flatten_0.tmp_0")
    alpha = float(np.array(built.scope.find_var("flatten_0.tmp_0.pact.alpha").get_tensor())[0])
    q = np.rint(np.clip(x, 0, alpha) * 7 / alpha) * alpha / 7
    found = report.layers[1].activation
    assert found.snr == pytest.approx(ratio(x, q), rel=1e-3)
    assert found.clipped == pytest.approx(np.mean((x < 0) | (x > alpha)), abs=1e-4)


def test_outputs_and_float_score(built, report, batches):
    """The float program is the one before quantization, over the same values."""
    name = report_output(built)
    x = fetch(built, built.float_test, batches, name)
    q = fetch(built, built.test, batches, name)
    assert report.layers[1].output.snr == pytest.approx(ratio(x, q), rel=1e-3)
    labels = np.concatenate([b["label"] for b in batches]).ravel()
    for program, score in (
        (built.float_test, report.float_score), (built.test, report.quantized_score),
    ):  # fmt: skip
        logits = fetch(built, program, batches, built.output)
        assert score == pytest.approx(100 * (logits.argmax(1) == labels).mean())


def report_output(built):
    ops = built.float_test.global_block().ops
    return next(op.output("Out")[0] for op in ops if op.type == "matmul_v2")


def test_sensitivity_is_that_of_a_program_with_one_quantized_layer(built, report, batches):
    """Quantized by hand: only the first layer gets quantizers, with the same parameters."""
    rules = {
        "weight_quantize_func": {"conv2d_0": pcq.quantizers.LSQ(4, per_channel=True)},
        "act_quantize_func": {"conv2d_0": pcq.quantizers.PACT(3)},
    }
    with pcq.legacy_static(), static.scope_guard(built.scope):
        alone = pcq.quant_aware(
            built.float_test, CPU, {"quantize_op_types": ["conv2d", "matmul_v2"]}, for_test=True,
            scope=built.scope, **{key: pcq.PerLayer(value) for key, value in rules.items()},
        )  # fmt: skip
    logits = fetch(built, alone, batches, built.output)
    labels = np.concatenate([b["label"] for b in batches]).ravel()
    score = 100 * (logits.argmax(1) == labels).mean()
    assert report.layers[0].score == pytest.approx(score)
    assert report.layers[0].lost == pytest.approx(report.float_score - score)


def test_own_metric(built, batches):
    found = pcq.layer_report(
        built.test, batches[:1], built.scope, output=built.output,
        metric=lambda values, feed: float(values.shape[0] + len(feed)),
    )  # fmt: skip
    assert (found.float_score, found.layers[0].lost) == (18, 0)


def test_table_data_and_pictures(report, tmp_path):
    pytest.importorskip("matplotlib")
    text = str(report)
    assert "conv2d_0.w_0" in text and "4/3" in text
    data = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert data["layers"][0]["layer"] == "conv2d_0.w_0"
    files = write_pictures(report, tmp_path / "pictures")
    assert [f.name for f in files] == ["sensitivity.png", "weights.png", "activations.png"]
    assert all(f.read_bytes().startswith(b"\x89PNG") and f.stat().st_size > 5000 for f in files)


@pytest.mark.parametrize(
    ("program", "feeds", "options", "text"),
    [
        ("test", 0, {}, "at least one batch"),
        ("train", 1, {}, "this is a training program"),
        ("float_test", 1, {}, "no quantized layer"),
        ("test", 1, {"output": "x"}, "an output needs a metric"),
        ("test", 1, {"output": "fc", "label": "labels"}, "labels|fc"),
    ],
)
def test_wrong_use(built, batches, program, feeds, options, text):
    with pytest.raises(ValueError, match=text):
        pcq.layer_report(getattr(built, program), batches[:feeds], built.scope, **options)
