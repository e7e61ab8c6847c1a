"""What all tests share."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import static

from paddle_custom_quant.compat import legacy_static


@pytest.fixture(autouse=True)
def mode_left_as_found() -> Iterator[None]:
    """No test leaves static mode on for the tests after it."""
    assert paddle.in_dynamic_mode(), "static mode was on before the test"
    yield
    left = paddle.in_dynamic_mode()
    paddle.disable_static()
    assert left, "the test left static mode on"


@pytest.fixture
def legacy() -> Iterator[static.Executor]:
    """An executor, amid empty programs of the old kind, an empty scope and fresh names."""
    with legacy_static():  # programs that are made inside are of the old kind
        programs = static.program_guard(static.Program(), static.Program())
        names = paddle.utils.unique_name.guard()
        with programs, static.scope_guard(static.Scope()), names:
            yield static.Executor(paddle.CPUPlace())


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers; the seed is printed, and ``PCQ_SEED`` repeats it."""
    seed = int(os.environ.get("PCQ_SEED") or random.randrange(2**31))
    print(f"PCQ_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder with MNIST's four files."""
    root = os.environ.get("PCQ_DATA")
    if not root:
        pytest.skip("needs real MNIST: set PCQ_DATA to a folder that holds mnist/")
    return Path(root, "mnist")
