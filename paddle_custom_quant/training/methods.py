"""Quantization methods by name, with the first and last layer at bits of their own."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

from ..qat.rules import FirstLast, PerLayer
from ..quantizers import LSQ, PACT, DoReFaActivation, DoReFaWeight

# With the multiplier detached, a gradient through the divisor alone would push the scale.
_rescaled = partial(DoReFaWeight, rescale=True, detach_max=True)

WEIGHT_METHODS: dict[str, Callable[..., Any]] = {
    "dorefa": DoReFaWeight,
    "dorefa-rescale": _rescaled,
    "lsq": LSQ,
}
ACTIVATION_METHODS: dict[str, Callable[[int], Any]] = {
    "dorefa": DoReFaActivation,
    "pact": PACT,
    "lsq": partial(LSQ, signed=False),
}


def weight_rule(
    method: str, bits: int, first_last_bits: int, per_channel: bool = False
) -> FirstLast:
    """The rule for weights.

    The first and the last layer have DoReFa with rescaling per tensor, whatever the method: nothing
    normalises after the last one.

    Args:
        method: a name in :data:`WEIGHT_METHODS`.
        bits: of the layers between the first and the last.
        first_last_bits: of the first and the last layer.
        per_channel: a range for each output channel of the layers between.

    Raises:
        TypeError: bits that are not an integer.
        ValueError: the method is not known, or does not have these bits.
    """
    make = partial(_known("weights", method, WEIGHT_METHODS), per_channel=per_channel)
    ends = _checked("first and last layer", _rescaled, first_last_bits)
    return FirstLast(first_last=ends, others=_checked("weights", make, bits))


def activation_rule(method: str, bits: int, first_last_bits: int, image: str) -> FirstLast:
    """The rule for activations.

    What the first and the last layer read is negative as often as positive, where the unsigned
    methods have no levels; both get a symmetric range, whatever the method: [-1, 1] for the image,
    from [-4, 4] on for the last layer.

    Args:
        method: a name in :data:`ACTIVATION_METHODS`.
        bits: of the layers between the first and the last.
        first_last_bits: of the image and of what the last layer reads.
        image: name of the network's input.

    Raises:
        TypeError: bits that are not an integer.
        ValueError: the method is not known, or does not have these bits.
    """
    make = _known("activations", method, ACTIVATION_METHODS)
    first, last = (
        _checked("first and last layer", partial(PACT, alpha=alpha, signed=True), first_last_bits)
        for alpha in (1.0, 4.0)
    )
    return FirstLast(
        first_last=PerLayer({image: first}, default=last),
        others=_checked("activations", make, bits),
    )


def _known(role: str, method: str, methods: dict[str, Callable[[int], Any]]) -> Any:
    if method not in methods:
        raise ValueError(f"{role}: the method must be one of {', '.join(methods)}, got {method!r}.")
    return methods[method]


def _checked(role: str, make: Callable[[int], Any], bits: int) -> Any:
    try:
        return make(bits)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{role}: {error}") from None
