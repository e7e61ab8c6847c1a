"""The summary equals the program: in memory, saved, for every net of the equality table."""

from __future__ import annotations

import json
import os
from collections import Counter

import numpy as np
import paddle
import pytest
from paddle import static

import paddle_custom_quant as pcq
from paddle_custom_quant.inspection.model import ModelError
from paddle_custom_quant.inspection.program import as_model
from paddle_custom_quant.inspection.reading import read_model
from paddle_custom_quant.inspection.summary import summarize
from paddle_custom_quant.quantizers import PACT, AbsMax
from tests.inspection.conftest import CPU, LAYERS, old_programs, quantized_net
from tests.nets import NETS

# Quantizing the whole table takes a minute: PCQ_ALL_NETS=1 does it. These the page is tested with.
FIRST = ["lenet", "resnet50", "mobilenet_v2", "transformer"]
NAMES = list(NETS) if os.environ.get("PCQ_ALL_NETS") else FIRST


def counted(program):
    return Counter(op.type for block in program.blocks for op in block.ops)


@pytest.mark.parametrize("name", NAMES)
def test_counts_and_names_are_those_of_the_program(name):
    main, quantized = quantized_net(name)
    before, after = (pcq.inspect(program, static.Scope()) for program in (main, quantized))
    placed = list(quantized.quantization.placement)
    assert before.operators_by_type == counted(main)
    assert before.quantized == () and before.quantizer_operators == 0
    assert after.operators_by_type == counted(quantized)
    assert [(q.tensor, q.copy, q.role, q.bits) for q in after.quantized] == unordered(
        after, [(p.target.name, p.label, p.target.role, p.quantizer.bits) for p in placed]
    )
    assert {q.copy: q.shape for q in after.quantized} == {p.label: p.target.shape for p in placed}
    assert {q.copy: Counter(q.readers) for q in after.quantized} == {
        p.label: Counter(f"{r.op_type} -> {r.output}" for r in p.target.readers) for p in placed
    }
    scopes = {f"/{p.label}/" for p in placed}
    inside = [
        op
        for op in quantized.global_block().ops
        if op.has_attr("op_namescope") and op.attr("op_namescope") in scopes
    ]
    assert after.quantizer_operators == len(inside)
    weights = {p.name: p for p in main.all_parameters()}
    assert before.parameter_elements >= sum(int(np.prod(p.shape)) for p in weights.values())
    assert after.parameter_elements == before.parameter_elements
    layers = [op for op in quantized.global_block().ops if op.has_attr("quantized_inputs")]
    assert after.integer_operators == len(layers)


def unordered(summary, expected):
    """``expected`` in the order of the operators, which is not that of the placement."""
    order = {q.copy: i for i, q in enumerate(summary.quantized)}
    assert sorted(order) == sorted(copy for _, copy, _, _ in expected)
    return sorted(expected, key=lambda row: order[row[1]])


def test_grids_come_from_the_parameters(built):
    facts = {q.tensor: q for q in pcq.inspect(built.train, built.scope).quantized}
    step = np.array(built.scope.find_var("conv2d_0.w_0.lsq.step").get_tensor())
    alpha = float(np.array(built.scope.find_var("image.pact.alpha").get_tensor())[0])
    weight, image = facts["conv2d_0.w_0"], facts["image"]
    assert weight.step == pytest.approx((step.min(), step.max()))
    assert weight.range == pytest.approx((-8 * step.max(), 7 * step.max()))
    assert (weight.channels, weight.axis, weight.bits, weight.signed) == (4, 0, 4, True)
    assert image.range == pytest.approx((0, alpha)) and image.step == pytest.approx([alpha / 7] * 2)
    assert (image.role, image.quantizer, image.shape) == ("activation", "PACT", (-1, 3, 6, 6))


def test_saved_forms_tell_the_same(built, saved):
    memory = pcq.inspect(built.train, built.scope)
    disk = pcq.inspect(saved / "train")
    assert disk.quantized == memory.quantized
    assert disk.operators_by_type == memory.operators_by_type
    assert disk.parameter_bytes == memory.parameter_bytes
    assert disk.files["train.pdparams"] == (saved / "train.pdparams").stat().st_size
    inference = pcq.inspect(saved / "test.pdiparams")
    assert inference.quantized == pcq.inspect(built.test, built.scope).quantized
    loss = Counter(reduce_mean=1, softmax_with_cross_entropy=1)  # not what the model returns
    assert inference.operators_by_type == counted(built.test) - loss + Counter(feed=1, fetch=1)
    assert disk.paddle_version == paddle.__version__


def test_stored_weights_are_recognised_by_their_levels(built, saved):
    facts = {q.tensor: q for q in pcq.inspect(saved / "converted").quantized}
    trained = {q.tensor: q for q in pcq.inspect(built.test, built.scope).quantized}
    weight = facts["linear_0.w_0"]
    step = np.array(built.scope.find_var("linear_0.w_0.lsq.step").get_tensor())
    float_values = np.array(built.scope.find_var("linear_0.w_0").get_tensor())
    integers = np.clip(np.rint(float_values / step), -8, 7)
    levels = (integers.max(axis=0) - integers.min(axis=0)).max() + 1
    counted_bits = int(np.ceil(np.log2(levels)))
    assert (weight.quantizer, weight.bits, weight.bits_counted) == ("LSQ", counted_bits, True)
    assert weight.step == pytest.approx(trained["linear_0.w_0"].step, rel=1e-4)
    assert facts["image"].range == trained["image"].range


def test_dropped_descriptions_are_told_from_the_operators(built):
    """Saving drops attributes that an operator does not declare."""
    model = as_model(built.test, built.scope)
    for op in model.operators:
        op.attributes.pop("quantizer", None)
    assert summarize(model).quantized == pcq.inspect(built.test, built.scope).quantized


def test_deployed_integers():
    with old_programs() as scope:
        block = static.default_main_program().global_block()
        held = (("w", [4, 2], "int8"), ("s", [4], "float32"), ("z", [4], "int32"))
        for name, shape, dtype in held:
            block.create_var(name=name, shape=shape, dtype=dtype, persistable=True)
        block.create_var(name="w.f", shape=[4, 2], dtype="float32")
        block.append_op(
            type="dequantize_linear", inputs={"X": ["w"], "Scale": ["s"], "ZeroPoint": ["z"]},
            outputs={"Y": ["w.f"]}, attrs={"quant_axis": 0, "bit_length": 8},
        )  # fmt: skip
        scale = np.array([127, 254, 12.7, 1.27], dtype="float32")
        scope.var("s").get_tensor().set(scale, CPU)
        (fact,) = pcq.inspect(static.default_main_program(), scope).quantized
    assert fact.step == pytest.approx((0.01, 2)) and fact.range == pytest.approx((-256, 254))
    assert (fact.role, fact.bits, fact.axis, fact.channels) == ("weight", 8, 0, 4)


def test_left_in_float_says_why():
    with old_programs():
        x = static.data("x", [None, 4])
        with static.name_scope("skip_quant"):
            h = paddle.nn.Linear(4, 4)(x)
        paddle.nn.Linear(4, 2)(paddle.nn.functional.relu(h))
        quantized = pcq.quant_aware(
            static.default_main_program(), CPU, LAYERS, for_test=True,
            weight_quantize_func=AbsMax(4), act_quantize_func=PACT(4),
        )  # fmt: skip
        summary = pcq.inspect(quantized)
    assert summary.float_operators["marked skip_quant"]["matmul_v2"] == 1
    assert summary.float_operators["no rule asks for them"]["relu"] == 1
    assert (summary.layers, summary.integer_layers) == (2, 1)


def test_table_lists_ten_and_prints_names_as_data(saved):
    text = str(pcq.inspect(saved / "train"))
    assert "conv2d_0.w_0" in text and "PACT" in text and "2 of 2 layers" in text
    model = read_model(saved / "train")
    renamed = "evil\x1b[2Jname"
    for op in model.operators:
        op.attributes.pop("quantizer", None)
        if op.scope == "image.pact":
            op.attributes["op_namescope"] = f"/{renamed}.pact/"
            for names in op.outputs.values():
                names[:] = [f"{renamed}.pact" if n == "image.pact" else n for n in names]
    text = str(summarize(model))
    assert r"evil\x1b[2Jname" in text and "\x1b" not in text


def test_data_is_json(saved):
    data = json.loads(json.dumps(pcq.inspect(saved / "test").as_dict(), allow_nan=False))
    assert data["quantized"][0]["bits"] == 3


@pytest.mark.parametrize("wrong", [3, None, static.Program], ids=repr)
def test_wrong_argument(wrong):
    with pytest.raises(TypeError, match="static program of the old kind or a path"):
        pcq.inspect(wrong)


def test_missing_path():
    with pytest.raises(ModelError, match="no such model"):
        pcq.inspect("nowhere")
