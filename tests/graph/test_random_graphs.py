"""Random graphs equal their by-hand versions.

``PCQ_RANDOM_GRAPHS`` sets their number; ``PCQ_SEED`` repeats a run.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import numpy as np
import paddle
import pytest
from hypothesis import strategies as st
from paddle import nn
from paddle.nn import functional as F

from tests.functions import bend, clipped, skewed
from tests.reference import OPS, assert_equal_by_hand

pytestmark = pytest.mark.usefixtures("float64")

GRAPHS = int(os.environ.get("PCQ_RANDOM_GRAPHS") or 300)
SEED = int(os.environ.get("PCQ_SEED") or random.randrange(2**31))

SHAPE = [2, 2, 4, 4]
FEED = {name: np.random.default_rng(i).standard_normal(SHAPE) for i, name in enumerate("xy")}
KINDS = (
    "conv", "frozen conv", "linear", "product", "add", "concat", "max pool", "average pool",
    "relu", "sigmoid", "batch norm", "detach",
)  # fmt: skip
MORE_OPS = ("elementwise_add", "concat", "pool2d", "relu")


@dataclass(frozen=True)
class Step:
    """One more tensor: an operator on two that are there (counted from the last one back)."""

    kind: str
    a: int
    b: int
    weight: int


@dataclass(frozen=True)
class Recipe:
    """A net, and what of it is quantized, with what."""

    steps: tuple[Step, ...]
    losses: tuple[int, ...]
    gradient_of_input: bool
    weight: Any
    activation: Any
    ops: tuple[str, ...]


steps = st.builds(
    Step, st.sampled_from(KINDS), st.integers(0, 6), st.integers(0, 6), st.integers(0, 5)
)
recipes = st.builds(
    Recipe,
    steps=st.lists(steps, min_size=1, max_size=9).map(tuple),
    losses=st.lists(st.integers(0, 6), min_size=1, max_size=3).map(tuple),
    gradient_of_input=st.booleans(),
    weight=st.sampled_from([None, bend, skewed]),
    activation=st.sampled_from([None, bend, clipped]),
    ops=st.sets(st.sampled_from(MORE_OPS)).map(lambda more: (*OPS, *sorted(more))),
)


@dataclass
class Build:
    """Appends a recipe's net to the current program."""

    recipe: Recipe
    tensors: list[Any] = field(default_factory=list)
    needs_gradient: list[bool] = field(default_factory=list)
    weights: dict[Any, list[Any]] = field(default_factory=dict)

    def loss(self) -> Any:
        for name in FEED:
            self.tensors.append(paddle.static.data(name, SHAPE, "float64"))
            self.tensors[-1].stop_gradient = not self.recipe.gradient_of_input
            self.needs_gradient.append(self.recipe.gradient_of_input)
        for step in self.recipe.steps:
            made, needs = self.apply(step), self.will_need_gradient(step)
            self.tensors.append(made)
            self.needs_gradient.append(needs)
        ends = [self.conv(self.back(i), Step("conv", i, i, 0)) for i in self.recipe.losses]
        return paddle.add_n([paddle.mean(paddle.tanh(end) * end) for end in ends])

    def back(self, number: int) -> Any:
        return self.tensors[-1 - number % len(self.tensors)]

    def needs(self, number: int) -> bool:
        """Whether the float net needs the gradient of that tensor."""
        return self.needs_gradient[-1 - number % len(self.needs_gradient)]

    def will_need_gradient(self, step: Step) -> bool:
        if step.kind in ("conv", "linear", "batch norm"):
            return True
        both = step.kind in ("product", "add", "concat", "detach")
        return self.needs(step.a) or (both and self.needs(step.b))

    def parameter(self, shape: tuple[int, ...], step: Step, trainable: bool = True) -> Any:
        """One that is there already, or a new one."""
        held = self.weights.setdefault((shape, trainable), [])
        if step.weight >= len(held):
            attr = paddle.ParamAttr(trainable=trainable)
            held.append(paddle.create_parameter(list(shape), "float64", attr=attr))
            return held[-1]
        return held[step.weight]

    def conv(self, x: Any, step: Step, trainable: bool = True) -> Any:
        shape = (2 + step.b % 2, x.shape[1], 3, 3)
        return F.conv2d(x, self.parameter(shape, step, trainable), padding=1)

    def apply(self, step: Step) -> Any:
        a, b = self.back(step.a), self.back(step.b)
        if step.kind in ("conv", "frozen conv"):
            return self.conv(a, step, trainable=step.kind == "conv")
        if step.kind == "linear":
            turned = bool(step.b % 2)
            return paddle.matmul(a, self.parameter((4, 4), step), transpose_y=turned)
        if step.kind in ("product", "add"):
            b = b if b.shape == a.shape else F.sigmoid(a)
            return a + b if step.kind == "add" else paddle.matmul(a, b, transpose_y=True)
        if step.kind == "concat":
            return paddle.concat([a, b], axis=1)
        if step.kind == "detach":
            blocked = paddle.assign(a)
            # On a tensor that needs no gradient the mark says nothing: Paddle sets it there too.
            blocked.stop_gradient = blocked.stop_gradient or self.needs(step.a)
            return blocked + (b if b.shape == a.shape else a)
        if step.kind == "batch norm":
            return nn.BatchNorm2D(a.shape[1])(a)
        one = {
            "max pool": lambda: F.max_pool2d(a, 3, 1, 1),
            "average pool": lambda: F.avg_pool2d(a, 3, 1, 1),
            "relu": lambda: F.relu(a),
            "sigmoid": lambda: F.sigmoid(a),
        }
        return one[step.kind]()


@hypothesis.seed(SEED)
@hypothesis.settings(
    max_examples=GRAPHS,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(recipes)
def equal_by_hand(recipe: Recipe) -> None:
    assert_equal_by_hand(
        lambda: Build(recipe).loss(), FEED, recipe.weight, recipe.activation, recipe.ops
    )


def test_random_graphs() -> None:
    print(f"PCQ_SEED={SEED} PCQ_RANDOM_GRAPHS={GRAPHS}")
    equal_by_hand()
