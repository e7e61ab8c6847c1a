"""Weights in 8 bits that come back bit for bit, or stay as they are."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant.deploy.compact import Steps, Table, compact
from paddle_custom_quant.deploy.frozen import Grid, IntegerWeight, along

SHAPE = (6, 40, 3, 3)


def restored(form):
    """The floats, as the operators of the file compute them."""
    if isinstance(form, Steps):
        return form.integers.astype("float32") * form.step
    at = form.indices.astype("int32")
    if form.offsets is not None:
        at = at + form.offsets
    return form.levels[at, 0]


def same_bits(one, other):
    np.testing.assert_array_equal(one.view("uint32"), other.view("uint32"))


def on_steps(rng, low, high, axis=0):
    step = rng.uniform(0.01, 0.1, SHAPE[axis]).astype("float32")
    q = rng.integers(low, high + 1, SHAPE).astype("int8")
    weight = IntegerWeight(q, Grid(step, low, high, axis))
    return weight, weight.real()


def test_few_levels_are_a_table(rng):
    values = rng.choice(rng.normal(size=200).astype("float32"), SHAPE)
    form = compact(values, None, 0)
    assert isinstance(form, Table) and form.offsets is None and form.indices.dtype == np.uint8
    same_bits(restored(form), values)


@pytest.mark.parametrize("axis", [0, 1])
def test_integers_of_each_channel_are_multiplied_by_its_step(rng, axis):
    weight, values = on_steps(rng, -128, 127, axis)
    form = compact(values, weight, axis)
    assert isinstance(form, Steps) and form.size == values.size + 4 * SHAPE[axis]
    same_bits(restored(form), values)


def test_a_neighbouring_step_is_found(rng):
    weight, values = on_steps(rng, -127, 127)
    weight.grid.step[::2] = np.nextafter(weight.grid.step[::2], np.float32(1))
    form = compact(values, weight, 0)
    assert isinstance(form, Steps)
    same_bits(restored(form), values)


@pytest.mark.parametrize("axis", [0, 1])
def test_channels_with_levels_of_their_own(rng, axis):
    levels = rng.normal(size=(SHAPE[axis], 16)).astype("float32")
    at = rng.integers(0, 16, SHAPE)
    channel = along(np.arange(SHAPE[axis]), 4, axis)
    values = levels[channel, at]
    form = compact(values, None, axis)
    assert isinstance(form, Table)
    same_bits(restored(form), values)


def test_products_that_are_rounded_otherwise_are_no_steps(rng):
    weight, values = on_steps(rng, -7, 7)
    values[0, 0, 0, 0] = np.nextafter(values[0, 0, 0, 0], np.float32(9))
    form = compact(values, weight, 0)
    assert isinstance(form, Table)
    same_bits(restored(form), values)


def test_a_negative_zero_stays_one(rng):
    weight, values = on_steps(rng, -7, 7)
    values[values == 0] = np.float32(-0.0)
    form = compact(values, weight, 0)
    same_bits(restored(form), values)
    assert np.signbit(restored(form)[values == 0]).all()


def test_what_is_not_quantized_stays_float(rng):
    assert compact(rng.normal(size=SHAPE).astype("float32"), None, 0) is None


def test_what_is_small_stays_float():
    assert compact(np.array([0.1, 0.2], "float32"), None, None) is None
