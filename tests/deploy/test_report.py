"""What a comparison says of speed, from given times."""

from __future__ import annotations

import json

import pytest

from paddle_custom_quant.deploy.report import Comparison, Row

TIMED = Row("onnxruntime", samples=4, milliseconds={1: (2.0, 5.0), 32: (16.0, 40.0)})
COMPARED = Comparison(4, [TIMED, Row("openvino", samples=4), Row("paddle", skipped="no")])


def test_throughput_is_samples_over_time():
    assert TIMED.samples_per_second == {1: (500.0, 200.0), 32: (2000.0, 800.0)}
    assert Row("paddle").samples_per_second == {}


def test_json_holds_throughput_beside_latency():
    first, second, _ = json.loads(COMPARED.to_json())["rows"]
    assert first["samples_per_second"] == {"1": [500.0, 200.0], "32": [2000.0, 800.0]}
    assert first["milliseconds"]["32"] == [16.0, 40.0]
    assert second["samples_per_second"] == {}


@pytest.mark.parametrize("cell", ["2.00 ms (2.50x)", "500 (200)", "16.00 ms (2.50x)", "2000 (800)"])
def test_table_holds_both(cell):
    head, first, second, *_ = str(COMPARED).splitlines()
    assert head.count("per second (float)") == 2 and "batch 32 (float)" in head
    assert cell in first and cell not in second
