"""The contract of a quantizer: an immutable description that is called on tensors."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Callable, ClassVar

import numpy as np

from ..target import ACTIVATION, GRADIENT, WEIGHT, Target
from .grid import Grid, LevelGrid, UniformGrid
from .parameter import Parameter, Sample, scalar

MIN_BITS, MAX_BITS = 1, 16


def check_bits(bits: object, low: int = MIN_BITS, high: int = MAX_BITS) -> int:
    """Return bits if it is an integer in [low, high].

    Raises:
        TypeError: bits is not an integer.
        ValueError: bits is outside the range.
    """
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)):
        raise TypeError(f"bits must be an integer, got {bits!r} ({type(bits).__name__}).")
    if not low <= bits <= high:
        raise ValueError(f"bits must be between {low} and {high}, got {bits}.")
    return int(bits)


class Quantizer:
    """Base of every quantizer: subclass it as a frozen dataclass.

    A subclass gives ``bits`` and ``signed``, writes its formula in :meth:`quantize`, and, if it
    owns values, lists them with their start values in :meth:`parameters`. One object serves every
    tensor it is placed on, in the train and in the test program.

    ``roles`` are the tensors it can serve: ``"weight"``, ``"activation"``, ``"gradient"``.
    ``min_bits`` (signed: ``min_signed_bits``) and ``max_bits`` are the widths the method is defined
    for. ``passes_gradient`` says that the gradient passes unchanged, without operators of its own;
    ``replaces_gradient`` that :meth:`incoming_gradient` does something, ``adds_gradient`` that
    :meth:`added_gradient` does.
    """

    bits: int
    signed: bool
    roles: ClassVar[tuple[str, ...]] = (WEIGHT, ACTIVATION)
    min_bits = MIN_BITS
    min_signed_bits = MIN_BITS
    max_bits = MAX_BITS
    passes_gradient = False
    replaces_gradient = False
    adds_gradient = False

    def __post_init__(self) -> None:
        """Check the description; a subclass that overrides this calls it too."""
        low = max(self.min_bits, self.min_signed_bits) if self.signed else self.min_bits
        check_bits(self.bits, low, self.max_bits)

    @property
    def method(self) -> str:
        """Short lower-case name; parameters are called ``<tensor>.<method>.<parameter>``."""
        return type(self).__name__.lower()

    @property
    def qmin(self) -> int:
        """Smallest integer of the grid."""
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def qmax(self) -> int:
        """Largest integer of the grid."""
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """Parameters of this quantizer on ``target``, by name.

        Args:
            target: the tensor.
            sample: its values, where known; ``None`` gives the method's default start values.

        Raises:
            ValueError: the sample holds NaN or infinity; the quantizer is per channel and the
                tensor's channel axis is unknown.
        """
        self.known_values(target, sample)
        return {}

    def known_values(self, target: Target, sample: Sample | None) -> np.ndarray | None:
        """The sample's values as float64, checked; ``None`` where there is no sample.

        A method that overrides :meth:`parameters` takes its values from here. Warns with the
        share of negative values if the quantizer is unsigned.

        Raises:
            ValueError: the sample holds NaN or infinity, or nothing; or see :meth:`axis`.
        """
        self.axis(target)
        if sample is None:
            return None
        values = np.asarray(sample.values, dtype="float64")
        if values.size == 0:
            raise ValueError(f"there are no values of {target.name!r} to start {self.method} from.")
        invalid = values.size - int(np.isfinite(values).sum())
        if invalid:
            raise ValueError(
                f"{target.name!r} holds {invalid} values that are NaN or infinite: "
                f"{self.method} cannot quantize it."
            )
        negative = float((values < 0).mean())
        if negative and not self.takes_negative(target):
            warnings.warn(
                f"{self.method} is unsigned, but {negative:.1%} of the values of {target.name!r} "
                f"are negative: they become 0. Use a signed quantizer there.",
                stacklevel=3,
            )
        return values

    def takes_negative(self, target: Target) -> bool:
        """The grid on this tensor reaches below zero."""
        return self.signed

    def axis(self, target: Target) -> int | None:
        """The axis that parameters run along: ``None`` per tensor, else the channel axis.

        Raises:
            ValueError: the quantizer is per channel and the tensor's channel axis is unknown.
        """
        if not getattr(self, "per_channel", False):
            return None
        if target.channel_axis is None:
            raise ValueError(
                f"{self.method} is per channel, but the output-channel axis of {target.name!r} "
                f"is unknown: use per_channel=False for it."
            )
        return target.channel_axis

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """The formula: return x on the grid, same shape and dtype, differentiable.

        Args:
            x: the tensor (dynamic graph, old program or new program).
            target: what is known of it.
            parameters: one tensor for each name in :meth:`parameters`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define quantize().")

    def incoming_gradient(
        self, gradient: Any, x: Any, y: Any, target: Target, **parameters: Any
    ) -> Any:
        """What goes backward through :meth:`quantize` in the place of the gradient of its result.

        For the few methods whose backward is not linear in the gradient.

        Args:
            gradient: gradient of y, its shape and dtype.
            x: the input of :meth:`quantize`.
            y: its result.
            target: what is known of x.
            parameters: as in :meth:`quantize`.
        """
        return gradient

    def added_gradient(self, x: Any, y: Any, target: Target, **parameters: Any) -> Any:
        """What is added to the gradient of x: that of a penalty on x of the method's own.

        Called where ``adds_gradient`` is set. Arguments as in :meth:`incoming_gradient`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define added_gradient().")

    def grid(
        self, target: Target, values: np.ndarray | None, **parameters: np.ndarray
    ) -> Grid | None:
        """The levels that :meth:`quantize` can return, given trained values.

        Args:
            target: the tensor.
            values: the trained weight, ``None`` for an activation.
            parameters: trained values by name.

        Returns:
            The grid, or ``None`` if the method has none that can be named.
        """
        return None

    def __call__(self, x: Any) -> Any:
        """Quantize ``x`` alone, with parameters at their start values created in place."""
        from .standalone import apply

        return apply(self, x)


@dataclass(frozen=True)
class FunctionQuantizer(Quantizer):
    """A plain function ``f(x) -> y`` in the place of a quantizer.

    It may create parameters as PaddleSlim's own ``pact`` does. Its grid is unknown.
    """

    function: Callable[[Any], Any]
    bits: int = 0
    signed: bool = True
    roles: ClassVar[tuple[str, ...]] = (WEIGHT, ACTIVATION, GRADIENT)

    def __post_init__(self) -> None:
        """Check that the function can be called."""
        if not callable(self.function):
            raise TypeError(
                f"a quantizer is a pcq.quantizers object or a function f(x) -> y, "
                f"got {self.function!r} ({type(self.function).__name__})."
            )

    @property
    def method(self) -> str:
        """The function's own name."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return "".join(c if c.isalnum() or c == "_" else "_" for c in name)

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """Call the function."""
        return self.function(x)


def as_quantizer(value: Any) -> Quantizer:
    """Return ``value`` if it is a quantizer, else wrap the function.

    Raises:
        TypeError: it is neither, a quantizer class instead of an object, or cannot be hashed.
    """
    if isinstance(value, type) and issubclass(value, Quantizer):
        raise TypeError(
            f"{value.__name__} is a class: pass an object, as in {value.__name__}(bits=4)."
        )
    if isinstance(value, Quantizer) and type(value).__hash__ is None:
        raise TypeError(
            f"{type(value).__name__} cannot be compared and hashed: make it a frozen dataclass, "
            f"@dataclass(frozen=True)."
        )
    return value if isinstance(value, Quantizer) else FunctionQuantizer(value)


__all__ = [
    "FunctionQuantizer",
    "Grid",
    "LevelGrid",
    "Parameter",
    "Quantizer",
    "Sample",
    "UniformGrid",
    "as_quantizer",
    "check_bits",
    "scalar",
]
