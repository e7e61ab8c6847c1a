"""LQ-Net: nearest level, fit of the basis, gradient."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_custom_quant.quantizers import LQNet, Sample
from paddle_custom_quant.target import ACTIVATION, WEIGHT, Target
from tests.quantizers.evaluate import MODES, evaluate


def nearest(row: np.ndarray, v: np.ndarray, signed: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Levels, codes [elements, bits] and the least gap between the two nearest levels."""
    codes = np.array(list(product([-1, 1] if signed else [0, 1], repeat=len(v))), dtype="float64")
    distance = np.abs(row[:, None] - codes @ v)
    best = distance.argmin(1)
    two = np.sort(distance, axis=1)[:, :2]
    return (codes @ v)[best], codes[best], float(np.diff(two).min())


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(1, 4),
    signed=st.booleans(),
    axis=st.sampled_from([None, 0, 1]),
)
@settings(max_examples=40, deadline=None)
def test_lq_net(seed: int, bits: int, signed: bool, axis: int | None) -> None:
    rng = np.random.default_rng(seed)
    axis = axis if signed else None
    shape = (5, 60)[:: -1 if axis == 1 else 1]
    x = rng.normal(size=shape).astype("float32")
    g = rng.normal(size=shape).astype("float32")
    channels = 1 if axis is None else shape[axis]
    basis = rng.uniform(0.2, 1, (channels, bits)).astype("float32") * 2.0 ** np.arange(bits)
    basis = (basis / 2.0**bits).astype("float32")
    rows = x.reshape(1, -1) if axis is None else np.moveaxis(x, axis, 0)
    fitted, values, top = [], [], []
    for row, v in zip(rows.astype("float64"), basis.astype("float64")):
        level, codes, gap = nearest(row, v, signed)
        if gap < 1e-4 or np.linalg.matrix_rank(codes) < bits:
            return
        # The small ridge keeps the fit unique where a code is not used.
        ridge = 1e-6 * len(row) * np.eye(bits)
        new = np.linalg.solve(codes.T @ codes + ridge, codes.T @ row + ridge @ v)
        fitted.append(0.9 * v + 0.1 * new)
        values.append(level)
        top.append(v.sum())
    result = evaluate(
        LQNet(bits, signed, per_channel=axis is not None),
        x,
        g,
        role=WEIGHT if signed else ACTIVATION,
        channel_axis=axis,
        start={"basis": basis},
    )
    back = (lambda v: v.reshape(shape)) if axis is None else (lambda v: np.moveaxis(v, 0, axis))
    np.testing.assert_allclose(result.y, back(np.array(values)), rtol=1e-5, atol=1e-6)
    below = rows <= np.array(top)[:, None]
    np.testing.assert_allclose(result.dx, np.where(back(below), g, 0), rtol=1e-6)
    np.testing.assert_allclose(result.states["basis"], fitted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_basis_stands_still_outside_training(mode: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(8, 9))
    start = {"basis": np.float32([[0.3, 0.7]])}
    result = evaluate(LQNet(2), x, start=start, training=False, mode=mode)
    np.testing.assert_array_equal(result.states["basis"], start["basis"])


@pytest.mark.parametrize("signed", [True, False])
def test_start_is_close_to_the_best_fit(signed: bool, rng: np.random.Generator) -> None:
    values = rng.normal(size=(4, 3000)) * np.array([[0.1], [1], [3], [0]])
    values = values if signed else np.abs(values)
    target = Target("w", values.shape, role=WEIGHT, channel_axis=0)
    owned = LQNet(2, signed, per_channel=True).parameters(target, Sample(values))["basis"]
    assert not owned.trainable
    assert owned.value.shape == (4, 2)
    np.testing.assert_array_equal(owned.value[3], 0)
    for row, v in zip(values[:3], owned.value[:3]):
        level, _, _ = nearest(row, v.astype("float64"), signed)
        # Four levels on a normal distribution: 0.1175 at best; half of it: 0.1 or so.
        assert ((level - row) ** 2).mean() / (row**2).mean() < 0.13
