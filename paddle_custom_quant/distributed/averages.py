"""Operators that average tensors over all processes."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from paddle.base import core
from paddle.base.data_feeder import convert_dtype

from ..graph.roles import ROLE
from .group import REDUCTION, SUM


class Averages:
    """Inserts averages over all processes, in place.

    Args:
        block: of the program.
        size: number of processes.
    """

    def __init__(self, block: Any, size: int) -> None:
        self._block, self._size, self._made = block, size, 0

    def check(self, name: str) -> None:
        """Raise ValueError for a tensor that cannot be averaged."""
        variable = self._block.var(name)
        if variable.type != core.VarDesc.VarType.LOD_TENSOR:
            raise ValueError(
                f"{name!r} is sparse, and only dense tensors are averaged: build its layer with "
                "sparse=False."
            )
        if any(extent < 0 for extent in variable.shape):
            raise ValueError(f"{name!r} has an unknown size: {list(variable.shape)}.")

    def at(self, index: int, names: Iterable[str], of: int) -> int:
        """Insert before operator ``index``; return how many operators were inserted."""
        before = len(self._block.ops)
        self._index, self._of = index, of
        kinds: dict[str, list[str]] = {}
        for name in names:
            kinds.setdefault(convert_dtype(self._block.var(name).dtype), []).append(name)
        for kind, held in kinds.items():
            self._average(held, kind)
        return len(self._block.ops) - before

    def _average(self, names: list[str], kind: str) -> None:
        if len(names) == 1:
            self._one(names[0])
            return
        # One long tensor: many short messages take longer.
        shapes = [list(self._block.var(name).shape) for name in names]
        sizes = [prod(shape) for shape in shapes]
        flat = [self._reshaped(n, self._new([s], kind), [s]) for n, s in zip(names, sizes)]
        whole = self._new([sum(sizes)], kind)
        self._insert("concat", {"X": flat}, {"Out": [whole]}, {"axis": 0})
        self._one(whole)
        parts = [self._new([size], kind) for size in sizes]
        split = {"axis": 0, "sections": sizes, "num": 0}
        self._insert("split", {"X": [whole]}, {"Out": parts}, split)
        for name, part, shape in zip(names, parts, shapes):
            self._reshaped(part, name, shape)

    def _one(self, name: str) -> None:
        self._insert(REDUCTION, {"x": [name]}, {"out": [name]}, SUM)
        self._insert("scale", {"X": [name]}, {"Out": [name]}, {"scale": 1.0 / self._size})

    def _reshaped(self, name: str, to: str, shape: list[int]) -> str:
        old = self._new([0, *self._block.var(name).shape], "float32")
        outputs = {"Out": [to], "XShape": [old]}
        self._insert("reshape2", {"X": [name]}, outputs, {"shape": shape})
        return to

    def _new(self, shape: list[int], kind: str) -> str:
        self._made += 1
        name = f"data_parallel.{self._made}"
        self._block.create_var(name=name, shape=shape, dtype=kind, stop_gradient=True)
        return name

    def _insert(self, kind: str, inputs: Any, outputs: Any, attributes: dict[str, Any]) -> None:
        attributes = {**attributes, ROLE: self._of}
        self._block._insert_op(
            self._index, type=kind, inputs=inputs, outputs=outputs, attrs=attributes
        )
        self._index += 1


__all__ = ["Averages"]
