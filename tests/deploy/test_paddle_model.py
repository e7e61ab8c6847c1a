"""What stands in the Paddle files, and that it computes what was trained."""

from __future__ import annotations

import errno
import os

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn, static

from paddle_custom_quant import PerLayer
from paddle_custom_quant.compat import PADDLE3
from paddle_custom_quant.deploy import export, freeze, run_reference, write_paddle
from paddle_custom_quant.deploy import storage as storage_module
from paddle_custom_quant.deploy.paddle_model import build_program
from paddle_custom_quant.deploy.worker import measure
from paddle_custom_quant.inspection.reading import read_model
from paddle_custom_quant.quantizers import LSQ, PACT, AbsMax, DoReFaActivation, DoReFaWeight

from .trained import CLASSES, activations, as_written, images, trained

METHODS = {
    "lsq-w2a2": (LSQ(2, per_channel=True), activations(2)),
    "lsq-w8a8": (LSQ(8, per_channel=True), activations(7)),
    "pact-w4a4": (DoReFaWeight(4), activations(4, lambda b, signed: PACT(b, alpha=3.0))),
    "dorefa-w4a4": (DoReFaWeight(4), activations(4, lambda b, signed: DoReFaActivation(b))),
    "dorefa-w8a7": (DoReFaWeight(8), activations(7, lambda b, signed: DoReFaActivation(b))),
}
needs_255 = pytest.mark.skipif(not PADDLE3, reason="Paddle 2.6 has no unsigned 8-bit grid")


@pytest.mark.parametrize("method", METHODS)
def test_program_computes_what_the_reference_does_with_its_weights(method):
    held = trained(*METHODS[method], steps=4)
    frozen = freeze(held.program, held.scope)
    batch = images(np.random.default_rng(1), 16)
    scope = static.Scope()
    with static.scope_guard(scope):
        writer = build_program(frozen, scope)
        (got,) = static.Executor(paddle.CPUPlace()).run(
            writer.program, {"image": batch}, fetch_list=list(frozen.outputs)
        )
    expected = run_reference(as_written(frozen), {"image": batch})[frozen.outputs[0]]
    assert np.abs(got - expected).max() <= 1e-4 * np.ptp(expected)


@pytest.fixture(scope="module")
def path(tmp_path_factory, frozen):
    path = tmp_path_factory.mktemp("model") / "model"
    write_paddle(frozen, path)
    return path


def test_file_holds_standard_operators_and_every_name_once(path):
    model = read_model(path)
    kinds = {op.kind for op in model.operators}
    assert not {k for k in kinds if k.startswith(("fake_", "pcq_")) or "moving_average" in k}
    assert {"quantize_linear", "dequantize_linear", "conv2d"} <= kinds
    known = set(paddle.base.core.get_all_op_names()) if hasattr(
        paddle.base.core, "get_all_op_names") else kinds  # fmt: skip
    assert kinds <= known | {"feed", "fetch"}
    written = [name for op in model.operators for name in op.writes]
    assert len(written) == len(set(written))


def test_file_tells_nothing_of_this_machine(path):
    content = path.with_suffix(".pdmodel").read_bytes()
    assert os.getcwd().encode() not in content and b"op_callstack" not in content


def test_weights_are_stored_as_int8(path, frozen):
    model = read_model(path)
    stored = [name for name in model.values if name.endswith(".int8")]
    assert len(stored) == len(frozen.weights)
    assert all(model.values[name].dtype == np.int8 for name in stored)


def test_onednn_runs_every_layer_on_integers(path, batch):
    measured = measure("paddle-onednn-int8", path, {"image": batch}, batch_size=8)
    assert len(measured.kernels) == 5 and all(k.integer for k in measured.kernels)


@pytest.mark.parametrize("bits", [4, pytest.param(8, marks=needs_255)])
def test_onednn_is_exact_where_the_largest_weight_of_a_channel_is_127(tmp_path, batch, bits):
    def chain(x):
        x = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, padding=1)(x)))
        x = F.max_pool2d(F.relu(nn.Conv2D(8, 12, 3)(x)), 2)
        return nn.Linear(108, CLASSES)(paddle.flatten(x, 1))

    rules = {"image": PACT(8, alpha=2.0, signed=True)}
    inputs = PerLayer(rules, default=LSQ(bits, signed=False))
    held = trained(AbsMax(8, per_channel=True), inputs, chain, ops=["conv2d", "matmul_v2"])
    write_paddle(freeze(held.program, held.scope), tmp_path / "m")
    measured = measure("paddle-onednn-int8", tmp_path / "m", {"image": batch})
    (expected,) = held.run(batch)
    assert len(measured.kernels) == 3 and all(k.integer for k in measured.kernels)
    off = np.abs(measured.outputs[0] - expected).max(axis=1) > 1e-4 * np.ptp(expected)
    # A value on a rounding boundary may fall to either side in float32.
    assert off.mean() < 0.1


def test_existing_files_are_kept_unless_told(path, frozen):
    before = path.with_suffix(".pdiparams").read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_paddle(frozen, path)
    assert path.with_suffix(".pdiparams").read_bytes() == before
    write_paddle(frozen, path, overwrite=True)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_old_files_stay_whole_when_writing_fails(tmp_path, net, monkeypatch, error):
    for suffix in (".pdmodel", ".pdiparams"):
        (tmp_path / f"model{suffix}").write_bytes(b"old")
    calls = []

    def fail(number):
        calls.append(number)
        if len(calls) == 2:
            raise error

    monkeypatch.setattr(storage_module.os, "fsync", fail)
    with pytest.raises(type(error)):
        export(net.program, net.scope, tmp_path / "model", ["paddle"], overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pdiparams", "model.pdmodel"]
    assert all(p.read_bytes() == b"old" for p in tmp_path.iterdir())


def test_unknown_format_is_refused(net, tmp_path):
    with pytest.raises(ValueError, match="paddle, paddle-onednn, paddle-float, onnx"):
        export(net.program, net.scope, tmp_path / "model", ["tflite"])
