"""The small primitives."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest

from paddle_custom_quant.quantizers import functional as F


def gradient(function: Any, *values: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """The result, and the gradient of its sum to each argument."""
    tensors = [paddle.to_tensor(np.float32(v), stop_gradient=False) for v in values]
    y = function(*tensors)
    y.sum().backward()
    return y.numpy(), [t.grad.numpy() for t in tensors]


HALVES = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.49, -3.51, 100000.5, np.nan]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_half_even(dtype: str) -> None:
    x = np.array(HALVES, dtype=dtype)
    np.testing.assert_array_equal(F.round_half_even(paddle.to_tensor(x)).numpy(), np.rint(x))


def test_ste_round_passes_the_gradient() -> None:
    y, (dx,) = gradient(F.ste_round, HALVES)
    np.testing.assert_array_equal(y, np.rint(np.float32(HALVES)))
    np.testing.assert_array_equal(dx, np.ones(len(HALVES)))


def test_straight_through_is_exact(rng: np.random.Generator) -> None:
    x = (rng.normal(size=1000) * 1e4).astype("float32")
    value = rng.normal(size=1000).astype("float32")
    y, (dx,) = gradient(lambda x: F.straight_through(paddle.to_tensor(value), x), x)
    np.testing.assert_array_equal(y, value)
    np.testing.assert_array_equal(dx, np.ones(1000))


def test_clip_with_numbers_and_with_tensors() -> None:
    x = [-3, -1, 0.5, 1, 4, np.inf, -np.inf, np.nan]
    y, (dx,) = gradient(lambda x: F.clip(x, -1.0, 1.0), x)
    np.testing.assert_array_equal(y, [-1, -1, 0.5, 1, 1, 1, -1, np.nan])
    np.testing.assert_array_equal(dx[:-1], [0, 1, 1, 1, 0, 0, 0])
    y, (dx, low, high) = gradient(F.clip, x[:5], [-1.0], [1.0])
    np.testing.assert_array_equal(y, [-1, -1, 0.5, 1, 1])
    np.testing.assert_array_equal(dx, [0, 1, 1, 1, 0])
    np.testing.assert_array_equal([low, high], [[1], [1]])


@pytest.mark.parametrize("k", [1, 2, 3, 8, 16])
def test_quantize_k(k: int, rng: np.random.Generator) -> None:
    x = rng.uniform(size=500).astype("float32")
    y, (dx,) = gradient(lambda x: F.quantize_k(x, k), x)
    steps = 2**k - 1
    np.testing.assert_allclose(y * steps, np.rint(y * steps), atol=1e-2 if k == 16 else 1e-4)
    assert np.abs(y - x).max() <= 0.5 / steps * 1.01
    np.testing.assert_allclose(dx, 1, rtol=1e-6)


@pytest.mark.parametrize("bits", [0, 17, 2.0])
def test_quantize_k_refuses_bad_bits(bits: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="bits must be"):
        F.quantize_k(paddle.ones([2]), bits)


def test_max_abs_and_mean_abs(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 4, 5)).astype("float32")
    for axis in (None, 0, 1, 2):
        others = None if axis is None else tuple(i for i in range(3) if i != axis)
        largest, (slope,) = gradient(lambda x, a=axis: F.max_abs(x, a), x)
        expected = np.atleast_1d(np.abs(x).max(axis=others))
        np.testing.assert_array_equal(largest, expected)
        top = np.abs(x) == np.abs(x).max(axis=others, keepdims=True)
        np.testing.assert_array_equal(slope, np.sign(x) * top)
        mean, _ = gradient(lambda x, a=axis: F.mean_abs(x, a), x)
        np.testing.assert_allclose(mean, np.atleast_1d(np.abs(x).mean(axis=others)), rtol=1e-6)


def test_positive_mirrors_and_never_reaches_zero() -> None:
    y, (dx,) = gradient(F.positive, [2.0, -2.0, 0.0, 1e-30, np.inf, np.nan])
    np.testing.assert_array_equal(y, [2, 2, 2.0**-60, 2.0**-60, np.inf, np.nan])
    np.testing.assert_array_equal(dx[:3], [1, -1, 0])


def test_scale_gradient() -> None:
    y, (dx,) = gradient(lambda x: F.scale_gradient(x, 0.25), [1.0, -3.0])
    np.testing.assert_array_equal(y, [1, -3])
    np.testing.assert_array_equal(dx, [0.25, 0.25])


def test_detach_leaves_its_source_untouched_in_a_program(legacy: paddle.static.Executor) -> None:
    """An operator that works in place on the copy must not reach the original."""
    value = np.linspace(-4, 4, 1024).astype("float32")
    x = paddle.static.data("x", [1024])
    u = x * 1.0
    rounded = F.round_half_even(F.detach(u))
    y = u + (rounded - F.detach(u))
    result = legacy.run(feed={"x": value}, fetch_list=[y, u])
    np.testing.assert_array_equal(result[0], np.rint(value))
    np.testing.assert_array_equal(result[1], value)
    assert not F.detach(paddle.create_parameter([2], "float32")).persistable
