"""Each strategy against NumPy: outputs, gradients, running statistics, test mode."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.scope import read, write

from .layer import KINDS, batch, bend, build, differences, expected

STRATEGIES = [0, 1, 2, 3, 4]


def merged(held):
    """Values of strategy 0: w and beta hold all, the statistics nothing."""
    nothing = {"mean": 0.0 * held["mean"], "gamma": 1 + 0 * held["gamma"]}
    return {**held, **nothing, "variance": nothing["gamma"] - 1e-5, "b": nothing["mean"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_output_and_gradients_in_training(strategy, kind, legacy, rng):
    layer, before = build(kind, strategy, legacy, rng)
    x = batch(kind, rng)
    start = layer.values() if strategy else merged(layer.values())
    y, gradients = layer.step(x)
    np.testing.assert_allclose(y, expected(kind, strategy, x, start).y, atol=2e-4, rtol=1e-4)
    np.testing.assert_allclose(y, expected(kind, strategy, x, before).y, atol=2e-4, rtol=1e-4)

    def loss(held):
        return float((expected(kind, strategy, x, held).y * layer.direction).sum())

    trained = {"w", "beta"} if strategy == 0 else {"w", "gamma", "beta", "b"} & set(start)
    assert set(gradients) == trained
    for key, gradient in gradients.items():
        exact = differences(loss, start, key)
        np.testing.assert_allclose(
            gradient, exact, atol=2e-3 * max(1.0, np.abs(exact).max()), rtol=2e-3, err_msg=key
        )


@pytest.mark.parametrize("bent", [False, True], ids=["float", "bent"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ten_steps(strategy, bent, legacy, rng):
    kind = "conv with bias"
    layer, _ = build(kind, strategy, legacy, rng, bent=bent, rate=1e-3)
    f = bend if bent else lambda w: w
    for _ in range(10):
        x = batch(kind, rng)
        held = layer.values() if strategy else merged(layer.values())
        want = expected(kind, strategy, x, held, f=f)
        y, _ = layer.step(x)
        np.testing.assert_allclose(y, want.y, atol=5e-4, rtol=5e-4)
        after = layer.values()
        if strategy:
            np.testing.assert_allclose(after["mean"], want.mean, atol=1e-5, rtol=1e-5)
            np.testing.assert_allclose(after["variance"], want.variance, atol=1e-5, rtol=1e-5)
        assert np.abs(after["w"] - held["w"]).max() > 0
    held = layer.values() if strategy else merged(layer.values())
    want = expected(kind, strategy, x, held, training=False, f=f)
    np.testing.assert_allclose(layer.run(x), want.y, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("strategy", [2, 3, 4])
def test_in_float_a_step_is_that_of_batch_norm(strategy, legacy, rng):
    kind = "conv with bias"
    layer, before = build(kind, strategy, legacy, rng, bent=False)
    x = batch(kind, rng)
    y, _ = layer.step(x)
    # Written down once more, for it is what every training of the float net does.
    z = expected(kind, 1, x, {**before, "mean": 0 * before["mean"]}, f=lambda w: w)
    shift = (before["beta"])[:, None, None]
    z = (z.y - shift) * np.sqrt(before["variance"] + 1e-5)[:, None, None]
    z = z / before["gamma"][:, None, None]
    centred = z - z.mean(axis=(0, 2, 3), keepdims=True)
    normal = centred / np.sqrt(z.var(axis=(0, 2, 3), keepdims=True) + 1e-5)
    want = normal * before["gamma"][:, None, None] + shift
    np.testing.assert_allclose(y, want, atol=1e-4)


def test_statistics_are_frozen_after_the_delay(legacy, rng):
    kind, delay = "conv with bias", 4
    layer, _ = build(kind, 3, legacy, rng, delay=delay, rate=1e-3)
    for step in range(8):
        x = batch(kind, rng)
        held = layer.values()
        want = expected(kind, 3, x, held, learning=step < delay)
        y, _ = layer.step(x)
        np.testing.assert_allclose(y, want.y, atol=2e-4, rtol=2e-4)
        after = layer.values()
        if step < delay:
            np.testing.assert_allclose(after["mean"], want.mean, atol=1e-5)
            assert (after["variance"] != held["variance"]).all()
        else:
            np.testing.assert_array_equal(after["mean"], held["mean"])
            np.testing.assert_array_equal(after["variance"], held["variance"])


def test_a_channel_that_batch_norm_multiplies_by_zero_is_no_nan(legacy, rng):
    for strategy in STRATEGIES:
        with static.scope_guard(static.Scope()), paddle.utils.unique_name.guard():
            layer, _ = build("conv", strategy, legacy, rng, bent=False)
            if strategy == 0:
                continue
            gamma = layer.values()["gamma"].astype("float32")
            gamma[1] = 0.0
            scope = static.global_scope()
            write(scope, legacy.place, layer.names["gamma"], gamma)
            x = batch("conv", rng)
            beta = layer.values()["beta"][1]
            np.testing.assert_allclose(layer.run(x)[:, 1], beta, rtol=1e-5)
            y, gradients = layer.step(x)
            np.testing.assert_allclose(y[:, 1], beta, rtol=1e-5)
            assert all(np.isfinite(value).all() for value in gradients.values())


def test_merging_again_changes_nothing_and_the_float_program_stays(legacy, rng):
    main, startup = static.Program(), static.Program()
    with static.program_guard(main, startup):
        x = static.data("x", [-1, 3, 8, 8])
        layer = paddle.nn.Conv2D(3, 4, 3)
        norm = paddle.nn.BatchNorm2D(4)
        y = norm(layer(x))
        test = main.clone(for_test=True)
        unfolded = main.clone(for_test=True)
        folding = pcq.fold_batch_norm(main, test, strategy=0)
    legacy.run(startup)
    scope = static.global_scope()
    for held in (layer.weight, layer.bias, norm.weight, norm.bias, norm._mean):
        value = rng.normal(size=held.shape).astype("float32")
        write(scope, legacy.place, held.name, value)
    images = rng.normal(size=(2, 3, 8, 8)).astype("float32")
    (before,) = legacy.run(unfolded, {"x": images}, [y.name])
    folding.start()
    names = [held.name for held in (layer.weight, norm.weight, norm.bias, norm._mean)]
    once = [read(scope, name) for name in names]
    folding.start()
    for name, value in zip(names, once):
        np.testing.assert_array_equal(read(scope, name), value)
    for program in (test, unfolded):
        (after,) = legacy.run(program, {"x": images}, [y.name])
        np.testing.assert_allclose(after, before, atol=1e-5)
