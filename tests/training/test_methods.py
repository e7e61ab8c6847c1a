from __future__ import annotations

import pytest

from paddle_custom_quant.quantizers import PACT, DoReFaActivation, DoReFaWeight
from paddle_custom_quant.target import WEIGHT, Target
from paddle_custom_quant.training.methods import (
    ACTIVATION_METHODS,
    WEIGHT_METHODS,
    activation_rule,
    weight_rule,
)


def weight(**position):
    return Target("conv2d_0.w_0", (6, 1, 3, 3), role=WEIGHT, **position)


@pytest.mark.parametrize("method", WEIGHT_METHODS)
def test_weights_have_the_bits_asked_for(method):
    rule = weight_rule(method, 3, 8)
    assert rule.choose(weight()).bits == 3
    assert [rule.choose(weight(**{end: True})).bits for end in ("first", "last")] == [8, 8]


@pytest.mark.parametrize("method", ACTIVATION_METHODS)
def test_activations_have_the_bits_asked_for(method):
    rule = activation_rule(method, 3, 8, "image")
    image = rule.choose(Target("image", (-1, 1, 28, 28), first=True))
    last = rule.choose(Target("tmp_7", (-1, 84), last=True))
    assert rule.choose(Target("tmp_3", (-1, 6, 14, 14))).bits == 3
    assert (image.bits, image.signed, image.alpha) == (8, True, 1.0)
    assert (last.bits, last.signed, last.alpha) == (8, True, 4.0)


def test_names_stand_for_their_methods():
    assert weight_rule("dorefa", 4, 8).choose(weight()) == DoReFaWeight(4)
    assert weight_rule("dorefa-rescale", 4, 8).choose(weight()).rescale
    middle = Target("tmp_3", (-1, 6, 14, 14))
    assert activation_rule("dorefa", 4, 8, "image").choose(middle) == DoReFaActivation(4)
    assert activation_rule("pact", 4, 8, "image").choose(middle) == PACT(4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: weight_rule("x", 4, 8), ValueError, "weights: the method must be one of dorefa"),
        (lambda: activation_rule("x", 4, 8, "i"), ValueError, "activations: the method must be"),
        (lambda: weight_rule("dorefa", 17, 8), ValueError, "weights: bits must .* got 17"),
        (lambda: weight_rule("dorefa", 4, 0), ValueError, "first and last layer: bits .* got 0"),
        (lambda: activation_rule("pact", 0, 8, "i"), ValueError, "activations: bits .* got 0"),
        (lambda: activation_rule("pact", 4, 1, "i"), ValueError, "first and last layer: .* got 1"),
        (lambda: activation_rule("pact", 4.5, 8, "i"), TypeError, "activations: .* got 4.5"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
