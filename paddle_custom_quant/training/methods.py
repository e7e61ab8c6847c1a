"""Quantization methods by name, with the first and last layer at bits of their own."""

from __future__ import annotations

from typing import Any, Callable

from ..qat.rules import FirstLast, PerLayer
from ..quantizers import PACT, DoReFaActivation, DoReFaWeight

WEIGHT_METHODS: dict[str, Callable[[int], Any]] = {
    "dorefa": DoReFaWeight,
    "dorefa-rescale": lambda bits: DoReFaWeight(bits, rescale=True),
}
ACTIVATION_METHODS: dict[str, Callable[[int], Any]] = {
    "dorefa": DoReFaActivation,
    "pact": PACT,
}


def weight_rule(method: str, bits: int, first_last_bits: int) -> FirstLast:
    """The rule for weights.

    Args:
        method: a name in :data:`WEIGHT_METHODS`.
        bits: of the layers between the first and the last.
        first_last_bits: of the first and the last layer.

    Raises:
        TypeError: bits that are not an integer.
        ValueError: the method is not known, or does not have these bits.
    """
    make = _known("weight", method, WEIGHT_METHODS)
    return FirstLast(first_last=make(first_last_bits), others=make(bits))


def activation_rule(method: str, bits: int, first_last_bits: int, image: str) -> FirstLast:
    """The rule for activations.

    The image has values in [-1, 1], which the unsigned methods would clip to [0, 1], so that it is
    quantized symmetrically, whatever the method.

    Args:
        method: a name in :data:`ACTIVATION_METHODS`.
        bits: of the layers between the first and the last.
        first_last_bits: of the image and of what the last layer reads.
        image: name of the network's input.

    Raises:
        TypeError: bits that are not an integer.
        ValueError: the method is not known, or does not have these bits.
    """
    make = _known("activation", method, ACTIVATION_METHODS)
    ends = PerLayer(
        {image: PACT(first_last_bits, alpha=1.0, signed=True)}, default=make(first_last_bits)
    )
    return FirstLast(first_last=ends, others=make(bits))


def _known(role: str, method: str, methods: dict[str, Callable[[int], Any]]) -> Any:
    if method not in methods:
        raise ValueError(f"the {role} method must be one of {', '.join(methods)}, got {method!r}.")
    return methods[method]
