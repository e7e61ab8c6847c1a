"""A quantizer around another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..target import Target
from .base import Parameter, Sample
from .scale import Scale, UniformQuantizer


@dataclass(frozen=True)
class UniformWrapper(UniformQuantizer):
    """Has the description, the parameters and the formula of the quantizer inside.

    Parameters keep the inner quantizer's names, so that a checkpoint fits with and without the
    wrapper.

    Args:
        quantizer: any uniform quantizer.
    """

    quantizer: UniformQuantizer

    def __post_init__(self) -> None:
        if not isinstance(self.quantizer, UniformQuantizer):
            raise TypeError(
                f"{type(self).__name__} takes a uniform quantizer such as LSQ(bits=4), "
                f"got {self.quantizer!r}."
            )

    @property
    def bits(self) -> int:  # type: ignore[override]
        """Width of the inner quantizer."""
        return self.quantizer.bits

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Signedness of the inner quantizer."""
        return self.quantizer.signed

    @property
    def measures_input(self) -> bool:  # type: ignore[override]
        """As the inner quantizer."""
        return self.quantizer.measures_input

    @property
    def replaces_gradient(self) -> bool:  # type: ignore[override]
        """As the inner quantizer."""
        return self.quantizer.replaces_gradient

    @property
    def adds_gradient(self) -> bool:  # type: ignore[override]
        """As the inner quantizer."""
        return self.quantizer.adds_gradient

    @property
    def method(self) -> str:
        """Name of the inner quantizer."""
        return self.quantizer.method

    @property
    def qmin(self) -> int:
        """Smallest integer of the inner grid."""
        return self.quantizer.qmin

    @property
    def qmax(self) -> int:
        """Largest integer of the inner grid."""
        return self.quantizer.qmax

    def axis(self, target: Target) -> int | None:
        """As the inner quantizer."""
        return self.quantizer.axis(target)

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """Those of the inner quantizer."""
        return self.quantizer.parameters(target, sample)

    def scale(self, x: Any, target: Target, **parameters: Any) -> Scale:
        """That of the inner quantizer."""
        return self.quantizer.scale(x, target, **parameters)

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """The inner quantizer's formula."""
        return self.quantizer.quantize(x, target, **parameters)

    def quantize_on(self, scale: Scale, x: Any, target: Target, **parameters: Any) -> Any:
        """The inner quantizer's formula on a given grid."""
        return self.quantizer.quantize_on(scale, x, target, **parameters)

    def incoming_gradient(
        self, gradient: Any, x: Any, y: Any, target: Target, **parameters: Any
    ) -> Any:
        """That of the inner quantizer."""
        return self.quantizer.incoming_gradient(gradient, x, y, target, **parameters)

    def added_gradient(self, x: Any, y: Any, target: Target, **parameters: Any) -> Any:
        """That of the inner quantizer."""
        return self.quantizer.added_gradient(x, y, target, **parameters)


__all__ = ["UniformWrapper"]
