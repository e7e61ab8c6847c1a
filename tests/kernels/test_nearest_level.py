from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paddle_custom_quant.quantizers.look_up import nearest_level
from tests.kernels.agreement import EXAMPLES, LONG, SEEDS, SHAPES, both, needs_kernels
from tests.quantizers.grid_points import along

pytestmark = needs_kernels


@given(
    seed=SEEDS,
    shape=SHAPES,
    axis=st.sampled_from([None, 1, 2]),
    # Few levels are compared with all, many are searched.
    count=st.one_of(st.integers(2, 40), st.sampled_from([127, 128, 256, 300])),
    scales=st.sampled_from(["none", "one", "each"]),
    own_levels=st.booleans(),
    rule=st.sampled_from(["range", "below"]),
)
@example(1, LONG, None, 15, "one", False, "range")
@example(2, LONG, 1, 15, "each", True, "range")
@EXAMPLES
def test_agrees_with_the_composed_formula(
    seed: int, shape: Any, axis: Any, count: int, scales: str, own_levels: bool, rule: str
) -> None:
    rng = np.random.default_rng(seed)
    channels = 1 if axis is None else shape[axis]
    rows = channels if own_levels and axis is not None else 1
    gaps = rng.uniform(0.2, 1, (rows, count))
    levels = (np.cumsum(gaps, axis=1) - gaps.sum(axis=1, keepdims=True) / 2).astype("float32")
    thresholds = (levels[:, 1:] + levels[:, :-1]) / 2
    tensors = {}
    if scales != "none":
        size = 1 if scales == "one" else channels
        tensors["scale"] = rng.uniform(0.5, 2, size).astype("float32")
    scale = along(np.broadcast_to(tensors.get("scale", 1.0), channels), 3, axis)
    # Around a random level of the channel, off thresholds and ends.
    pick = rng.integers(0, count, shape)
    channel = along(np.arange(channels), 3, axis) if rows > 1 else 0
    u = levels[channel, pick] + rng.uniform(0.01, 0.09, shape) * rng.choice([-1, 1], shape)
    x, gradient = (u * scale).astype("float32"), rng.normal(size=shape).astype("float32")
    result = both(
        nearest_level,
        x,
        gradient,
        tensors,
        levels=levels if rows > 1 else levels[0],
        thresholds=thresholds if rows > 1 else thresholds[0],
        axis=axis,
        rule=rule,
        gradient_scale=0.5,
    )
    result.agree("y")
    result.agree("x")
    if tensors:
        # Inside, level - u cancels: it is off by a unit in the last place of u.
        sizes = gradient * (1 + np.abs(u))
        result.agree_in_sum("scale", sizes, axis if tensors["scale"].size > 1 else None)


@pytest.mark.parametrize("count", [3, 100])
@pytest.mark.parametrize("scaled", [False, True])
def test_ties_and_invalid_values(count: int, scaled: bool) -> None:
    """A value on a threshold takes the lower level; NaN stays; infinities take the ends."""
    levels = np.arange(count, dtype="float32")
    thresholds = levels[:-1] + np.float32(0.5)
    x = np.float32([0.5, 1.5, 1.50001, np.nan, np.inf, -np.inf, -5, 1e4, 0, count - 1])
    tensors = {"scale": [1.0]} if scaled else {}
    result = both(nearest_level, x, np.ones(10), tensors, levels=levels, thresholds=thresholds)
    last = count - 1
    np.testing.assert_array_equal(result.fused["y"], [0, 1, 2, np.nan, last, 0, 0, last, 0, last])
    np.testing.assert_array_equal(result.fused["x"], [1, 1, 1, 0, 0, 0, 0, 0, 1, 1])
    assert not scaled or np.isnan(result.fused["scale"]).all()


def test_gradient_below_the_first_level() -> None:
    x = np.float32([-5, -1e20, -np.inf, 5])
    options = {"levels": np.float32([0, 1]), "thresholds": np.float32([0.5])}
    below = both(nearest_level, x, np.ones(4), {}, rule="below", **options).fused["x"]
    np.testing.assert_array_equal(below, [1, 1, 0, 0])
    inside = both(nearest_level, x, np.ones(4), {}, **options).fused["x"]
    np.testing.assert_array_equal(inside, [0, 0, 0, 0])
