"""Damping and freezing of oscillating weights, against NumPy."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import (
    LSQ,
    AbsMax,
    DampOscillation,
    DoReFaWeight,
    FreezeOscillation,
    PowerOfTwoScale,
    damping_schedule,
)

CPU = paddle.CPUPlace()


def linear(executor, quantizer, learning_rate=0.0):
    """x @ w with loss sum(x @ w), so that the weight's own gradient is known: that of the sum."""
    x = static.data("x", [4, 3])
    w = static.create_parameter([3, 2], "float32", name="w")
    loss = paddle.sum(paddle.matmul(x, w))
    paddle.optimizer.SGD(learning_rate).minimize(loss)
    executor.run(static.default_startup_program())
    program = pcq.quant_aware(
        static.default_main_program(), CPU, {"quantize_op_types": ["matmul_v2"]},
        weight_quantize_func=quantizer, act_quantize_func=pcq.FirstLast(None, None),
        return_program=True, optimizer_func=lambda: paddle.optimizer.SGD(0.0),
    )  # fmt: skip
    assert pcq.verify(program) == []
    return program


def set_value(name, array):
    static.global_scope().find_var(name).get_tensor().set(np.asarray(array, "float32"), CPU)


def get_value(name):
    return np.array(static.global_scope().find_var(name).get_tensor())


W = np.array([[0.30, -0.26], [0.9, -1.4], [0.12, 0.04]], "float32")
STEP = 0.25


@pytest.mark.parametrize("strength", [0.0, 0.7])
@pytest.mark.parametrize("wrap", [lambda q: q, PowerOfTwoScale, lambda q: FreezeOscillation(q)])
def test_damping_adds_the_gradient_of_its_loss_to_the_weight_alone(legacy, strength, wrap):
    program = linear(legacy, DampOscillation(wrap(LSQ(3)), strength))
    set_value("w", W)
    set_value("w.lsq.step", [STEP])
    feed = {"x": np.arange(12, dtype="float32").reshape(4, 3)}
    dw, dstep = legacy.run(program, feed, ["w@GRAD", "w.lsq.step@GRAD"])
    column = feed["x"].sum(0)[:, None]
    inside = (W / STEP >= -4) & (W / STEP <= 3)
    quantized = STEP * np.rint(np.clip(W / STEP, -4, 3))
    penalty = 2 * strength * (np.clip(W, -4 * STEP, 3 * STEP) - quantized)
    np.testing.assert_allclose(dw, column * inside + penalty, rtol=1e-5)
    set_value("w.lsq.damping", [0.0])
    (plain,) = legacy.run(program, feed, ["w.lsq.step@GRAD"])
    np.testing.assert_array_equal(dstep, plain)


def test_strength_follows_half_a_cosine():
    assert damping_schedule(0, 10, 0.5) == 0
    np.testing.assert_allclose(damping_schedule(5, 10, 0.5), 0.25)
    assert damping_schedule(10, 10, 0.5) == damping_schedule(12, 10, 0.5) == 0.5


def test_freezing_follows_the_algorithm(legacy, rng):
    momentum, threshold = 0.2, 0.3
    program = linear(legacy, FreezeOscillation(LSQ(3), threshold, momentum))
    set_value("w.lsq.step", [STEP])
    feed = {"x": np.ones([4, 3], "float32")}
    q = get_value("w.lsq.integer").astype("float64")
    direction, frequency = np.zeros_like(q), np.zeros_like(q)
    average, frozen = q.copy(), np.zeros_like(q, bool)
    for step in range(12):
        # the first row jumps every step, the second twice, the third never
        w = np.array([[0.2, -0.2], [0.4, -0.6], [0.6, -0.4]])
        if step % 2:
            w[0] *= -1
        if step in (3, 4):
            w[1] += 0.3
        set_value("w", w)
        quantized, dw = legacy.run(program, feed, ["w.lsq", "w@GRAD"])
        now = np.rint(np.clip(w / STEP, -4, 3))
        change = np.sign(now - q)
        opposite = change * direction < 0
        frequency = momentum * opposite + (1 - momentum) * frequency
        average = np.where(frozen, average, momentum * now + (1 - momentum) * average)
        frozen |= frequency > threshold
        direction, q = np.where(change == 0, direction, change), now
        expected = np.where(frozen, np.rint(average), now) * STEP
        np.testing.assert_allclose(quantized, expected, atol=1e-6)
        np.testing.assert_array_equal(dw == 0, frozen)
    np.testing.assert_allclose(get_value("w.lsq.frequency"), frequency, rtol=1e-5, atol=1e-7)
    assert frozen[0].all() and not frozen[2].any()


def test_a_test_program_uses_what_is_frozen_and_changes_nothing(legacy):
    x = static.data("x", [4, 3])
    w = static.create_parameter([3, 2], "float32", name="w")
    out = paddle.matmul(x, w)
    legacy.run(static.default_startup_program())
    test = pcq.quant_aware(
        static.default_main_program(), CPU, {"quantize_op_types": ["matmul_v2"]}, for_test=True,
        weight_quantize_func=FreezeOscillation(LSQ(3)), act_quantize_func=pcq.FirstLast(None, None),
    )  # fmt: skip
    set_value("w", W)
    set_value("w.lsq.step", [STEP])
    frozen = np.zeros([3, 2])
    frozen[0, 0] = 1
    set_value("w.lsq.frozen", frozen)
    set_value("w.lsq.average", np.full([3, 2], 2.2))
    before = get_value("w.lsq.frequency").copy()
    (quantized,) = legacy.run(test, {"x": np.ones([4, 3], "float32")}, ["w.lsq"])
    expected = STEP * np.rint(np.clip(W / STEP, -4, 3))
    expected[0, 0] = 2 * STEP
    np.testing.assert_allclose(quantized, expected, atol=1e-6)
    np.testing.assert_array_equal(get_value("w.lsq.frequency"), before)
    assert out.shape == (4, 2)


@pytest.mark.parametrize("inner", [AbsMax(4), DoReFaWeight(4), LSQ(2)], ids=lambda q: q.method)
def test_any_uniform_weight_quantizer(legacy, rng, inner):
    program = linear(legacy, DampOscillation(FreezeOscillation(inner), 0.1), learning_rate=0.1)
    feed = {"x": rng.normal(size=(4, 3)).astype("float32")}
    for _ in range(5):
        (dw,) = legacy.run(program, feed, ["w@GRAD"])
    assert np.isfinite(dw).all()


def test_wrong_descriptions():
    for make in (
        lambda: DampOscillation(LSQ(3), -1.0),
        lambda: FreezeOscillation(LSQ(3), threshold=0.0),
        lambda: FreezeOscillation(LSQ(3), momentum=2.0),
    ):
        with pytest.raises(ValueError, match="should be"):
            make()
    with pytest.raises(TypeError, match="takes a uniform quantizer"):
        DampOscillation(lambda w: w)
