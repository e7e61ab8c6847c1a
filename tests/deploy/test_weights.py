"""Floats to integers and between integer widths."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant.deploy.frozen import Grid, IntegerWeight
from paddle_custom_quant.deploy.weights import (
    found_grid,
    in_int8,
    on_grid,
    reaching_127,
    widened,
)
from paddle_custom_quant.quantizers.base import UniformGrid

F32 = np.float32


def uniform(step, offset, qmin, qmax, axis=None):
    step = np.atleast_1d(np.asarray(step, "float32"))
    return UniformGrid(step, np.broadcast_to(F32(offset), step.shape).copy(), qmin, qmax, axis)


def test_signed_grid(rng):
    q = rng.integers(-8, 8, (6, 4, 3, 3))
    held = on_grid((q * F32(0.03)).astype("float32"), uniform(0.03, 0, -8, 7))
    assert held.integers.dtype == np.int8
    np.testing.assert_array_equal(held.integers, q)
    assert (held.grid.qmin, held.grid.qmax) == (-8, 7)


def test_half_a_step_of_offset_doubles_the_integers(rng):
    r = rng.integers(0, 16, (6, 4))
    values = ((r - 7.5) * F32(2 / 15)).astype("float32")
    held = on_grid(values, uniform(2 / 15, -1.0, 0, 15))
    np.testing.assert_array_equal(held.integers, 2 * r - 15)
    np.testing.assert_allclose(held.grid.step, 1 / 15, rtol=1e-6)


def test_other_fractions_stay_float():
    assert "fraction" in on_grid(np.array([0.1], "float32"), uniform(1.0, 0.1, 0, 3))


def test_values_beside_the_grid_are_told():
    values = np.array([0.0, 0.5, 1.0], "float32")
    assert "away from the grid" in on_grid(values, uniform(0.4, 0, -3, 3))


def test_grid_is_found_per_tensor(rng):
    q = rng.integers(-7, 8, 500)
    held = found_grid((q * F32(0.0173)).reshape(10, 50).astype("float32"), 0)
    np.testing.assert_array_equal(held.integers.reshape(-1), q)
    assert held.grid.axis is None


def test_odd_levels_are_found(rng):
    q = 2 * rng.integers(-4, 4, 300) + 1
    held = found_grid((q * F32(0.1)).astype("float32"), None)
    np.testing.assert_allclose(held.real(), q * 0.1, rtol=1e-5)


def test_grid_is_found_per_channel(rng):
    q, step = rng.integers(-7, 8, (5, 60)), np.array([0.011, 0.5, 0.07, 1.3, 0.029], "float32")
    q[:, 0], q[:, 1] = 7, 1
    values = (q * step[:, None]).astype("float32")
    held = found_grid(values, 0)
    assert held.grid.axis == 0
    np.testing.assert_allclose(held.real(), values, rtol=1e-5)


def test_no_grid_is_found_in_noise(rng):
    assert "no uniform grid" in found_grid(rng.normal(size=2000).astype("float32"), None)


def test_sixteen_bits_to_eight_loses_at_most_half_a_step():
    q = np.array([[255, -3, 129], [100, -127, 5]], "int16")
    held, error = in_int8(IntegerWeight(q, Grid(np.array([0.5], "float32"), -255, 255)), 0)
    assert held.integers.dtype == np.int8
    np.testing.assert_array_equal(held.integers[1], q[1])
    assert held.integers[0, 0] == 127
    assert error <= 0.5 * 0.5 * 255 / 127
    np.testing.assert_allclose(np.abs(held.real() - q * 0.5).max(), error, rtol=1e-5)


@pytest.mark.parametrize("biased", [False, True])
def test_widening_keeps_values(rng, biased):
    weight = IntegerWeight(
        rng.integers(-7, 8, (6, 40)).astype("int8"), Grid(np.array([0.1], "float32"), -8, 7)
    )
    bias = rng.normal(size=6) if biased else None
    wide = widened(weight, 0, bias, 0.3)
    np.testing.assert_allclose(wide.real(), weight.real(), rtol=1e-6)
    if biased:
        # No factor rounds any bias less.
        for row in range(6):

            def error(factor, row=row):
                unit = 0.1 * 0.3 / factor
                return abs(bias[row] - unit * np.round(bias[row] / unit))

            most = np.abs(weight.integers[row].astype(int)).max()
            best = min(error(f) for f in range(1, 127 // most + 1))
            assert error(round(0.1 / float(wide.grid.step[row]))) <= best + 1e-9


@pytest.mark.parametrize("most", [2, 7, 8, 15, 113])
def test_reaching_127_errs_less_than_moving_the_largest(rng, most):
    q = rng.integers(-most, most + 1, (6, 90)).astype("int8")
    q[:, 5] = most
    weight = IntegerWeight(q, Grid(np.array([0.1], "float32"), -most, most))
    held = reaching_127(weight, 0)
    assert (np.abs(held.integers.astype(int)).max(axis=1) == 127).all()
    error = (held.real() - weight.real()) / 0.1
    factor = 127 // most
    moved = (127 - factor * most) / factor
    assert (np.square(error).sum(axis=1) + error.sum(axis=1) ** 2 <= 3 * moved**2 + 1e-6).all()
    assert np.abs(error).max() <= moved + 1 / factor


def test_reaching_127_keeps_what_onednn_holds_exactly(rng):
    for most in (1, 127):
        q = rng.choice([-most, 0, most], (4, 30)).astype("int8")
        q[:, 0] = most
        weight = IntegerWeight(q, Grid(np.array([0.1], "float32"), -most, most))
        np.testing.assert_allclose(reaching_127(weight, 0).real(), weight.real(), rtol=1e-6)
