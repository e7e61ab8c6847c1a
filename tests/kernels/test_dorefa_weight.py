from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paddle_custom_quant.quantizers.fused import dorefa_weight
from tests.kernels.agreement import AXES, EXAMPLES, LONG, SEEDS, SHAPES, both, needs_kernels

pytestmark = needs_kernels


@given(
    seed=SEEDS,
    shape=SHAPES,
    axis=AXES,
    bits=st.integers(1, 16),
    # The largest weight decides which form of tanh serves.
    size=st.sampled_from([1e-4, 0.3, 1.1, 3.0, 8.0]),
    detach_max=st.booleans(),
    rescale=st.booleans(),
)
@example(1, LONG, None, 4, 0.3, False, True)
@example(2, LONG, 1, 4, 1.1, False, False)
@EXAMPLES
def test_agrees_with_the_composed_formula(
    seed: int, shape: Any, axis: Any, bits: int, size: float, detach_max: bool, rescale: bool
) -> None:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=shape)
    w = (w * size / np.abs(w).max()).astype("float32")
    gradient = rng.normal(size=shape).astype("float32")
    result = both(
        dorefa_weight, w, gradient, {}, bits=bits, axis=axis, detach_max=detach_max, rescale=rescale
    )
    others = None if axis is None else tuple(i for i in range(3) if i != axis)
    t = np.tanh(w.astype("float64"))
    largest = np.abs(t).max(axis=others, keepdims=True)
    if bits == 1:
        mean = np.abs(w.astype("float64")).mean(axis=others, keepdims=True)
        np.testing.assert_allclose(result.fused["y"], np.where(w >= 0, mean, -mean), rtol=2e-7)
        # Paddle sums its mean in single precision, one after another.
        result.agree("y", rtol=1e-4)
        result.agree("x")
        return
    u = (t / largest + 1) / 2 * (2**bits - 1)
    off_tie = np.abs(u - np.floor(u) - 0.5) > 1e-6 * 2**bits
    result.agree("y", off_tie)
    # 1 - t^2 is as exact as t is.
    height = np.abs(w).max(axis=others, keepdims=True) if rescale else 1.0
    slack = 1e-6 * height * np.abs(gradient) / largest
    # tanh does not tell the largest weights apart where it is flat.
    near = np.abs(t) > largest * (1 - 1e-6)
    if not detach_max:
        total = (np.abs(gradient) * height * np.abs(t)).sum(axis=others, keepdims=True)
        slack = slack + near * total / largest**2 * np.where(size > 4, 1e-4, 1e-6)
    difference = np.abs(result.fused["x"].astype("float64") - result.composed["x"])
    assert (difference <= 1e-6 * np.abs(result.composed["x"]) + slack).all(), difference.max()


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_against_numpy_in_doubles(rng: np.random.Generator, axis: Any) -> None:
    """Forward, and the gradient with its part through the maximum."""
    w = rng.normal(size=(4, 5, 70)).astype("float32")
    gradient = rng.normal(size=w.shape).astype("float32")
    fused = both(dorefa_weight, w, gradient, {}, bits=4, axis=axis).fused
    others = None if axis is None else tuple(i for i in range(3) if i != axis)
    t, g = np.tanh(w.astype("float64")), gradient.astype("float64")
    largest = np.abs(t).max(axis=others, keepdims=True)
    u = (t / largest + 1) / 2 * 15
    off_tie = np.abs(u - np.floor(u) - 0.5) > 1e-4
    y = 2 * np.rint(u) / 15 - 1
    np.testing.assert_allclose(fused["y"][off_tie], y[off_tie], rtol=1e-6)
    through = (g * t).sum(axis=others, keepdims=True) / largest**2
    dx = (1 - t**2) * (g / largest - (np.abs(t) == largest) * np.sign(t) * through)
    np.testing.assert_allclose(fused["x"], dx, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape, axis", [((40,), None), ((4, 10), 0), ((4, 10), 1)])
def test_weights_that_tie_for_the_largest_share_its_gradient_alike(shape: Any, axis: Any) -> None:
    w = np.tile(np.float32([0.5, -0.5, 0.25, 0.1]), 10).reshape(shape)
    gradient = np.arange(40, dtype="float32").reshape(shape)
    both(dorefa_weight, w, gradient, {}, bits=3, axis=axis).agree("x", rtol=2e-6, atol=2e-4)


@pytest.mark.parametrize("bits", [1, 4])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_zero_weights_give_zeros(bits: int, axis: Any) -> None:
    w = np.zeros((3, 20), "float32")
    w[0] = 0.5 if axis == 0 else 0.0
    result = both(dorefa_weight, w, np.ones_like(w), {}, bits=bits, axis=axis)
    result.agree("y")
    result.agree("x")
    assert not result.fused["y"][1:].any()


def test_nan_stays_where_it_is() -> None:
    w = np.float32([0.5, np.nan, -0.25, 0.1] * 10)
    for bits in (1, 4):
        for rescale in (False, True):
            y = both(dorefa_weight, w, np.ones(40), {}, bits=bits, rescale=rescale).fused["y"]
            assert np.isnan(y[1::4]).all()
    finite = both(dorefa_weight, w, np.ones(40), {}, bits=4).fused["y"][2::4]
    np.testing.assert_allclose(finite, -7 / 15, rtol=1e-6)


def test_infinity_is_the_largest_weight() -> None:
    w = np.float32([np.inf, -np.inf, 0.5, 0.0])
    y = both(dorefa_weight, w, np.ones(4), {}, bits=2).fused["y"]
    np.testing.assert_allclose(y, [1, -1, 1 / 3, 1 / 3], rtol=1e-6)
    assert np.isnan(both(dorefa_weight, w, np.ones(4), {}, bits=1).fused["y"][:2]).all()
