"""What holds for every method: levels, grid, bad values, bad descriptions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from paddle_custom_quant import quantizers
from paddle_custom_quant.quantizers import (
    EWGS,
    LSQ,
    PACT,
    QIL,
    SAWB,
    AbsMax,
    APoT,
    DoReFaActivation,
    DoReFaGradient,
    DoReFaWeight,
    PACTClip,
    PowerOfTwoScale,
    Sample,
    UniformGrid,
)
from paddle_custom_quant.quantizers.base import Grid
from paddle_custom_quant.target import ACTIVATION, WEIGHT, Target
from tests.quantizers.evaluate import evaluate
from tests.quantizers.methods import CASES, CLIPS, Case

ALL = [pytest.param(case, id=case.id) for case in CASES]
pytestmark = pytest.mark.filterwarnings("ignore:.*is unsigned")


def run(case: Case, x: np.ndarray, sample: Sample | None, **options: Any) -> Any:
    return evaluate(
        case.quantizer,
        x,
        role=case.role,
        channel_axis=case.channel_axis,
        sample=sample,
        start=case.start,
        **options,
    )


def target_of(case: Case, x: np.ndarray, name: str = "t") -> Target:
    return Target(
        name,
        x.shape,
        role=case.role,
        channel_axis=case.channel_axis,
        training=False,
    )


def grid_of(case: Case, x: np.ndarray) -> Grid | None:
    target = target_of(case, x)
    start = case.quantizer.parameters(target, Sample(x))
    given = {k: np.broadcast_to(v, start[k].value.shape) for k, v in case.start.items()}
    values = {k: np.asarray(given.get(k, p.value), "float32") for k, p in start.items()}
    return case.quantizer.grid(target, x if case.role == WEIGHT else None, **values)


def levels_of(grid: Grid) -> np.ndarray:
    """All levels, [1 or channels, levels]."""
    if isinstance(grid, UniformGrid):
        integers = np.arange(grid.qmin, grid.qmax + 1)
        return grid.step[:, None].astype("float64") * integers + grid.offset[:, None]
    return np.atleast_2d(grid.levels).astype("float64")


@pytest.mark.parametrize("case", ALL)
def test_values_lie_on_the_grid(case: Case, rng: np.random.Generator) -> None:
    x = (rng.normal(size=(6, 5, 40)) * rng.uniform(0.05, 3)).astype("float32")
    result = run(case, x, Sample(x), training=False)
    assert result.y.shape == x.shape
    assert result.y.dtype == np.float32
    grid = grid_of(case, x)
    if case.role == ACTIVATION and case.quantizer == AbsMax(4, signed=False):
        assert grid is None, "its range is that of each batch"
        return
    assert grid is not None
    levels = levels_of(grid)
    assert levels.shape[1] <= 2**case.quantizer.bits
    rows = [result.y.ravel()] if grid.axis is None else np.moveaxis(result.y, grid.axis, 0)
    assert len(levels) == len(rows)
    for row, own in zip(rows, levels):
        distance = np.abs(np.reshape(row, [-1, 1]) - own).min(axis=1)
        assert distance.max() <= 2e-6 * np.abs(own).max()


@pytest.mark.parametrize("case", ALL)
def test_zeros_stay_zeros(case: Case) -> None:
    x = np.zeros((3, 4, 5), dtype="float32")
    offset = "start" in case.start or "offset" in case.start
    result = run(case, x, Sample(x))
    assert np.isfinite(result.y).all()
    assert np.isfinite(result.dx).all()
    assert all(np.isfinite(g).all() for g in result.gradients.values())
    if case.role == WEIGHT and not offset:
        np.testing.assert_allclose(result.y, 0, atol=1e-15)


@pytest.mark.parametrize("case", ALL + [pytest.param(c, id=c.id) for c in CLIPS])
def test_nan_and_infinity_are_not_hidden(case: Case, rng: np.random.Generator) -> None:
    """NaN stays NaN; infinity becomes an end of the range, or NaN where it is part of a measure."""
    clean = rng.normal(size=(4, 3, 20)).astype("float32")
    x = clean.copy()
    x[0, 0, :3] = np.nan, np.inf, -np.inf
    result = run(case, x, Sample(clean), training=False)
    assert np.isnan(result.y[0, 0, 0])
    passes_everywhere = case.quantizer == DoReFaWeight(1)
    assert passes_everywhere or result.dx[0, 0, 0] == 0 or np.isnan(result.dx[0, 0, 0])
    top, bottom = result.y[0, 0, 1:3]
    finite = run(
        case, np.where(np.isinf(x), np.sign(x) * 1e6, clean), Sample(clean), training=False
    )
    measured = getattr(case.quantizer, "measures_input", False) or (
        case.role == WEIGHT
        and isinstance(case.quantizer, (APoT, quantizers.DSQ, quantizers.Percentile))
    )
    if np.isfinite(top) and not measured:
        np.testing.assert_allclose([top, bottom], finite.y[0, 0, 1:3], rtol=1e-6)
        assert not np.any(result.dx[0, 0, 1:3])


@pytest.mark.parametrize("case", ALL)
def test_description_can_be_compared_and_hashed(case: Case) -> None:
    assert {case.quantizer: 1}[case.quantizer] == 1
    assert case.quantizer.method == case.quantizer.method.lower()
    with pytest.raises(AttributeError):
        case.quantizer.bits = 3


# The percentile of a quantized weight is another one; DoReFa's tanh is not undone.
IDEMPOTENT = (LSQ, quantizers.LSQPlus, quantizers.TQT, PACT, DoReFaActivation, AbsMax)
IDEMPOTENT += (quantizers.MovingAverageAbsMax,)
TWICE = [p for p in ALL if isinstance(p.values[0].quantizer, IDEMPOTENT)]
assert len(TWICE) > 15


@pytest.mark.parametrize("case", TWICE)
def test_quantizing_twice_changes_nothing(case: Case, rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 4, 30)).astype("float32")
    once = run(case, x, Sample(x), training=False).y
    twice = run(case, once, Sample(x), training=False).y
    np.testing.assert_allclose(twice, once, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "make",
    [
        DoReFaWeight,
        DoReFaActivation,
        DoReFaGradient,
        PACT,
        LSQ,
        quantizers.LSQPlus,
        quantizers.DSQ,
        QIL,
        APoT,
        quantizers.LQNet,
        quantizers.TQT,
        quantizers.N2UQ,
        AbsMax,
        quantizers.MovingAverageAbsMax,
        quantizers.Percentile,
        SAWB,
    ],
)
def test_bad_bits(make: Any) -> None:
    for bits in (0, 17, -1, 100):
        with pytest.raises(ValueError, match="bits"):
            make(bits)
    for bits in (4.0, "4", None, True):
        with pytest.raises(TypeError, match="bits must be an integer"):
            make(bits)
    assert make(np.int64(4)).bits == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSQ(1), "bits must be between 2 and 16, got 1"),
        (lambda: PACT(1, signed=True), "bits must be between 2 and 16"),
        (lambda: AbsMax(1), "bits must be between 2 and 16"),
        (lambda: SAWB(6), "coefficients for 2, 3, 4, 5, 8 bits, got 6"),
        (lambda: APoT(8), "between 2 and 7"),
        (lambda: APoT(7, signed=False), "between 1 and 6"),
        (lambda: quantizers.LQNet(9), "between 1 and 8"),
        (lambda: PACT(4, alpha=0.0), "alpha should be a positive number, got 0.0"),
        (lambda: PACTClip(alpha=float("nan")), "alpha should be a positive number"),
        (lambda: APoT(4, alpha=-1.0), "alpha should be a positive number"),
        (lambda: quantizers.DSQ(4, alpha=0.7), "alpha should be in"),
        (lambda: quantizers.DSQ(4, momentum=1.0), "momentum should be in"),
        (lambda: quantizers.Percentile(4, percentile=0.0), "percentile should be in"),
        (lambda: EWGS(LSQ(4), delta=-1.0), "delta should be 0 or more"),
        (lambda: EWGS(QIL(4)), "QIL transforms it first"),
        (lambda: EWGS(PowerOfTwoScale(DoReFaWeight(4))), "DoReFaWeight transforms it first"),
    ],
)
def test_bad_descriptions(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("wrapper", [EWGS, PowerOfTwoScale])
@pytest.mark.parametrize("inner", [APoT(4), LSQ, 4, PACTClip()])
def test_wrappers_take_uniform_quantizers(wrapper: Any, inner: Any) -> None:
    with pytest.raises(TypeError, match="takes a uniform quantizer such as"):
        wrapper(inner)


@pytest.mark.parametrize("case", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_invalid_weights_name_the_tensor(case: Case, bad: float) -> None:
    values = np.ones((3, 3, 3), dtype="float32")
    values[1, 1] = bad
    with pytest.raises(ValueError, match=r"'conv1\.w_0' holds 3 values that are NaN or infinite"):
        case.quantizer.parameters(target_of(case, values, "conv1.w_0"), Sample(values))


@pytest.mark.parametrize("case", ALL)
def test_empty_sample_names_the_tensor(case: Case) -> None:
    target = target_of(case, np.ones((3, 3, 3)), "relu_1")
    with pytest.raises(ValueError, match="no values of 'relu_1'"):
        case.quantizer.parameters(target, Sample(np.zeros((0, 3))))


@pytest.mark.parametrize("case", [p for p in ALL if p.values[0].channel_axis is not None])
def test_unknown_channel_axis(case: Case) -> None:
    values = np.ones((3, 3, 3), dtype="float32")
    target = Target("fc.w_0", values.shape, role=WEIGHT)
    with pytest.raises(ValueError, match=r"axis of 'fc\.w_0' is unknown: use per_channel=False"):
        case.quantizer.parameters(target, Sample(values))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("quantizer", [DoReFaActivation(4), PACT(4), LSQ(4, signed=False)])
def test_clipped_negative_values_are_reported(quantizer: Any) -> None:
    target = Target("x", (8,))
    values = np.array([-1, -2, 1, 2, 3, 4, 5, 6], dtype="float32")
    with pytest.warns(UserWarning, match=r"25\.0% of the values of 'x' are negative"):
        quantizer.parameters(target, Sample(values))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantizer.parameters(target, Sample(np.abs(values)))
        quantizers.LSQPlus(4, signed=False).parameters(target, Sample(values))


def test_every_method_is_exported() -> None:
    for name in quantizers.__all__:
        assert getattr(quantizers, name).__doc__
