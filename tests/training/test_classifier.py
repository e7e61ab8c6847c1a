from __future__ import annotations

import pytest

from paddle_custom_quant.training.classifier import build_classifier


def build(net="LeNetBN"):
    return build_classifier(net, (1, 28, 28), 10)


def operators(program):
    return [op.type for op in program.global_block().ops]


def test_two_builds_have_the_same_names(legacy):
    first, second = build(), build()
    for program in ("startup", "train", "test"):
        names = [
            sorted(v.name for v in getattr(built, program).list_vars()) for built in (first, second)
        ]
        assert names[0] == names[1]
    assert first.logits == second.logits


def test_test_program_ends_at_the_logits(legacy):
    classifier = build()
    block = classifier.test.global_block()
    assert classifier.logits in block.ops[-1].output_arg_names
    assert "momentum" in operators(classifier.train)
    assert not {"momentum", "softmax_with_cross_entropy"} & set(operators(classifier.test))
    norms = [op for op in block.ops if op.type == "batch_norm"]
    assert len(norms) == 4 and all(op.attr("is_test") for op in norms)


def test_unknown_net(legacy):
    with pytest.raises(ValueError, match=r"one of LeNet, LeNetBN, .*got 'ResNet'"):
        build("ResNet")
