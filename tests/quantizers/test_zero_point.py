from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant.quantizers import (
    DSQ,
    LSQ,
    LSQPlus,
    PowerOfTwoScale,
    Sample,
    WholeZeroPoint,
)
from paddle_custom_quant.quantizers.description import describe, rebuild
from paddle_custom_quant.target import ACTIVATION, WEIGHT, Target
from tests.quantizers.evaluate import evaluate

STEP = 0.125


@pytest.mark.parametrize(
    ("offset", "zero_point"),
    [(-0.62, 5), (-0.31, 2), (0.0, 0), (0.4, 0), (-9.0, 15)],
    ids=["up", "down", "none", "below zero", "beyond the range"],
)
def test_levels_are_the_step_times_integers_around_a_whole_zero_point(offset, zero_point, rng):
    x = rng.normal(size=(6, 50)).astype("float32")
    g = rng.normal(size=x.shape).astype("float32")
    quantizer = WholeZeroPoint(LSQPlus(4, signed=False))
    start = {"step": STEP, "offset": offset}
    result = evaluate(quantizer, x, g, role=ACTIVATION, start=start)
    q = np.clip(np.round(x / STEP + zero_point), 0, 15)
    np.testing.assert_array_equal(result.y, (q - zero_point) * np.float32(STEP))
    # Where the offset is a whole number of steps anyway the wrapper does nothing, and gradients
    # are taken as if it were so.
    whole = {"step": STEP, "offset": -STEP * zero_point}
    inner = evaluate(LSQPlus(4, signed=False), x, g, role=ACTIVATION, start=whole)
    np.testing.assert_array_equal(result.dx, inner.dx)
    for name in ("step", "offset"):
        np.testing.assert_allclose(result.gradients[name], inner.gradients[name], rtol=1e-5)


def test_a_given_zero_point_makes_a_symmetric_grid(rng):
    w = rng.normal(0.3, 1.0, (8, 20)).astype("float32")
    target = Target("w", w.shape, role=WEIGHT, channel_axis=0)
    inner = DSQ(4, per_channel=True)
    quantizer = WholeZeroPoint(inner, at=8)
    owned = {k: p.value for k, p in inner.parameters(target, Sample(w)).items()}
    grid = quantizer.grid(target, w, **owned)
    y = evaluate(quantizer, w, role=WEIGHT, channel_axis=0).y
    mean, reach = w.mean(axis=1), 2.6 * w.std(axis=1)
    np.testing.assert_allclose(grid.step, 2 * reach / 15, rtol=1e-5)
    np.testing.assert_allclose(grid.zero_point, 8, rtol=1e-6)
    q = np.clip(np.round(w / grid.step[:, None]), -8, 7)
    np.testing.assert_allclose(y, q * grid.step[:, None], atol=1e-5)
    assert abs(mean).max() > 0.1


def test_rounding_the_step_first_keeps_the_zero_point(rng):
    x = rng.normal(size=(6, 50)).astype("float32")
    start = {"step": 0.1, "offset": -0.71}
    quantizer = WholeZeroPoint(PowerOfTwoScale(LSQPlus(4, signed=False)))
    y = evaluate(quantizer, x, role=ACTIVATION, start=start).y
    np.testing.assert_array_equal(y, (np.clip(np.round(x / STEP + 7), 0, 15) - 7) * STEP)


def test_one_without_an_offset_stays_as_it_is(rng):
    x = rng.normal(size=(6, 50)).astype("float32")
    for at in (None, 1):
        wrapped = evaluate(WholeZeroPoint(LSQ(4), at=at), x, role=WEIGHT)
        np.testing.assert_array_equal(wrapped.y, evaluate(LSQ(4), x, role=WEIGHT).y)


def test_description_and_bounds():
    quantizer = WholeZeroPoint(DSQ(4), at=8)
    assert rebuild(describe(quantizer)) == quantizer
    with pytest.raises(ValueError, match="at should be from 0 to 15, got 16"):
        WholeZeroPoint(DSQ(4), at=16)
    with pytest.raises(TypeError, match="uniform quantizer"):
        WholeZeroPoint(lambda x: x)
