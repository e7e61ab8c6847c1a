from __future__ import annotations

import pytest

from paddle_custom_quant.qat.sign import never_negative
from paddle_custom_quant.quantizers import (
    LSQ,
    PACT,
    DoReFaActivation,
    DoReFaWeight,
    PowerOfTwoScale,
)
from paddle_custom_quant.target import ACTIVATION, WEIGHT, Target
from paddle_custom_quant.training import recipe_rules
from paddle_custom_quant.training.classifier import build_classifier
from paddle_custom_quant.training.recipe import Quantizers


def held(method="lsq", bits=4, **changes):
    activations = {"method": method, "bits": bits, **changes.pop("activations", {})}
    weights = changes.pop("weights", {"method": "dorefa", "bits": bits})
    return Quantizers.model_validate({"weights": weights, "activations": activations, **changes})


@pytest.fixture
def mobilenet(legacy):
    return build_classifier("MobileNetV2", (3, 32, 32), 10)


def inputs(classifier, kind):
    return [op.input("Input")[0] for op in classifier.test.global_block().ops if op.type == kind]


def test_tensors_behind_relu_are_never_negative(mobilenet):
    read = inputs(mobilenet, "conv2d")
    # The image and what linear bottlenecks hand on can be negative, what ReLU6 does not.
    negative = [not never_negative(mobilenet.test, name) for name in read]
    assert negative[0] and sum(negative) == 1 + 16 + 1
    assert all(never_negative(mobilenet.test, n) for n in inputs(mobilenet, "depthwise_conv2d"))
    last = mobilenet.test.global_block().ops[-2]
    assert last.type == "matmul_v2" and never_negative(mobilenet.test, last.input("X")[0])


def choose(quantizers, classifier, name, **position):
    rule = recipe_rules.activations(quantizers, classifier.test, classifier.image)
    return rule.choose(Target(name, (-1, 8, 4, 4), role=ACTIVATION, **position))


def test_sign_by_what_comes_before(mobilenet):
    bottleneck, behind = inputs(mobilenet, "conv2d")[2], inputs(mobilenet, "depthwise_conv2d")[1]
    assert choose(held(), mobilenet, bottleneck) == LSQ(4, signed=True)
    assert choose(held(), mobilenet, behind) == LSQ(4, signed=False)
    assert choose(held(activations={"signed": True}), mobilenet, behind) == LSQ(4, signed=True)
    assert choose(held("dorefa"), mobilenet, behind) == DoReFaActivation(4)
    assert choose(held("pact"), mobilenet, mobilenet.image, first=True) == PACT(
        8, alpha=1.0, signed=True
    )


@pytest.mark.parametrize(
    ("quantizers", "message"),
    [
        (held(activations={"signed": False}), "signed is false, but .* can be negative.* Use auto"),
        (held("dorefa"), "DoReFa's activations are unsigned, but .* Use pact or lsq"),
    ],
)
def test_unsigned_before_a_signed_input_is_refused(mobilenet, quantizers, message):
    with pytest.raises(ValueError, match=message):
        choose(quantizers, mobilenet, inputs(mobilenet, "conv2d")[2])


def test_rules_powers_of_two_and_gradients():
    special = held(rules={"conv2d_3": {"weight_bits": 2}}, power_of_two=True, gradients=6)
    rule = recipe_rules.weights(special)
    target = Target("conv2d_3.w_0", (8, 8, 3, 3), role=WEIGHT)
    assert rule.choose(Target("conv2d_4.w_0", (8, 8, 3, 3), role=WEIGHT)) == PowerOfTwoScale(
        DoReFaWeight(4)
    )
    with pytest.raises(ValueError, match="'conv2d_3' matches no quantized tensor"):
        rule.finish([])
    assert recipe_rules.gradients(special).bits == 6 and recipe_rules.gradients(held()) is None
    named = recipe_rules.weights(held(rules={"conv2d_3*": {"weight_bits": 2}}))
    assert named.choose(target) == DoReFaWeight(2)


def test_resnets_layers_read_what_relu_gave(legacy):
    classifier = build_classifier("ResNet-8", (3, 32, 32), 10)
    read = inputs(classifier, "conv2d")
    assert [never_negative(classifier.test, name) for name in read] == [False] + [True] * 8


def test_ranges_by_channel_stop_at_the_ends():
    chosen = {"method": "lsq", "bits": 2, "per_channel": True}
    quantizers = held(weights=chosen, rules={"b": {"weight_bits": 4}})
    rule = recipe_rules.weights(quantizers)

    def choose(name, **position):
        return rule.choose(Target(name, (8, 8, 3, 3), role=WEIGHT, **position))

    assert choose("a") == LSQ(2, per_channel=True)
    assert choose("b") == LSQ(4, per_channel=True)
    assert not choose("c", last=True).per_channel
