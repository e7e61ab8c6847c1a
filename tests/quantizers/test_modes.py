"""The dynamic graph, old programs and new programs compute the same."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant.quantizers import Sample
from paddle_custom_quant.target import WEIGHT
from tests.quantizers.evaluate import MODES, evaluate
from tests.quantizers.methods import CASES, CLIPS, Case


@pytest.mark.parametrize("case", CASES + CLIPS, ids=lambda case: case.id)
@pytest.mark.filterwarnings("ignore:.*is unsigned")
def test_every_mode_agrees(case: Case, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 3, 5)).astype("float32")
    gradient = rng.normal(size=x.shape).astype("float32")
    results = [
        evaluate(
            case.quantizer,
            x,
            gradient,
            role=case.role,
            channel_axis=case.channel_axis,
            sample=Sample(x),
            start=case.start,
            unknown_batch=case.role != WEIGHT and mode != "dynamic",
            mode=mode,
        )
        for mode in MODES
    ]
    first = results[0]
    for result in results[1:]:
        np.testing.assert_allclose(result.y, first.y, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result.dx, first.dx, rtol=1e-4, atol=1e-5)
        assert result.gradients.keys() == first.gradients.keys()
        for name, value in first.gradients.items():
            np.testing.assert_allclose(result.gradients[name], value, rtol=1e-4, atol=1e-4)
        for name, value in first.states.items():
            np.testing.assert_allclose(result.states[name], value, rtol=1e-4, atol=1e-5)
