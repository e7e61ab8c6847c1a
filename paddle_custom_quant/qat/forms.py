"""The form that a method's quantizers take in a hardware setting."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ..quantizers import (
    DSQ,
    EWGS,
    LSQ,
    N2UQ,
    PACT,
    QIL,
    SAWB,
    TQT,
    AbsMax,
    APoT,
    DoReFaActivation,
    DoReFaWeight,
    LQNet,
    LSQPlus,
    MovingAverageAbsMax,
    PowerOfTwoScale,
    Quantizer,
    WholeZeroPoint,
)

if TYPE_CHECKING:
    from .backends import Backend

_Held = TypeVar("_Held")


@dataclass(frozen=True)
class Method:
    """How a method's quantizers are made.

    Attributes:
        weight: from bits, and whether each output channel has its own parameters.
        activation: from bits, and whether there are values below zero.
        without_grid: why integers cannot stand for what it returns; empty if they can.
        zero_point: why it needs a zero point; empty if it does not.
        unscaled: it maps weights to [-1, 1] unless told otherwise (``rescale``), which undoes a
            batch norm that is folded into them.
    """

    weight: Callable[[int, bool], Any]
    activation: Callable[[int, bool], Any]
    without_grid: str = ""
    zero_point: str = ""
    unscaled: bool = False


def _with_channels(kind: Callable[..., Any]) -> Callable[[int, bool], Any]:
    return lambda bits, per_channel: kind(bits, per_channel=per_channel)


def _with_sign(kind: Callable[..., Any]) -> Callable[[int, bool], Any]:
    return lambda bits, signed: kind(bits, signed=signed)


def _unsigned(kind: Callable[..., Any]) -> Callable[[int, bool], Any]:
    """A method without levels below zero: where they are needed the range is measured."""
    return lambda bits, signed: MovingAverageAbsMax(bits) if signed else kind(bits)


def _ewgs(**settings: Any) -> EWGS:
    return EWGS(LSQ(**settings))


_APART = "thresholds are trained apart from levels: values are not rounded to the nearest level"

METHODS: dict[str, Method] = {
    "absmax": Method(_with_channels(AbsMax), _with_sign(MovingAverageAbsMax)),
    "apot": Method(
        lambda bits, per_channel: APoT(bits),
        _with_sign(APoT),
        without_grid="its levels are sums of powers of two, not equidistant",
    ),
    "dorefa": Method(
        _with_channels(partial(DoReFaWeight)), _unsigned(DoReFaActivation), unscaled=True
    ),
    "dsq": Method(_with_channels(DSQ), _with_sign(DSQ)),
    "ewgs": Method(
        lambda bits, per_channel: _ewgs(bits=bits, per_channel=per_channel),
        lambda bits, signed: _ewgs(bits=bits, signed=signed),
    ),
    "lq-net": Method(
        _with_channels(LQNet),
        _with_sign(LQNet),
        without_grid="its levels are sums of learned numbers, not equidistant",
    ),
    "lsq": Method(_with_channels(LSQ), _with_sign(LSQ)),
    "lsq+": Method(
        _with_channels(LSQPlus),
        lambda bits, signed: LSQPlus(bits, signed=False),
        zero_point="its learned offset is a zero point",
    ),
    "n2uq": Method(_with_channels(N2UQ), _unsigned(partial(N2UQ, signed=False)), _APART),
    "pact": Method(_with_channels(partial(DoReFaWeight)), _with_sign(PACT), unscaled=True),
    "qil": Method(_with_channels(QIL), _with_sign(QIL), _APART),
    "sawb": Method(_with_channels(SAWB), _with_sign(PACT)),
    "tqt": Method(_with_channels(TQT), _with_sign(TQT)),
}
# PACT's paper takes DoReFa's weights, SAWB's paper PACT's activations.


def method(name: str) -> Method:
    """The method of this name.

    Raises:
        ValueError: there is none; near names are offered.
    """
    return named("method", name, METHODS)


def named(kind: str, name: str, table: Mapping[str, _Held]) -> _Held:
    """The entry of this name; a ValueError that offers near names if there is none."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name).lower(), table, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"no {kind} is called {name!r}; {hint}Known: {', '.join(table)}.")


def weight_quantizer(name: str, bits: int, backend: Backend) -> Quantizer:
    """The method's quantizer of weights in a setting."""
    made = method(name).weight(bits, backend.per_channel)
    if backend.folds_batch_norm and method(name).unscaled:
        made = replace(made, rescale=True, detach_max=True)
    return formed(made, backend)


def activation_quantizer(name: str, bits: int, signed: bool, backend: Backend) -> Quantizer:
    """The method's quantizer of activations in a setting."""
    return formed(method(name).activation(bits, signed), backend)


def formed(quantizer: Any, backend: Backend) -> Any:
    """A quantizer with the scale and the zero point that the hardware has."""
    if not backend.integers:
        return quantizer
    if isinstance(quantizer, EWGS):  # its gradient is that of the grid inside
        return replace(quantizer, quantizer=formed(quantizer.quantizer, backend))
    # LSQ+ has its offset on activations alone; an unsigned DSQ starts at zero.
    shifted = isinstance(quantizer, DSQ if quantizer.signed else LSQPlus)
    middle = 2 ** (quantizer.bits - 1)
    if backend.power_of_two and not isinstance(quantizer, TQT):  # TQT's are powers of two
        quantizer = PowerOfTwoScale(quantizer)
    if shifted:
        return WholeZeroPoint(quantizer, at=middle if backend.symmetric else None)
    return quantizer


__all__ = [
    "METHODS",
    "Method",
    "activation_quantizer",
    "formed",
    "method",
    "named",
    "weight_quantizer",
]
