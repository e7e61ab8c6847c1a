"""Quantizers that are single C++ operators are read like composed ones, without their library."""

from __future__ import annotations

import shutil

import pytest

from paddle_custom_quant.inspection.check import check
from paddle_custom_quant.inspection.difference import compare
from paddle_custom_quant.inspection.inferred import inferred
from paddle_custom_quant.inspection.model import Model, Operator, proto
from paddle_custom_quant.inspection.page import render
from paddle_custom_quant.inspection.page_data import page_data
from paddle_custom_quant.inspection.quantized import Quantizing, find_quantized
from paddle_custom_quant.inspection.reading import read_model
from paddle_custom_quant.inspection.scales import parameter_names
from paddle_custom_quant.inspection.summary import summarize

LIMITS = {"LSQ": (-8, 7), "PACT": (0, 7)}
# Nobody has registered such an operator: what reads the model cannot ask Paddle about it.
KIND = "pcq_operator_of_no_library"


def attribute(desc, name, value):
    held = desc.attrs.add(name=name)
    if isinstance(value, int):
        held.type, held.i = 0, value
    else:
        held.type, held.s = 2, value


def single(desc, one: Quantizing, names: dict[str, str], described: bool) -> None:
    """Put one operator in the place of those that compute a copy."""
    block = desc.blocks[0]
    scoped = [
        i
        for i, op in enumerate(block.ops)
        if any(a.name == "op_namescope" and a.s.strip("/") == one.copy for a in op.attrs)
    ]
    texts = {a.name: a.s for i in scoped for a in block.ops[i].attrs}
    del block.ops[scoped[0] : scoped[-1] + 1]
    made = proto.OpDesc(type=KIND)
    made.inputs.add(parameter="X", arguments=[one.tensor])
    made.inputs.add(parameter="Step", arguments=list(names.values()))
    made.outputs.add(parameter="Out", arguments=[one.copy])
    attribute(made, "op_namescope", f"/{one.copy}/")
    attribute(made, "op_role", 0)
    for name, value in zip(("qmin", "qmax"), LIMITS[one.method]):
        attribute(made, name, value)
    if described:
        attribute(made, "quantizer", texts["quantizer"])
    block.ops.insert(scoped[0], made)


@pytest.fixture(params=[True, False], ids=["described", "undescribed"])
def both(request, saved, tmp_path):
    """The saved test program, and the same with single operators."""
    composed = read_model(saved / "test")
    desc = proto.ProgramDesc()
    desc.ParseFromString((saved / "test.pdmodel").read_bytes())
    for one in find_quantized(composed):
        single(desc, one, parameter_names(one, composed), request.param)
    (tmp_path / "single.pdmodel").write_bytes(desc.SerializeToString())
    shutil.copy(saved / "test.pdiparams", tmp_path / "single.pdiparams")
    return composed, read_model(tmp_path / "single")


def test_same_facts(both):
    composed, model = both
    before, after = summarize(composed), summarize(model)
    assert after.quantized == before.quantized
    assert after.operators_by_type[KIND] == after.quantizer_operators == 4
    assert (after.integer_layers, after.integer_operators) == (2, 2)
    assert after.quantizer_parameters == before.quantizer_parameters
    assert check(model) == []


def test_page_and_difference(both):
    composed, model = both
    data, _ = page_data(model)
    groups = [op["group"] for op in data["operators"] if op["kind"] == KIND]
    assert groups == [0, 1, 2, 3] and KIND in render(model)
    weights = [g for g in data["groups"] if g["role"] == "weight"]
    names = [row[0] for row in data["variables"]]
    assert len(weights) == 2
    for group in weights:
        assert {"float", "grid"} <= set(data["histograms"][names.index(group["copy"])])
    changes = [c for c in compare(composed, model).changes if c.tensor]
    assert [c.added["forward"] for c in changes] == [{KIND: 1}] * 4
    assert not any(c.rewired or c.parameters or c.lost_parameters for c in changes)


def test_settings_are_the_operators():
    """A formula without integers to clip to has its settings as attributes."""
    settings = {"bits": 3, "rescale": True, "axis": 0}
    op = Operator("pcq_dorefa_weight", {"X": ["w"]}, {"Out": ["w.dorefaweight"]}, settings)
    told = inferred("dorefaweight", [op], Model("program", "program", "", [], {}))
    expected = {"class": "DoReFaWeight", "bits": 3, "rescale": True, "per_channel": True}
    assert told == expected
