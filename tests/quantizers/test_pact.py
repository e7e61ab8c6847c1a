"""PACT and its clip alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddle_custom_quant.quantizers import PACT, PACTClip, Sample
from paddle_custom_quant.target import Target
from tests.quantizers.evaluate import MODES, evaluate
from tests.quantizers.grid_points import off_ties


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(1, 8),
    signed=st.booleans(),
    alpha=st.floats(0.1, 20),
)
@settings(max_examples=30, deadline=None)
def test_pact(seed: int, bits: int, signed: bool, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    bits = max(bits, 1 + signed)
    alpha = float(np.float32(alpha))
    p = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    low = -alpha if signed else 0.0
    x = (off_ties(rng, (7, 11), -p if signed else 0, p) * alpha / p).astype("float32")
    g = rng.normal(size=x.shape).astype("float32")
    result = evaluate(PACT(bits, signed=signed), x, g, start={"alpha": alpha})
    np.testing.assert_allclose(
        result.y, np.rint(np.clip(x, low, alpha) * p / alpha) * alpha / p, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(result.dx, np.where((x >= low) & (x <= alpha), g, 0), rtol=1e-6)
    above, below = x >= alpha, (x <= -alpha) & signed
    expected = (g * above).sum() - (g * below).sum()
    np.testing.assert_allclose(result.gradients["alpha"], [expected], rtol=1e-4, atol=1e-4)


def test_pact_at_alpha_itself() -> None:
    """x = alpha passes its gradient to both, whatever 6 / (6 / 15) rounds to."""
    for alpha in (6.0, 0.1, 3.3):
        result = evaluate(PACT(4), np.float32([alpha, 0.0]), start={"alpha": alpha})
        np.testing.assert_allclose(result.dx, [1, 1], rtol=1e-6)
        np.testing.assert_allclose(result.gradients["alpha"], [1], rtol=1e-6)


def test_pact_start_values(rng: np.random.Generator) -> None:
    target = Target("x", (-1, 8))
    values = np.abs(rng.normal(size=1000))
    parameter = PACT(4, alpha=2.5).parameters(target)["alpha"]
    assert parameter.value == np.float32(2.5)
    assert parameter.weight_decay == 1e-4
    assert parameter.trainable
    chosen = PACT(4).parameters(target, Sample(values, range=(0.0, 1.75)))["alpha"]
    np.testing.assert_allclose(chosen.value, [1.75], rtol=1e-6)
    both = PACT(4, signed=True).parameters(target, Sample(values, range=(-3.0, 1.75)))["alpha"]
    np.testing.assert_allclose(both.value, [3.0], rtol=1e-6)
    calibrated = float(PACT(4).parameters(target, Sample(values))["alpha"].value[0])

    def error(alpha: float) -> float:
        return ((np.rint(np.clip(values, 0, alpha) * 15 / alpha) * alpha / 15 - values) ** 2).sum()

    assert error(calibrated) <= 1.01 * min(error(a) for a in np.linspace(0.1, values.max(), 200))
    zero = PACT(4).parameters(target, Sample(np.zeros(5)))["alpha"]
    assert zero.value == np.float32(6)


@pytest.mark.parametrize("mode", MODES)
def test_clip_is_paddleslims_formula(mode: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(9, 8)).astype("float32")
    g = rng.normal(size=x.shape).astype("float32")
    a = 0.75
    relu = lambda v: np.maximum(v, 0)  # noqa: E731
    result = evaluate(PACTClip(a), x, g, mode=mode)
    np.testing.assert_allclose(result.y, x - relu(x - a) + relu(-a - x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(result.dx, np.where(np.abs(x) <= a, g, 0), rtol=1e-6)
    expected = (g * (x > a)).sum() - (g * (x < -a)).sum()
    np.testing.assert_allclose(result.gradients["alpha"], [expected], rtol=1e-5, atol=1e-5)


def test_clip_keeps_what_is_inside_bit_for_bit(rng: np.random.Generator) -> None:
    x = np.append(rng.uniform(-20, 20, 5000), [20.0, -20.0]).astype("float32")
    result = evaluate(PACTClip(), x)
    np.testing.assert_array_equal(result.y, x)
    np.testing.assert_array_equal(result.dx, 1)
    parameter = PACTClip().parameters(Target("x", (3,)))["alpha"]
    assert (parameter.value, parameter.weight_decay) == (20, 1e-4)
    assert PACTClip().grid(Target("x", (3,)), None, alpha=np.ones(1)) is None
