"""Rules: which quantizer a tensor gets. A rule goes wherever a quantizer goes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ..quantizers.base import Quantizer, as_quantizer
from ..target import Target


class Rule:
    """Base of rules: an object that names the quantizer of each target, or ``None`` for float."""

    def choose(self, target: Target) -> Quantizer | None:
        """The quantizer for ``target``; ``None`` leaves it in float."""
        raise NotImplementedError

    def finish(self, targets: Iterable[Target]) -> None:
        """Check the rule against all targets of the program, once they are known."""


class Always(Rule):
    """The same quantizer for every target."""

    def __init__(self, quantizer: Any) -> None:
        self.quantizer = as_quantizer(quantizer)

    def choose(self, target: Target) -> Quantizer | None:
        """The one quantizer."""
        return self.quantizer


class FirstLast(Rule):
    """One quantizer for the first and the last quantized layer, another for those between.

    Args:
        first_last: quantizer, function, rule, or ``None`` (left in float).
        others: the same, for all other layers.
    """

    def __init__(self, first_last: Any, others: Any) -> None:
        self.first_last = _optional_rule(first_last)
        self.others = _optional_rule(others)

    def choose(self, target: Target) -> Quantizer | None:
        """By the target's position."""
        rule = self.first_last if target.first or target.last else self.others
        return rule.choose(target) if rule else None

    def finish(self, targets: Iterable[Target]) -> None:
        """Check the nested rules."""
        held = list(targets)
        for rule, part in (
            (self.first_last, [t for t in held if t.first or t.last]),
            (self.others, [t for t in held if not (t.first or t.last)]),
        ):
            if rule:
                rule.finish(part)


class PerLayer(Rule):
    """Quantizers by pattern; the first pattern that matches wins.

    A pattern is a shell-style pattern (``*``, ``?``, ``[...]``) or a plain name. It is compared
    with the tensor's name, the layer's parameter (``conv2d_0.w_0``), the layer (``conv2d_0``), the
    operator type (``depthwise_conv2d``) and the name scope of the operators that read the tensor.

    Args:
        rules: pattern -> quantizer, function, rule, or ``None`` (left in float).
        default: for tensors that no pattern matches; ``None`` leaves them in float.

    Raises:
        ValueError: when the program is quantized and a pattern matches nothing in it.
    """

    def __init__(self, rules: Mapping[str, Any], default: Any = None) -> None:
        if not rules:
            raise ValueError("PerLayer needs at least one pattern, got none.")
        self.rules = {pattern: _optional_rule(value) for pattern, value in rules.items()}
        self.default = _optional_rule(default)

    def choose(self, target: Target) -> Quantizer | None:
        """By the first pattern that matches the target."""
        rule = self._rule(target)
        return rule.choose(target) if rule else None

    def _rule(self, target: Target) -> Rule | None:
        names = candidates(target)
        for pattern, rule in self.rules.items():
            if any(fnmatchcase(name, pattern) for name in names):
                return rule
        return self.default

    def finish(self, targets: Iterable[Target]) -> None:
        """Refuse patterns that match no target; check the nested rules."""
        held = list(targets)
        known = {name for target in held for name in candidates(target)}
        for pattern in self.rules:
            if not any(fnmatchcase(name, pattern) for name in known):
                near = difflib.get_close_matches(pattern, sorted(known), n=5, cutoff=0.4)
                hint = ", ".join(near or sorted(known)[:5]) or "nothing to quantize"
                raise ValueError(
                    f"PerLayer pattern {pattern!r} matches no quantized tensor of this program; "
                    f"near names: {hint}."
                )
        for rule in {id(rule): rule for rule in (*self.rules.values(), self.default)}.values():
            if rule:
                rule.finish(target for target in held if self._rule(target) is rule)


def candidates(target: Target) -> set[str]:
    """The names by which a pattern can find this target."""
    names = {target.name}
    for reader in target.readers:
        names.update((reader.op_type, reader.scope.strip("/")))
        if reader.weight:
            names.update((reader.weight, reader.weight.rsplit(".", 1)[0]))
    return names - {""}


def as_rule(value: Any) -> Rule:
    """``value`` itself if it is a rule, else the rule that always gives this quantizer.

    Raises:
        TypeError: it is no rule, quantizer or function.
    """
    return value if isinstance(value, Rule) else Always(value)


def _optional_rule(value: Any) -> Rule | None:
    return None if value is None else as_rule(value)
