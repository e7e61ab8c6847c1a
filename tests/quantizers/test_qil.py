"""QIL against NumPy and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_custom_quant.quantizers import QIL, Sample
from paddle_custom_quant.target import WEIGHT, Target
from tests.quantizers.evaluate import evaluate
from tests.quantizers.grid_points import along, derivative, off_ties


def qil(x: Any, center: Any, distance: Any, top: int, signed: bool, rescale: bool, at: Any) -> Any:
    """Forward; with ``at`` the transformed value plus the rounding error at that point."""

    def transform(x: Any, center: Any, distance: Any) -> Any:
        magnitude = np.abs(x) if signed else x
        return np.clip(magnitude / (2 * distance) - center / (2 * distance) + 0.5, 0, 1) * top

    t, there = transform(x, center, distance), transform(*at)
    sign = np.sign(x) if signed else 1
    y = sign * (t + np.rint(there) - there) / top
    return y * (center + distance) if rescale else y


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(2, 6),
    signed=st.booleans(),
    rescale=st.booleans(),
    axis=st.sampled_from([None, 0, 1]),
)
@settings(max_examples=40, deadline=None)
def test_qil(seed: int, bits: int, signed: bool, rescale: bool, axis: int | None) -> None:
    rng = np.random.default_rng(seed)
    shape = (3, 4, 2)
    top = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    channels = 1 if axis is None else shape[axis]
    distance = rng.uniform(0.3, 1, channels).astype("float32").astype("float64")
    center = distance + rng.uniform(0, 0.5, channels).astype("float32")
    c, d = (along(v, 3, axis) for v in (center, distance))
    x = (off_ties(rng, shape, 0, top, beyond=1) / top - 0.5) * 2 * d + c
    # Away from zero, where the sign turns.
    x = np.maximum(x, 0.02) * (rng.choice([-1, 1], shape) if signed else 1)
    x = x.astype("float32").astype("float64")
    g = rng.normal(size=shape).astype("float32")
    at = (x, c, d)
    result = evaluate(
        QIL(bits, signed, rescale, per_channel=axis is not None),
        x,
        g,
        role=WEIGHT,
        channel_axis=axis,
        start={"center": center, "distance": distance},
    )
    np.testing.assert_allclose(result.y, qil(*at, top, signed, rescale, at), rtol=1e-5, atol=1e-6)

    def loss(x: Any = x, center: Any = center, distance: Any = distance) -> float:
        c, d = (along(v, 3, axis) for v in (center, distance))
        return float((g * qil(x, c, d, top, signed, rescale, at)).sum())

    close = {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(result.dx, derivative(lambda v: loss(x=v), x), **close)
    for name, value in (("center", center), ("distance", distance)):
        expected = derivative(lambda v, name=name: loss(**{name: v}), value)
        np.testing.assert_allclose(result.gradients[name], expected, **close, err_msg=name)


@pytest.mark.parametrize("axis", [None, 1])
def test_both_start_at_half_the_maximum(axis: int | None, rng: np.random.Generator) -> None:
    w = rng.normal(size=(6, 4))
    target = Target("w", w.shape, role=WEIGHT, channel_axis=axis)
    owned = QIL(4, per_channel=axis is not None).parameters(target, Sample(w))
    expected = np.atleast_1d(np.abs(w).max(axis=None if axis is None else 0)) / 2
    for name in ("center", "distance"):
        np.testing.assert_allclose(owned[name].value, expected, rtol=1e-6)
    owned = QIL(4).parameters(Target("x", (3,)), Sample(w, range=(-1.0, 3.0)))
    assert owned["center"].value == owned["distance"].value == 1.5
