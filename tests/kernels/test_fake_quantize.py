from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paddle_custom_quant.kernels.ops import RULES
from paddle_custom_quant.quantizers.fused import fake_quantize
from tests.kernels.agreement import AXES, EXAMPLES, LONG, SEEDS, SHAPES, both, needs_kernels
from tests.quantizers.grid_points import along, off_ties, shared_sum

pytestmark = needs_kernels


def parameters(rng: np.random.Generator, shape: Any, axis: Any, with_offset: bool) -> Any:
    """Step and offset, and both shaped to broadcast."""
    channels = 1 if axis is None else shape[axis]
    step = np.exp(rng.uniform(-3, 1, channels)).astype("float32")
    tensors = {"step": step}
    if with_offset:
        tensors["offset"] = rng.normal(size=channels).astype("float32")
    offset = tensors.get("offset", np.zeros(channels))
    return tensors, along(step.astype("float64"), len(shape), axis), along(offset, 3, axis)


@given(
    seed=SEEDS,
    shape=SHAPES,
    axis=AXES,
    bits=st.integers(1, 16),
    signed=st.booleans(),
    with_offset=st.booleans(),
    rule=st.sampled_from(RULES),
)
@example(1, LONG, None, 4, True, True, "lsq")
@example(2, LONG, 1, 4, True, False, "clip")
@EXAMPLES
def test_agrees_with_the_composed_formula(
    seed: int, shape: Any, axis: Any, bits: int, signed: bool, with_offset: bool, rule: str
) -> None:
    rng = np.random.default_rng(seed)
    qmin, qmax = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    tensors, step, offset = parameters(rng, shape, axis, with_offset)
    x = (off_ties(rng, shape, qmin, qmax) * step + offset).astype("float32")
    gradient = rng.normal(size=shape).astype("float32")
    tensors["step"] *= rng.choice(np.float32([-1, 1]), tensors["step"].shape)
    unit = float(rng.choice([1, 0.5, 0.125]))
    tensors["step"] /= np.float32(unit)
    result = both(
        fake_quantize,
        x,
        gradient,
        tensors,
        qmin=qmin,
        qmax=qmax,
        axis=axis,
        rule=rule,
        gradient_scale=0.25,
        unit=unit,
    )
    result.agree("y")
    result.agree("x")
    assert set(result.fused) == set(result.composed)
    if rule != "range":
        # A unit in the last place of u is what both may be off by.
        sizes = 0.25 * unit * gradient * max(abs(qmin), qmax, 1)
        for name in tensors:
            result.agree_in_sum(name, sizes, axis)


@given(seed=SEEDS, shape=SHAPES, axis=AXES, rule=st.sampled_from(RULES[1:]))
@example(1, LONG, None, "lsq")
@example(2, LONG, 2, "lsq")
@EXAMPLES
def test_sums_equal_those_of_doubles(seed: int, shape: Any, axis: Any, rule: str) -> None:
    """Against NumPy in float64: the operator's own sums do not drift."""
    rng = np.random.default_rng(seed)
    tensors, step, offset = parameters(rng, shape, axis, True)
    x = (off_ties(rng, shape, -8, 7) * step + offset).astype("float32")
    gradient = rng.normal(size=shape).astype("float32")
    result = both(fake_quantize, x, gradient, tensors, qmin=-8, qmax=7, axis=axis, rule=rule).fused
    u = (x - offset.astype("float64")) / step
    inside = (u >= -8) & (u <= 7)
    level = np.rint(np.clip(u, -8, 7))
    clip = np.where(u >= 7, 7, np.where(u <= -8, -8, 0))
    slope = np.where(inside, level - u, level) if rule == "lsq" else clip
    # One rounding of x - offset and one of the quotient, in units of the step.
    near = 2.0**-23 * (np.abs(u) + np.abs(offset / step) + np.abs(x / step))
    for name, slopes, error in (
        ("step", slope, near * inside * (rule == "lsq")),
        ("offset", np.where(inside, 0, 1), 0 * u),
    ):
        expected = shared_sum(gradient * slopes, axis)
        size = shared_sum(np.abs(gradient) * (2e-7 * np.abs(slopes) + error), axis)
        assert (np.abs(result[name] - expected) <= size + 1e-30).all(), name


@pytest.mark.parametrize("tensors", [{}, {"offset": np.float32([0.3])}], ids=["", "offset"])
def test_a_number_as_step(rng: np.random.Generator, tensors: Any) -> None:
    x = (off_ties(rng, (5, 7), 0, 15) / 15 + (0.3 if tensors else 0)).astype("float32")
    gradient = rng.normal(size=x.shape).astype("float32")
    result = both(fake_quantize, x, gradient, tensors, step=1 / 15, qmin=0, qmax=15)
    result.agree("y")
    result.agree("x")
    assert set(result.fused) == set(result.composed) == {"y", "x"}


@pytest.mark.parametrize("shape", [(9,), (3, 3), (1, 9, 1)])
@pytest.mark.parametrize("rule", RULES)
def test_bounds_ties_and_invalid_values(rule: str, shape: Any) -> None:
    """On a bound is inside; ties go to even; NaN stays, infinities become the ends."""
    x = np.array([-2.0, 2.0, 0.5, 1.5, -0.5, -1.5, np.nan, np.inf, -np.inf], "float32")
    for tensors, axis in (({"step": [1.0]}, None), ({"step": np.ones(shape[-1])}, len(shape) - 1)):
        result = both(
            fake_quantize,
            x.reshape(shape),
            np.ones(shape),
            tensors,
            qmin=-2,
            qmax=2,
            rule=rule,
            axis=axis,
        )
        fused = result.fused
        expected = [-2, 2, 0, 2, 0, -2, np.nan, 2, -2]
        np.testing.assert_array_equal(fused["y"].ravel(), expected)
        np.testing.assert_array_equal(fused["x"].ravel(), [1, 1, 1, 1, 1, 1, 0, 0, 0])
        if rule != "range":
            np.testing.assert_array_equal(fused["step"], result.composed["step"])


@pytest.mark.parametrize("step", [2.0**-60, 1e-20, 1e20, 2.0**100])
def test_steps_far_from_one(step: float) -> None:
    x = np.float32([0.3, 1.2, 6.9, 7.2, 900, -7.7, -8.2, np.inf, -np.inf, np.nan])
    x = x * np.float32(step)
    result = both(fake_quantize, x, np.ones(10), {"step": [step]}, qmin=-8, qmax=7, rule="lsq")
    result.agree("y")
    result.agree("x")


def test_one_step_for_a_large_tensor(rng: np.random.Generator) -> None:
    """Large enough to be written past the caches."""
    x = (off_ties(rng, (1027, 4099), -8, 7)).astype("float32")
    gradient = rng.normal(size=x.shape).astype("float32")
    result = both(fake_quantize, x, gradient, {"step": [1.0]}, qmin=-8, qmax=7, rule="lsq")
    result.agree("y")
    result.agree("x")
    result.agree("step", rtol=0, atol=1e-6 * np.abs(gradient).sum())


@pytest.mark.parametrize(
    "tensors, complaint",
    [
        ({"step": np.ones(3)}, "step must hold one value or one for each of the 4 channels"),
        ({"step": np.ones((4, 1))}, r"got shape \[4, 1\]"),
        ({"step": np.ones(4), "offset": np.ones(1)}, r"offset must have the shape \[4\]"),
    ],
)
def test_parameters_of_another_shape_are_refused(tensors: Any, complaint: str) -> None:
    given = {name: paddle.to_tensor(np.float32(value)) for name, value in tensors.items()}
    with pytest.raises(ValueError, match=complaint):
        fake_quantize(paddle.ones([2, 4]), **given, qmin=-8, qmax=7, axis=1, rule="lsq")


@pytest.mark.parametrize("rule", RULES[1:])
def test_of_a_step_its_size_counts(rng: np.random.Generator, rule: str) -> None:
    x, gradient = rng.normal(size=(2, 3, 50)).astype("float32"), np.ones((2, 3, 50), "float32")

    def run(*steps: float) -> Any:
        tensors = {"step": np.array(steps, "float32")}
        return both(fake_quantize, x, gradient, tensors, qmin=-4, qmax=3, axis=1, rule=rule)

    usual, mirrored, none = run(0.2, 0.3, 0.4), run(0.2, -0.3, 0.4), run(0.2, 0.0, -(2.0**-70))
    for name in ("fused", "composed"):
        ours, theirs, zero = (getattr(result, name) for result in (mirrored, usual, none))
        np.testing.assert_array_equal(ours["y"], theirs["y"])
        np.testing.assert_array_equal(ours["x"], theirs["x"])
        np.testing.assert_array_equal(ours["step"], theirs["step"] * [1, -1, 1])
        assert theirs["step"].all()
        np.testing.assert_array_equal(zero["step"][1:], [0, 0])
        np.testing.assert_array_equal(np.abs(zero["y"][:, 1:]).max(), 2.0**-58)
