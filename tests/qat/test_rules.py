"""Rules and the placement they lead to."""

from __future__ import annotations

import paddle
import pytest
from paddle import nn, static

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import LSQ, DoReFaActivation, DoReFaWeight
from paddle_custom_quant.quantizers.base import FunctionQuantizer
from paddle_custom_quant.target import Reader, Target

from .small_net import CONFIG, small_net

A, B, C = DoReFaWeight(2), DoReFaWeight(4), DoReFaWeight(8)


def target(name="conv2d_3.w_0", op="conv2d", scope="/", weight="conv2d_3.w_0", **position):
    reader = Reader(op, "Filter", weight=weight, scope=scope)
    return Target(name, (4, 3, 3, 3), role="weight", readers=(reader,), **position)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("conv2d_3.w_0", True),
        ("conv2d_3", True),
        ("conv2d", True),
        ("conv2d_[0-5]*", True),
        ("block1/branch", True),
        ("block1/*", True),
        ("conv2d_33*", False),
        ("depthwise_conv2d", False),
        ("block2/*", False),
    ],
)
def test_patterns_match_tensor_layer_operator_and_scope(pattern, matches):
    rule = pcq.PerLayer({pattern: A}, default=B)
    assert rule.choose(target(scope="/block1/branch/")) is (A if matches else B)


def test_the_first_match_wins_and_none_is_float():
    rule = pcq.PerLayer({"conv2d_3": None, "conv2d*": A})
    assert rule.choose(target()) is None
    assert rule.choose(target("conv2d_4.w_0", weight="conv2d_4.w_0")) is A
    assert rule.choose(target("fc.w", op="mul", weight="fc.w")) is None


def test_rules_nest_and_take_functions():
    rule = pcq.FirstLast(first_last=C, others=pcq.PerLayer({"conv2d_3": A}, default=lambda w: w))
    assert rule.choose(target(first=True)) is C
    assert rule.choose(target(last=True)) is C
    assert rule.choose(target()) is A
    other = rule.choose(target("linear_0.w_0", op="matmul_v2", weight="linear_0.w_0"))
    assert isinstance(other, FunctionQuantizer)


def test_a_pattern_that_matches_nothing_lists_near_names(legacy):
    rule = pcq.PerLayer({"conv2d_O.w_0": A}, default=B)
    with pytest.raises(ValueError, match=r"'conv2d_O.w_0' matches no.*near names: .*conv2d_0.w_0"):
        pcq.placement(small_net().main, CONFIG, weight_quantize_func=rule)


@pytest.mark.parametrize("wrong", [{}, {"conv2d": 3}, {"conv2d": DoReFaWeight}])
def test_wrong_rules(wrong):
    with pytest.raises((ValueError, TypeError)):
        pcq.PerLayer(wrong)


def test_mixed_precision_of_weights_and_activations(legacy):
    net = small_net()
    names = [p.target.name for p in pcq.placement(net.main, CONFIG)]
    layer = names[3].rsplit(".", 1)[0]
    placement = pcq.placement(
        net.main,
        CONFIG,
        weight_quantize_func=pcq.FirstLast(C, pcq.PerLayer({layer: A})),
        act_quantize_func=pcq.PerLayer({layer: DoReFaActivation(3)}),
    )
    assert [(p.target.name, p.quantizer.bits) for p in placement] == [
        (names[1], 8),
        (names[2], 3),
        (names[3], 2),
        (names[5], 8),
    ]


def test_placement_prints_as_a_table_and_changes_nothing(legacy):
    net = small_net()
    before = net.main.desc.serialize_to_string()
    text = str(pcq.placement(net.main, CONFIG, weight_quantize_func=LSQ(4)))
    assert net.main.desc.serialize_to_string() == before
    lines = text.splitlines()
    assert lines[0].split() == ["tensor", "op", "role", "quantizer", "bits"]
    assert lines[2].split() == ["conv2d_0.w_0", "conv2d", "weight", "lsq", "4"]
    assert len(lines) == 7


def test_name_scopes_and_skip_patterns(legacy):
    image = static.data("image", [None, 8])
    with static.name_scope("skip_quant"):
        hidden = nn.Linear(8, 8)(image)
    with static.name_scope("tower"):
        hidden = nn.Linear(8, 8)(hidden)
    hidden = nn.Linear(8, 2)(hidden)
    program = static.default_main_program()
    config = {"quantize_op_types": ["matmul_v2"]}
    assert len(pcq.placement(program, config)) == 4
    tower = pcq.PerLayer({"tower*": A}, default=B)
    placement = pcq.placement(program, config, weight_quantize_func=tower)
    weights = [p.quantizer.bits for p in placement if p.target.role == "weight"]
    assert weights == [2, 4]
    config["not_quant_pattern"] = ["tower"]
    assert len(pcq.placement(program, config)) == 4


def test_activation_only_operators_are_placed_and_biases_are_not(legacy):
    image = static.data("image", [None, 4, 8, 8])
    left, right = nn.Conv2D(4, 4, 3, padding=1)(image), nn.Conv2D(4, 4, 1)(image)
    pooled = nn.functional.max_pool2d(left + right, 2)
    joined = paddle.concat([pooled, pooled * 2.0], axis=1)
    nn.Linear(4, 2)(joined)
    program = static.default_main_program()
    config = {"quantize_op_types": ["conv2d", "matmul_v2", "elementwise_add", "pool2d", "concat"]}
    placement = pcq.placement(program, config, act_quantize_func=DoReFaActivation(4))
    readers = [
        (r.op_type, r.slot, r.index)
        for p in placement
        if p.target.role == "activation"
        for r in p.target.readers
    ]
    assert sorted(readers) == sorted(
        [
            ("conv2d", "Input", 0),
            ("conv2d", "Input", 0),
            ("elementwise_add", "X", 0),
            ("elementwise_add", "Y", 0),
            ("pool2d", "X", 0),
            ("concat", "X", 0),
            ("concat", "X", 1),
            ("matmul_v2", "X", 0),
        ]
    )
    shared = next(p for p in placement if p.target.name == "image")
    assert len(shared.target.readers) == 2
