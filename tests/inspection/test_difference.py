"""What quantization added, removed and rewired, against the programs themselves."""

from __future__ import annotations

import json
from collections import Counter

import pytest

import paddle_custom_quant as pcq


def by_tensor(difference):
    return {change.tensor: change for change in difference.changes}


def test_float_to_quantized(built):
    found = pcq.diff(built.float_train, built.train, built.scope)
    before = Counter(op.type for op in built.float_train.global_block().ops)
    after = Counter(op.type for op in built.train.global_block().ops)
    added = Counter()
    for change in found.changes:
        assert not change.removed and not change.lost_parameters
        for kinds in change.added.values():
            added.update(kinds)
    assert added == after - before
    assert found.gone == ()
    placed = {p.target.name for p in built.train.quantization.placement}
    assert set(by_tensor(found)) - {""} == placed


def test_what_one_weight_gets(built):
    change = by_tensor(pcq.diff(built.float_train, built.train, built.scope))["conv2d_0.w_0"]
    assert change.quantizer == "LSQ"
    assert set(change.added) == {"forward", "backward", "optimizer"}
    assert change.added["optimizer"] == {"adam": 1}
    assert "conv2d_0.w_0.lsq.step" in change.parameters
    links = {(r.operator.split(" -> ")[0], r.slot, r.before, r.after) for r in change.rewired}
    assert ("conv2d", "Filter:0", "conv2d_0.w_0", "conv2d_0.w_0.lsq") in links
    assert ("conv2d_grad", "Filter:0", "conv2d_0.w_0", "conv2d_0.w_0.lsq") in links
    assert any(slot == "Filter@GRAD:0" for _, slot, _, _ in links)


def test_every_rewired_reader_is_told(built):
    found = pcq.diff(built.float_test, built.test, built.scope)
    told = {(r.operator, r.slot, r.after) for c in found.changes for r in c.rewired}
    expected = {
        (f"{r.op_type} -> {r.output}", f"{r.slot}:{r.index}", p.label)
        for p in built.test.quantization.placement
        for r in p.target.readers
    }
    assert told == expected


def test_back_again_removes_what_was_added(built):
    there = pcq.diff(built.float_train, built.train, built.scope)
    back = pcq.diff(built.train, built.float_train, built.scope)
    assert {c.tensor: c.added for c in there.changes} == {c.tensor: c.removed for c in back.changes}
    assert len(back.gone) == list(there.marks.values()).count("added")
    assert {q.tensor for q in back.lost} == set(by_tensor(there)) - {""}


@pytest.mark.parametrize("name", ["float_train", "train", "converted"])
def test_nothing_changed(built, name):
    program = getattr(built, name)
    with pcq.legacy_static():
        found = pcq.diff(program, program.clone(), built.scope)
    assert not found and "the same operators" in str(found)


def test_stored_weights_lost_their_quantizer(built, saved):
    found = by_tensor(pcq.diff(saved / "test", saved / "converted"))
    # Paddle 2.6 numbers what it adds to a saved model.
    assert set(found) - {""} == {"conv2d_0.w_0", "linear_0.w_0"}
    change = found["conv2d_0.w_0"]
    assert change.lost_parameters and change.removed and not change.added
    assert set(change.lost_parameters) == {"conv2d_0.w_0", "conv2d_0.w_0.lsq.step"}


def test_text_and_data(built):
    found = pcq.diff(built.float_test, built.test, built.scope)
    text = str(found)
    assert "conv2d_0.w_0: LSQ" in text and "Filter:0 conv2d_0.w_0 => conv2d_0.w_0.lsq" in text
    data = json.loads(json.dumps(found.as_dict()))
    assert data["changes"][0]["tensor"] == found.changes[0].tensor
