"""One trained net for the tests that only read it."""

from __future__ import annotations

import numpy as np
import pytest

from paddle_custom_quant.compat import legacy_static
from paddle_custom_quant.deploy import freeze

from .trained import images, trained


@pytest.fixture(scope="session")
def net():
    with legacy_static():
        return trained()


@pytest.fixture(scope="session")
def frozen(net):
    with legacy_static():
        return freeze(net.program, net.scope)


@pytest.fixture(scope="session")
def batch() -> np.ndarray:
    return images(np.random.default_rng(11), 24)


@pytest.fixture(autouse=True)
def old_programs():
    with legacy_static():
        yield
