"""What tests of the graph wing share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paddle_custom_quant.compat import legacy_static
from tests.nets import default_dtype


@pytest.fixture
def float64() -> Iterator[None]:
    """Programs of the old kind, in which nothing but the order of sums separates equal nets."""
    with legacy_static(), default_dtype("float64"):
        yield
