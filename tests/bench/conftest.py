"""A suite that nothing interrupts, run once."""

from __future__ import annotations

import pytest

from tests.bench.tiny_suite import run


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("whole")
    print(run(folder))
    return folder / "out"
