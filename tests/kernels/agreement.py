"""Run a formula forward and backward, composed and as its C++ operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

import numpy as np
import paddle
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from paddle_custom_quant import kernels
from tests.quantizers.grid_points import shared_sum

needs_kernels = pytest.mark.skipif(
    not kernels.available(), reason="the C++ operators are off or do not compile here"
)

# [outer, channels, inner]: below and above a vector, a row of columns and a short run.
SHAPES = st.tuples(
    st.integers(1, 9),
    st.one_of(st.integers(1, 40), st.integers(500, 600)),
    st.one_of(st.integers(1, 20), st.integers(60, 130)),
)
# More than a tile in one run.
LONG = (3, 2, 16401)
AXES = st.sampled_from([None, 0, 1, 2])
SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = settings(max_examples=60, deadline=None)


@dataclass
class Both:
    """What the C++ operator gave, and what the composed formula did."""

    fused: dict[str, np.ndarray]
    composed: dict[str, np.ndarray]

    def agree(self, name: str, where: Any = True, **tolerance: Any) -> None:
        """Check one result to 1e-6, or as told; ``where`` says which elements count."""
        where = np.broadcast_to(where, self.fused[name].shape)
        tolerance = {"rtol": 1e-6, "atol": 0.0, **tolerance}
        np.testing.assert_allclose(
            self.fused[name][where], self.composed[name][where], err_msg=name, **tolerance
        )

    def agree_in_sum(self, name: str, terms: np.ndarray, axis: int | None) -> None:
        """Check a gradient that sums terms of these sizes, to 1e-6 of the sizes' sum."""
        size = shared_sum(np.abs(terms), axis)
        difference = np.abs(self.fused[name].astype("float64") - self.composed[name])
        assert (difference <= 1e-6 * size + 1e-30).all(), (name, difference, size)


def both(formula: Any, x: np.ndarray, gradient: Any, tensors: Any, **options: Any) -> Both:
    """The results ``y`` and, by name, the gradients of ``x`` and of the other tensors."""
    return Both(
        evaluate(formula, x, gradient, tensors, **options),
        evaluate(formula.composed, x, gradient, tensors, **options),
    )


def evaluate(
    formula: Callable[..., Any],
    x: np.ndarray,
    gradient: np.ndarray,
    tensors: dict[str, np.ndarray],
    **options: Any,
) -> dict[str, np.ndarray]:
    """One run in the dynamic graph; x is passed first, all else by name."""
    given = {
        name: paddle.to_tensor(np.asarray(v, "float32"), stop_gradient=False)
        for name, v in {"x": x, **tensors}.items()
    }
    others = {name: tensor for name, tensor in given.items() if name != "x"}
    y = formula(given["x"], **others, **options)
    y.backward(paddle.to_tensor(np.asarray(gradient, "float32")))
    gradients = {name: v.grad.numpy() for name, v in given.items() if v.grad is not None}
    return {"y": y.numpy(), **gradients}
