"""Let scripts that call PaddleSlim's own functions use this engine."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import paddleslim.quant
from paddleslim.quant import quanter

from .convert import convert
from .quant_aware import quant_aware
from .request import keep_no_table
from .transform_pass import QuantizationTransformPass, QuantizationTransformPassV2

_FUNCTIONS: dict[str, Any] = {"quant_aware": quant_aware, "convert": convert}
_INSIDE: dict[str, Any] = {
    "save_dict": keep_no_table,
    "QuantizationTransformPass": QuantizationTransformPass,
    "QuantizationTransformPassV2": QuantizationTransformPassV2,
}


class Patch:
    """A replacement in force, until the ``with`` block is left or :meth:`restore` is called."""

    def __init__(self) -> None:
        places = [(paddleslim.quant, _FUNCTIONS), (quanter, {**_FUNCTIONS, **_INSIDE})]
        self._before: list[tuple[Any, str, Any]] = []
        for module, values in places:
            for name, value in values.items():
                self._before.append((module, name, getattr(module, name)))
                setattr(module, name, value)

    def restore(self) -> None:
        """Put back exactly what was there. Calling it again does nothing."""
        while self._before:
            setattr(*self._before.pop())

    def __enter__(self) -> Patch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()


def patch_paddleslim() -> Patch:
    """Replace ``paddleslim.quant.quant_aware`` and ``convert`` by those of this package.

    As a call it holds until :meth:`Patch.restore`; as a context manager, to the end of the block.
    Scripts that imported ``quant_aware`` before get the passes of this package inside it.

    Returns:
        The patch, in force already.
    """
    return Patch()
