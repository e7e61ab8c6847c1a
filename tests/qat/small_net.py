"""A small net with two convolutions and a linear layer, as train and test program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn, static

CONFIG = {"quantize_op_types": ["conv2d", "matmul_v2"]}


@dataclass
class SmallNet:
    """Programs with the names of what tests fetch."""

    main: Any
    test: Any
    startup: Any
    loss: str
    logits: str


def small_net(minimize: bool = True) -> SmallNet:
    """conv - relu - conv - relu - linear on images of 3x6x6, five classes."""
    main, startup = static.Program(), static.Program()
    main.random_seed = startup.random_seed = 7
    with static.program_guard(main, startup), paddle.utils.unique_name.guard():
        image = static.data("image", [None, 3, 6, 6])
        label = static.data("label", [None, 1], "int64")
        hidden = nn.functional.relu(nn.Conv2D(3, 4, 3)(image))
        hidden = nn.functional.relu(nn.Conv2D(4, 4, 3)(hidden))
        logits = nn.Linear(16, 5)(paddle.flatten(hidden, 1))
        loss = nn.functional.cross_entropy(logits, label)
        test = main.clone(for_test=True)
        if minimize:
            paddle.optimizer.Momentum(0.1, 0.9).minimize(loss)
    return SmallNet(main, test, startup, loss.name, logits.name)


def batch(rng: np.random.Generator, size: int = 16) -> dict[str, np.ndarray]:
    """Random images in [-1, 1] and labels."""
    return {
        "image": rng.uniform(-1, 1, (size, 3, 6, 6)).astype("float32"),
        "label": rng.integers(0, 5, (size, 1)),
    }


def value(name: str) -> np.ndarray:
    """A variable of the current scope."""
    return np.array(static.global_scope().find_var(name).get_tensor())
