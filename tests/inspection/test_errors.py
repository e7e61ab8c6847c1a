"""Noise, clipping and levels against NumPy in float64, and grids that stored values have."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paddle_custom_quant.inspection.errors import ErrorSum
from paddle_custom_quant.inspection.scales import _stored_grid, bounds, clipped, levels_used
from paddle_custom_quant.quantizers.base import LevelGrid, UniformGrid

GRID = UniformGrid(np.array([0.25], "float32"), np.zeros(1, "float32"), -4, 3)


def on_grid(x, step=0.25, low=-4, high=3):
    return np.clip(np.rint(x / step), low, high) * step


def test_sums_over_batches(rng):
    batches = [rng.standard_normal([5, 7]).astype("float32") for _ in range(3)]
    total = ErrorSum(GRID)
    for batch in batches:
        total.add(batch, on_grid(batch))
    x = np.concatenate([b.ravel() for b in batches]).astype("float64")
    q = on_grid(x)
    found = total.total()
    assert found.snr == pytest.approx(10 * np.log10((x**2).sum() / ((x - q) ** 2).sum()), rel=1e-5)
    cosine = (x @ q) / np.linalg.norm(x) / np.linalg.norm(q)
    assert found.cosine == pytest.approx(cosine, rel=1e-6)
    assert found.clipped == pytest.approx(np.mean((x < -1) | (x > 0.75)))
    assert found.levels_used == len(np.unique(q)) / 8
    assert sum(found.histogram.counts) == x.size
    np.testing.assert_allclose(found.histogram.levels, np.arange(-4, 4) * 0.25)


def test_exact_and_silent():
    same = ErrorSum()
    same.add(np.ones(3), np.ones(3))
    assert same.total().snr == math.inf and same.total().cosine == 1
    silent = ErrorSum()
    silent.add(np.zeros(3), np.ones(3))
    assert silent.total().snr == -math.inf


def test_per_channel(rng):
    step = np.array([0.1, 1.0, 10.0], "float32")
    grid = UniformGrid(step, np.zeros(3, "float32"), -2, 1, axis=1)
    x = rng.standard_normal([50, 3]).astype("float32") * [0.2, 2, 20]
    outside = (x < -2 * step * (1 + 1e-5)) | (x > step * (1 + 1e-5))
    assert clipped(x, grid) == pytest.approx(outside.mean())
    total = ErrorSum(grid)
    total.add(x, np.clip(np.rint(x / step), -2, 1) * step)
    found = total.total()
    assert found.histogram.in_steps and found.histogram.levels == (-2, -1, 0, 1)
    assert found.levels_used == 1


def test_level_lists():
    grid = LevelGrid(np.array([-1.0, -0.25, 0.0, 0.5], "float32"))
    assert [float(end[0]) for end in bounds(grid)] == [-1, 0.5]
    assert levels_used(np.array([0.5, -1.0, 0.5]), grid) == {0, 3}
    rows = LevelGrid(np.array([[0.0, 1.0], [0.0, 2.0]], "float32"), axis=0)
    assert levels_used(np.array([[0.0, 0.0], [2.0, 2.0]]), rows) == {0, 1}


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_steps_of_stored_values(rng, axis):
    step = np.float32(0.03) if axis is None else rng.uniform(0.01, 0.1, [6]).astype("float32")
    shape = {None: (1, 1), 0: (6, 1), 1: (1, 6)}[axis]
    integers = rng.integers(-8, 8, [6, 400] if axis != 1 else [400, 6])
    stored = (integers * np.reshape(step, shape)).astype("float32")
    grid = _stored_grid(stored, axis)
    np.testing.assert_allclose(grid.step, np.atleast_1d(step), rtol=1e-4)
    assert (grid.qmax - grid.qmin + 1, grid.axis) == (16, axis)


def test_float_values_have_no_grid(rng):
    assert _stored_grid(rng.standard_normal([8, 300]).astype("float32"), 0) is None
