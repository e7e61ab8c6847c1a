"""The trained program in plain Paddle Inference: bit for bit, small, and nothing else changed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn, static

from paddle_custom_quant import FirstLast, PerLayer, use_onednn
from paddle_custom_quant.deploy import compare, export, freeze, load_program, write_paddle_float
from paddle_custom_quant.deploy.worker import measure
from paddle_custom_quant.inspection.reading import read_model
from paddle_custom_quant.quantizers import (
    LSQ,
    PACT,
    AbsMax,
    APoT,
    DoReFaActivation,
    DoReFaWeight,
    LQNet,
)
from paddle_custom_quant.scope import read

from .trained import CLASSES, images, trained

PLAIN = "paddle"
OPS = ["conv2d", "matmul_v2"]


def lenet(image):
    """Two convolutions with batch norm, max pools, two linear layers."""
    x = F.max_pool2d(F.relu(nn.BatchNorm2D(6)(nn.Conv2D(3, 6, 3, padding=1)(image))), 2)
    x = F.max_pool2d(F.relu(nn.BatchNorm2D(16)(nn.Conv2D(6, 16, 3, padding=1)(x))), 2)
    return nn.Linear(24, CLASSES)(F.relu(nn.Linear(64, 24)(paddle.flatten(x, 1))))


def thirds(w):
    return paddle.round(paddle.clip(w * 3.0, -1.0, 1.0) * 7.0) / 21.0


def inputs(default):
    """The image has a sign, what is behind a ReLU has none."""
    return PerLayer({"image": PACT(8, alpha=2.0, signed=True)}, default=default)


METHODS = {
    "lsq-w4a4": (LSQ(4, per_channel=True), inputs(LSQ(4, signed=False))),
    "lsq-w2a2": (LSQ(2, per_channel=True), inputs(LSQ(2, signed=False))),
    "lsq-w8a8": (LSQ(8, per_channel=True), inputs(LSQ(8, signed=False))),
    "dorefa-w4a4": (DoReFaWeight(4), inputs(DoReFaActivation(4))),
    "dorefa-w8a8": (DoReFaWeight(8), inputs(DoReFaActivation(8))),
    "pact-dorefa-w4a4": (DoReFaWeight(4), inputs(PACT(4, alpha=3.0))),
    "apot-w4a4": (APoT(4), inputs(LSQ(4, signed=False))),
    "lq-net-w3a4": (LQNet(3), inputs(LSQ(4, signed=False))),
    "function": (thirds, inputs(LSQ(4, signed=False))),
}


@pytest.mark.parametrize("method", METHODS)
def test_plain_paddle_gives_the_same_bits(method):
    held = trained(*METHODS[method], lenet, ops=OPS, steps=4)
    batch = images(np.random.default_rng(1), 150)  # a whole batch and a part of one
    row = compare(held.program, held.scope, batch, engines=[PLAIN]).row(PLAIN)
    assert row.ran, row.failed
    assert row.samples == 150 and row.largest == 0.0 and row.top1_agreement == 1


def test_residual_nets_too():
    held = trained(FirstLast(AbsMax(8, per_channel=True), LSQ(4, per_channel=True)), steps=4)
    batch = images(np.random.default_rng(1), 150)
    row = compare(held.program, held.scope, batch, engines=[PLAIN]).row(PLAIN)
    assert row.ran and row.largest == 0.0, row.failed


@pytest.mark.parametrize("strategy", [1, 4])
def test_nets_with_folded_batch_norm_too(strategy, batch):
    def folded(image):
        x = F.relu(nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3, bias_attr=False)(image)))
        return nn.Linear(8, CLASSES)(paddle.flatten(nn.AdaptiveAvgPool2D(1)(x), 1))

    held = trained(None, METHODS["lsq-w4a4"][1], folded, fold=strategy, ops=OPS, steps=4)
    row = compare(held.program, held.scope, batch, engines=[PLAIN]).row(PLAIN)
    assert row.ran and row.largest == 0.0, row.failed


@pytest.fixture(scope="module")
def path(tmp_path_factory, net):
    from paddle_custom_quant.compat import legacy_static

    path = tmp_path_factory.mktemp("float") / "net"
    with legacy_static():
        written = write_paddle_float(net.program, net.scope, path)
    assert [file.name for file in written] == ["net.float.pdmodel", "net.float.pdiparams"]
    return path


def test_file_holds_standard_operators_and_no_float_weight(path, frozen):
    model = read_model(f"{path}.float.pdmodel")
    kinds = {op.kind for op in model.operators}
    assert not {kind for kind in kinds if kind.startswith(("pcq_", "fake_"))}
    assert {"batch_norm", "conv2d", "cast"} <= kinds
    dtypes = Counter(str(value.dtype) for value in model.values.values())
    assert dtypes["int8"] + dtypes["uint8"] == len(frozen.weights) == 5
    stored = [v for v in model.values.values() if v.dtype == np.float32]
    assert max(value.size for value in stored) <= 16


def test_file_tells_nothing_of_this_machine(path):
    content = path.with_name("net.float.pdmodel").read_bytes()
    assert b"op_callstack" not in content


def test_existing_files_are_kept_unless_told(path, net):
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_paddle_float(net.program, net.scope, path)
    write_paddle_float(net.program, net.scope, path, overwrite=True)


def test_a_net_with_enough_weights_takes_less_than_a_third(batch):
    def wide(image):
        x = F.relu(nn.BatchNorm2D(32)(nn.Conv2D(3, 32, 3, padding=1)(image)))
        return nn.Linear(256, CLASSES)(F.relu(nn.Linear(2048, 256)(paddle.flatten(x, 1))))

    held = trained(*METHODS["lsq-w8a8"], wide, ops=OPS, steps=1)
    row = compare(held.program, held.scope, batch, engines=[PLAIN]).row(PLAIN)
    assert row.largest == 0.0
    assert row.size <= 0.3 * row.float_size


def test_the_given_scope_is_left_as_it_was(tmp_path):
    held = trained(steps=1)
    before = {name: held.value(name) for name in _values(held)}
    ops = [op.type for op in held.program.global_block().ops]
    write_paddle_float(held.program, held.scope, tmp_path / "net")
    assert read(held.scope, "conv2d_0.w_0.lsq") is None
    assert set(_values(held)) == set(before)
    for name, value in before.items():
        np.testing.assert_array_equal(held.value(name), value)
    assert [op.type for op in held.program.global_block().ops] == ops


def _values(held):
    found = [v.name for v in held.program.list_vars() if v.persistable]
    return [name for name in found if read(held.scope, name) is not None]


def test_program_of_a_file_gives_the_same_bits(tmp_path, net, batch):
    with static.scope_guard(net.scope):
        static.save(net.program, str(tmp_path / "saved"))
    program, scope = load_program(tmp_path / "saved")
    export(program, scope, tmp_path / "net", "paddle-float")
    measured = measure(PLAIN, tmp_path / "net.float", {"image": batch})
    np.testing.assert_array_equal(measured.outputs[0], net.run(batch)[0])


def test_an_output_in_the_middle(tmp_path, net, batch):
    middle = next(op for op in net.program.global_block().ops if op.type == "relu").output("Out")[0]
    write_paddle_float(net.program, net.scope, tmp_path / "net", outputs=[middle])
    measured = measure(PLAIN, tmp_path / "net.float", {"image": batch})
    plain = net.program.clone(for_test=True)
    use_onednn(plain, False)  # oneDNN's convolutions differ in the last bit
    expected = replace(net, program=plain).run(batch, middle)
    np.testing.assert_array_equal(measured.outputs[0], expected[0])


def test_plain_paddle_opens_what_was_exported(tmp_path, net, frozen, batch):
    settings = {"frozen": frozen, "engines": [PLAIN]}
    export(net.program, net.scope, tmp_path / "net", ["paddle", "paddle-float"])
    both = dict.fromkeys(["paddle", "paddle-float"], tmp_path / "net")
    row = compare(net.program, net.scope, batch, models=both, **settings).row(PLAIN)
    assert row.largest == 0.0
    alone = {"paddle": tmp_path / "net"}
    row = compare(net.program, net.scope, batch, models=alone, **settings).row(PLAIN)
    # Its weights are rounded for oneDNN.
    assert row.ran and row.largest > 0


def test_timed_against_float_in_the_same_engine(net, frozen, batch):
    row = compare(
        net.program, net.scope, batch, frozen=frozen, engines=[PLAIN], timed=(2,), repeats=2
    ).row(PLAIN)
    assert all(value > 0 for value in row.milliseconds[2])


def test_a_frozen_model_is_refused(tmp_path, frozen):
    with pytest.raises(ValueError, match="pass the program and its scope"):
        export(frozen, None, tmp_path / "net", ["paddle-float"])
    assert not list(tmp_path.iterdir())


def test_untrained_program_is_refused(tmp_path):
    held = trained(steps=0)
    with pytest.raises(ValueError, match="never trained"):
        write_paddle_float(held.program, held.scope, tmp_path / "net")


@pytest.mark.parametrize("value", [np.nan, -0.1])
def test_impossible_step_is_refused_by_name(tmp_path, value):
    held = trained(steps=1)
    names = (v.name for v in held.program.list_vars())
    name = next(n for n in names if n.startswith("conv2d") and n.endswith(".w_0.lsq.step"))
    step = held.value(name)
    step[0] = value
    held.set(name, step)
    with pytest.raises(ValueError, match=re.escape(name.partition(".lsq")[0])):
        write_paddle_float(held.program, held.scope, tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_a_weight_that_changes_after_freezing_is_seen(net, frozen, batch):
    """The program itself is written, not what was frozen of it."""
    held = freeze(net.program, net.scope)
    held.weights[held.weighted_layers()[-1].inputs[1]].integers[:] *= -1
    row = compare(net.program, net.scope, batch, frozen=held, engines=[PLAIN]).row(PLAIN)
    assert row.largest == 0.0
