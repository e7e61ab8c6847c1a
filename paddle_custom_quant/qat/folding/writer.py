"""Write operators into the middle of a program."""

from __future__ import annotations

from typing import Any

from ...graph.marks import OUTSIDE_TRAINING

Names = dict[str, str]


class Writer:
    """Inserts operators in front of ``before``, one after the other.

    None of them is quantized. Every method returns the name of what its operator writes: ``name``,
    or one made from ``stem``.

    Args:
        block: of the program.
        before: an operator of it.
        stem: what names start with.
    """

    def __init__(self, block: Any, before: Any, stem: str) -> None:
        self._block, self._stem = block, stem
        self._position = block.ops.index(before)

    def operator(
        self, kind: str, inputs: Names, name: str = "", slot: str = "Out", **attributes: Any
    ) -> str:
        """One operator of any kind, with one output in ``slot``."""
        out = self._variable(name)
        self._last = self._block._insert_op_without_sync(
            self._position,
            type=kind,
            inputs={key: [self._block.var(value)] for key, value in inputs.items()},
            outputs={slot: [out]},
            attrs=attributes,
        )
        self._position += 1
        self._last._set_attr("skip_quant", True)
        return str(out.name)

    def add(self, x: str, y: str, name: str = "", axis: int = -1) -> str:
        """x + y, y along ``axis`` of x."""
        return self.operator("elementwise_add", {"X": x, "Y": y}, name, axis=axis)

    def subtract(self, x: str, y: str, name: str = "") -> str:
        """x - y."""
        return self.operator("elementwise_sub", {"X": x, "Y": y}, name, axis=-1)

    def multiply(self, x: str, y: str, name: str = "", axis: int = -1) -> str:
        """x y, y along ``axis`` of x."""
        return self.operator("elementwise_mul", {"X": x, "Y": y}, name, axis=axis)

    def divide(self, x: str, y: str, name: str = "", axis: int = -1) -> str:
        """x / y, y along ``axis`` of x."""
        return self.operator("elementwise_div", {"X": x, "Y": y}, name, axis=axis)

    def affine(self, x: str, factor: float, summand: float, name: str = "") -> str:
        """factor x + summand."""
        return self.operator(
            "scale", {"X": x}, name, scale=factor, bias=summand, bias_after_scale=True
        )

    def square_root(self, x: str) -> str:
        """The square root."""
        return self.operator("sqrt", {"X": x})

    def mean(self, x: str, axes: list[int]) -> str:
        """The mean over ``axes``, which are gone."""
        return self.operator("reduce_mean", {"X": x}, dim=axes, keep_dim=False, reduce_all=False)

    def of_batch(self, x: str, running: str) -> str:
        """x, which is the variable ``running`` in the test program."""
        name = self.operator("assign", {"X": x})
        self._last._set_attr(OUTSIDE_TRAINING, running)
        return name

    def again(self, op: Any, inputs: Names, slot: str) -> str:
        """A copy of an operator that reads other variables."""
        held = op.all_attrs()
        kept = {key: value for key, value in held.items() if not key.startswith("op_")}
        return self.operator(op.type, inputs, slot=slot, **kept)

    def _variable(self, name: str) -> Any:
        if name and self._block.has_var(name):
            return self._block.var(name)
        number, free = 2, name or f"{self._stem}.fold"
        base = free
        while self._block.has_var(free):
            free, number = f"{base}_{number}", number + 1
        return self._block.create_var(name=free)


__all__ = ["Writer"]
