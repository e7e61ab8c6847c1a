"""``convert(..., save_int8=True)`` of custom quantizers: an int8 program beside the float one."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.compat import PADDLE3, legacy_static
from paddle_custom_quant.deploy import freeze, run_reference
from paddle_custom_quant.deploy.worker import measure
from paddle_custom_quant.quantizers import LSQ
from paddle_custom_quant.scope import read
from tests.deploy.trained import activations, as_written, images, trained

CPU = paddle.CPUPlace()


@pytest.fixture(autouse=True)
def old_programs():
    with legacy_static():
        yield


@pytest.fixture(scope="module")
def held():
    # Paddle 2.6 gives unsigned 8-bit activations half their levels outside of oneDNN's int8 mode.
    with legacy_static():
        return trained(LSQ(8, per_channel=True), activations(7), steps=40)


@pytest.fixture(scope="module")
def converted(held):
    """Both programs, and the trained values as they were before."""
    with legacy_static():
        names = [v.name for v in held.program.list_vars() if v.persistable]
        before = {n: read(held.scope, n) for n in names}
        float_program, int8_program = pcq.convert(
            held.program, CPU, scope=held.scope, save_int8=True
        )
    return float_program, int8_program, before


def run(program, scope, name, batch):
    with static.scope_guard(scope):
        return static.Executor(CPU).run(program, {"image": batch}, fetch_list=[name])[0]


@pytest.fixture(scope="module")
def batch():
    return images(np.random.default_rng(2), 100)


def test_int8_program_computes_what_the_reference_does_with_its_weights(held, converted, batch):
    got = run(converted[1], held.scope, held.logits, batch)
    frozen = as_written(freeze(held.program, held.scope))
    expected = run_reference(frozen, {"image": batch})[held.logits]
    off = np.abs(got - expected).max(axis=1) > 1e-4 * np.ptp(expected)
    # A value on a rounding boundary may fall to either side in float32.
    assert off.mean() < 0.1
    (trained_result,) = held.run(batch)
    assert (got.argmax(1) == trained_result.argmax(1)).mean() >= (0.9 if PADDLE3 else 0.8)


def test_it_holds_int8_weights(held, converted):
    parameters = [v.name for v in converted[1].list_vars() if v.persistable]
    dtypes = [read(held.scope, name).dtype for name in parameters]
    assert dtypes.count(np.dtype("int8")) == 5


def test_no_value_of_the_trained_program_is_changed(held, converted, batch):
    float_program, int8_program, before = converted
    own = {v.name for v in int8_program.list_vars() if v.persistable}
    assert own and all(name.startswith("int8.") for name in own)
    assert own.isdisjoint(held.program.global_block().vars)
    assert own.isdisjoint(float_program.global_block().vars)
    for name, value in before.items():
        if value is not None:
            np.testing.assert_array_equal(read(held.scope, name), value)
    got = run(float_program, held.scope, held.logits, batch)
    (expected,) = held.run(batch)
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_it_can_be_made_again(held, batch):
    first = pcq.convert(held.program, CPU, scope=held.scope, save_int8=True)[1]
    before = run(first, held.scope, held.logits, batch)
    again = pcq.convert(held.program, CPU, scope=held.scope, save_int8=True)[1]
    np.testing.assert_array_equal(run(again, held.scope, held.logits, batch), before)


def test_paddle_inference_runs_it_on_integers(held, converted, batch, tmp_path):
    block = converted[1].global_block()
    with static.scope_guard(held.scope):
        static.save_inference_model(
            str(tmp_path / "net"),
            [block.var("image")],
            [block.var(held.logits)],
            static.Executor(CPU),
            program=converted[1],
        )
    measured = measure("paddle-onednn-int8", tmp_path / "net", {"image": batch})
    (expected,) = held.run(batch)
    assert len(measured.kernels) == 5 and all(kernel.integer for kernel in measured.kernels)
    assert (measured.outputs[0].argmax(1) == expected.argmax(1)).mean() >= 0.9


def test_an_untrained_program_is_refused():
    untrained = trained(steps=0)
    with pytest.raises(ValueError, match="never trained"):
        pcq.convert(untrained.program, CPU, scope=untrained.scope, save_int8=True)
