"""Post-training quantization: a float net and a few batches."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.qat.layers import find_layers
from paddle_custom_quant.scope import read
from paddle_custom_quant.training.classifier import build_classifier
from paddle_custom_quant.training.data import load_digits
from paddle_custom_quant.training.metrics import score
from paddle_custom_quant.training.trainer import predict, train

DATA = load_digits()


class Float:
    """A net with batch norm, trained in float."""

    def __init__(self) -> None:
        self.scope, self.executor = static.Scope(), static.Executor(paddle.CPUPlace())
        paddle.seed(0)
        with static.scope_guard(self.scope):
            self.net = build_classifier("LeNetBN", DATA.train.shape, DATA.classes)
            self.executor.run(self.net.startup)
            settings = {"iterations": 120, "batch_size": 64, "seed": 0}
            train(self.executor, self.net.train, self.net, DATA.train, **settings)
        self.batches = [
            {self.net.image: DATA.train.inputs(slice(at, at + 64))} for at in range(0, 256, 64)
        ]

    def top1(self, program, scope) -> float:
        with static.scope_guard(scope):
            logits = predict(self.executor, program, self.net, DATA.test)
        return score(logits, DATA.test.labels).top1

    def values(self) -> dict[str, np.ndarray]:
        names = [v.name for v in self.net.test.list_vars() if v.persistable]
        held = {name: read(self.scope, name) for name in names}
        return {name: value for name, value in held.items() if value is not None}

    def quantize(self, setting="onnxruntime", **settings):
        return pcq.quantize_post_training(
            self.net.test, self.batches, setting, scope=self.scope, **settings
        )


@pytest.fixture(scope="module")
def trained():
    with pcq.legacy_static():
        return Float()


@pytest.fixture(autouse=True)
def old_programs():
    with pcq.legacy_static():
        yield


@pytest.mark.parametrize("setting", ["academic", "tensorrt", "acl", "tvm", "onnxruntime"])
def test_eight_bits_cost_little_and_the_float_net_stays(trained, setting):
    before = trained.values()
    found = trained.quantize(setting)
    floats = trained.top1(trained.net.test, trained.scope)
    assert floats > 85 and trained.top1(found.program, found.scope) > floats - 2
    after = trained.values()
    assert set(before) == set(after)
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name], err_msg=name)
    norms = [op.type for op in found.program.global_block().ops].count("batch_norm")
    assert norms == (0 if pcq.backend(setting).folds_batch_norm else 4)
    assert len(found.corrected) == 5 and not found.rounded


def test_all_layers_run_on_integers(trained):
    pytest.importorskip("onnxruntime")
    found = trained.quantize("onnxruntime")
    images = DATA.test.inputs()
    pcq.deploy.round_biases(found.program, found.scope)
    row = pcq.deploy.compare(found.program, found.scope, images, engines=["onnxruntime"]).row(
        "onnxruntime"
    )
    assert row.integer_layers == row.all_layers == 5
    assert row.top1_agreement >= 0.995


def test_the_mean_of_each_channel_is_that_of_the_float_weight(trained):
    """By hand for the linear layers: E[x] W_float + bias = E[x] W_rounded + corrected bias."""
    plain = trained.quantize("tensorrt", weights=3, correct_biases=False)
    found = trained.quantize("tensorrt", weights=3)
    layers = [layer for layer in find_layers(found.program) if layer.kind == "matmul_v2"]
    assert len(layers) == 3
    feed = {
        key: np.concatenate([batch[key] for batch in trained.batches]) for key in trained.batches[0]
    }
    # The first of them reads what no corrected linear layer has changed.
    layer = layers[0]
    with static.scope_guard(found.scope):
        x, rounded = trained.executor.run(found.program, feed, [layer.input, layer.quantized])
    exact = read(plain.scope, layer.weight).astype("float64")
    mean = x.astype("float64").mean(axis=0)
    expected = read(plain.scope, layer.shift) + mean @ exact
    corrected = read(found.scope, layer.shift) + mean @ rounded.astype("float64")
    size = np.abs(mean @ (rounded - exact)).max()
    assert size > 1e-3
    np.testing.assert_allclose(corrected, expected, atol=0.02 * size)


def test_learned_rounding_is_closer_than_the_nearest(trained):
    nearest = trained.quantize("tensorrt", weights=3, activations=8, correct_biases=False)
    learned = trained.quantize(
        "tensorrt", weights=3, activations=8, correct_biases=False, round_weights=150
    )
    assert set(learned.rounded) == {layer.weight for layer in find_layers(learned.program)}
    inner = list(learned.rounded.values())[1:-1]
    assert max(inner) < 1 and min(inner) < 0.9, learned.rounded
    assert trained.top1(learned.program, learned.scope) >= trained.top1(
        nearest.program, nearest.scope
    )
    for layer in find_layers(learned.program):
        values, given = read(learned.scope, layer.weight), read(nearest.scope, layer.weight)
        target = layer.placed.target
        grid = layer.placed.stages[-1].grid(target, values)
        others = tuple(axis for axis in range(values.ndim) if axis != grid.axis)
        np.testing.assert_array_equal(
            np.abs(values).max(axis=others), np.abs(given).max(axis=others)
        )
        shape = [-1 if axis == grid.axis else 1 for axis in range(values.ndim)]
        steps = values / grid.step.reshape(shape)
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
        assert np.abs(values - given).max() <= 1.001 * grid.step.max()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"setting": "tensort"}, ValueError, "did you mean 'tensorrt'"),
        ({"weights": 0}, ValueError, "between 1 and 16, got 0|between 2 and 16"),
        ({"activations": "8"}, TypeError, "must be an integer, got '8'"),
        ({"activations": 0}, ValueError, "got 0"),
        ({"round_weights": -1}, ValueError, "round_weights must be .* got -1"),
    ],
)
def test_bad_settings(trained, settings, error, message):
    with pytest.raises(error, match=message):
        trained.quantize(**settings)


def test_without_batches_or_with_a_training_program(trained):
    with pytest.raises(ValueError, match="at least one batch"):
        pcq.quantize_post_training(trained.net.test, [], scope=trained.scope)
    with pytest.raises(ValueError, match="trains"):
        pcq.quantize_post_training(trained.net.train, trained.batches, scope=trained.scope)


@pytest.mark.parametrize("setting", ["acl", "snpe", "fbgemm"])
def test_zero_points_are_exported(trained, setting):
    """Eight bits with a zero point: integers that only uint8 holds."""
    pytest.importorskip("onnxruntime")
    found = trained.quantize(setting)
    pcq.deploy.round_biases(found.program, found.scope)
    images = DATA.test.inputs(slice(120))
    result = pcq.deploy.compare(
        found.program, found.scope, images,
        engines=["onnxruntime", "paddle", "paddle-onednn-int8"],
    )  # fmt: skip
    assert result.row("paddle").top1_agreement == 1
    assert result.row("paddle-onednn-int8").top1_agreement > 0.97
    row = result.row("onnxruntime")
    assert row.top1_agreement > 0.99 and row.integer_layers == row.all_layers == 5


@pytest.mark.parametrize("batches", [[np.zeros([2, 28])], {"image": np.zeros([2, 28])}])
def test_batches_that_are_no_feeds(trained, batches):
    with pytest.raises(TypeError, match="batches must be feeds"):
        pcq.quantize_post_training(trained.net.test, batches, scope=trained.scope)
