"""EWGS: the backward of another quantizer, scaled element by element."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from paddle_custom_quant.compat import legacy_static
from paddle_custom_quant.quantizers import EWGS, LSQ, LSQPlus, MovingAverageAbsMax
from paddle_custom_quant.target import WEIGHT
from tests.quantizers.evaluate import MODES, evaluate
from tests.quantizers.grid_points import off_ties


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("delta", [0.0, 0.3])
def test_gradient(mode: str, delta: float, rng: np.random.Generator) -> None:
    step, n, p = 0.25, -4, 3
    x = (off_ties(rng, (9, 8), n, p) * step).astype("float32")
    g = rng.normal(size=x.shape).astype("float32")
    inner = evaluate(LSQ(3), x, g, role=WEIGHT, start={"step": step})
    result = evaluate(EWGS(LSQ(3), delta), x, g, role=WEIGHT, start={"step": step}, mode=mode)
    np.testing.assert_array_equal(result.y, inner.y)
    u = x.astype("float64") / step
    inside = (u >= n) & (u <= p)
    # In units of the whole range, x_n - x_q is the rounding error over the number of steps.
    scaled = g * (1 + delta * np.sign(g) * (u - np.rint(u)) / 7)
    np.testing.assert_allclose(result.dx, np.where(inside, scaled, 0), rtol=1e-5)
    rounded = np.rint(np.clip(u, n, p))
    expected = (np.where(inside, scaled, g) * (rounded - np.where(inside, u, 0))).sum()
    expected /= np.sqrt(x.size * p)
    np.testing.assert_allclose(result.gradients["step"], [expected], rtol=1e-4, atol=1e-5)


def test_a_running_state_is_updated_once(rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 4))
    for mode in MODES:
        result = evaluate(EWGS(MovingAverageAbsMax(4)), x, mode=mode)
        np.testing.assert_allclose(result.states["count"], [1.0])


def test_offset_and_infinite_input(rng: np.random.Generator) -> None:
    x = np.append(rng.normal(size=20), [np.inf, -np.inf])
    result = evaluate(EWGS(LSQPlus(4), 0.1), x)
    assert np.isfinite(result.y).all()
    np.testing.assert_array_equal(result.dx[-2:], 0)


def test_as_a_function(rng: np.random.Generator) -> None:
    """In the dynamic graph a hook scales the gradient; a program cannot, and says so."""
    values = rng.normal(size=(5, 6)).astype("float32")
    slopes = []
    for quantizer in (LSQ(3), EWGS(LSQ(3), 0.5)):
        x = paddle.to_tensor(values, stop_gradient=False)
        quantizer(x).sum().backward()
        slopes.append(x.grad.numpy())
    assert np.any(slopes[0] != slopes[1])
    with legacy_static(), paddle.static.program_guard(paddle.static.Program()):
        x = paddle.static.data("x", [2, 3])
        with pytest.raises(ValueError, match="give it to quant_aware"):
            EWGS(LSQ(3))(x)
