"""From a recipe's quantizers to the rules that ``quant_aware`` takes."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

from ..qat.rules import FirstLast, PerLayer, Rule
from ..qat.sign import never_negative
from ..quantizers import DoReFaGradient, PowerOfTwoScale
from ..target import Target
from .methods import ACTIVATION_METHODS, WEIGHT_METHODS, activation_rule, weight_rule
from .recipe import Activations, Quantizers


def weights(held: Quantizers) -> Any:
    """The rule for weights."""
    chosen = held.weights
    make = partial(WEIGHT_METHODS[chosen.method], per_channel=chosen.per_channel)
    own = weight_rule(chosen.method, chosen.bits, held.first_last_bits, chosen.per_channel)
    return _finished(held, own, {p: rule.weight_bits for p, rule in held.rules.items()}, make)


def activations(held: Quantizers, program: Any, image: str) -> Any:
    """The rule for what layers read.

    Args:
        held: of the recipe.
        program: the float program.
        image: name of its input.
    """
    chosen = held.activations
    # The ends have symmetric ranges whatever comes before them.
    ends = activation_rule(chosen.method, chosen.bits, held.first_last_bits, image).first_last
    own = FirstLast(ends, _BySign(chosen, chosen.bits, program))
    bits = {pattern: rule.activation_bits for pattern, rule in held.rules.items()}
    return _finished(held, own, bits, lambda count: _BySign(chosen, count, program))


def gradients(held: Quantizers) -> Any:
    """The quantizer of gradients, ``None`` for float."""
    return None if held.gradients is None else DoReFaGradient(held.gradients)


class _BySign(Rule):
    """Signed where a tensor can be negative."""

    def __init__(self, chosen: Activations, bits: int, program: Any) -> None:
        self._chosen, self._bits, self._program = chosen, bits, program

    def choose(self, target: Target) -> Any:
        """The quantizer for one tensor."""
        make, signed = ACTIVATION_METHODS[self._chosen.method], self._chosen.signed
        negative = not never_negative(self._program, target.name)
        if negative and signed is False:
            raise ValueError(_refusal(target, "quantizers.activations.signed is false", "auto"))
        if not (negative if signed == "auto" else signed):
            return make(self._bits)
        if self._chosen.method == "dorefa":
            raise ValueError(_refusal(target, "DoReFa's activations are unsigned", "pact or lsq"))
        return make(self._bits, signed=True)  # type: ignore[call-arg]


def _refusal(target: Target, why: str, instead: str) -> str:
    readers = ", ".join(sorted({reader.weight or reader.op_type for reader in target.readers}))
    return (
        f"{why}, but {target.name!r}, which {readers or 'a layer'} reads, can be negative: an "
        f"unsigned quantizer would make it 0. Use {instead}."
    )


def _finished(held: Quantizers, own: Any, bits: dict[str, Any], make: Callable[[int], Any]) -> Any:
    special = {pattern: make(count) for pattern, count in bits.items() if count is not None}
    rule = PerLayer(special, default=own) if special else own
    return _PowerOfTwo(rule) if held.power_of_two else rule


class _PowerOfTwo(Rule):
    """Another rule's quantizers with steps that are powers of two."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def choose(self, target: Target) -> Any:
        """The other rule's choice, wrapped."""
        chosen = self._rule.choose(target)
        return None if chosen is None else PowerOfTwoScale(chosen)  # type: ignore[arg-type]

    def finish(self, targets: Any) -> None:
        """Check the other rule."""
        self._rule.finish(targets)


__all__ = ["activations", "gradients", "weights"]
