"""Float weights in 8 bits a value, such that every float comes back with the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

import numpy as np

from .frozen import IntegerWeight, along

_MOST_LEVELS = 256


@dataclass(frozen=True)
class Steps:
    """Values ``integers * step``.

    Attributes:
        integers: int8, shaped as the values.
        step: float32; of the same rank, so that it broadcasts.
    """

    integers: np.ndarray
    step: np.ndarray

    @property
    def size(self) -> int:
        """Bytes to store."""
        return self.integers.nbytes + self.step.nbytes


@dataclass(frozen=True)
class Table:
    """Values ``levels[indices + offsets]``.

    Attributes:
        indices: uint8, shaped as the values.
        levels: float32 ``[levels, 1]``, those of one channel behind those of another.
        offsets: where each channel's levels begin; int32, of the same rank as the values, so that
            it broadcasts. ``None`` if all channels have the same levels.
    """

    indices: np.ndarray
    levels: np.ndarray
    offsets: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Bytes to store."""
        more = 0 if self.offsets is None else self.offsets.nbytes
        return self.indices.nbytes + self.levels.nbytes + more


Compact = Union[Steps, Table]


def compact(values: np.ndarray, fitted: IntegerWeight | None, axis: int | None) -> Compact | None:
    """The smallest form that gives these values bit for bit.

    Args:
        values: float32 of any shape.
        fitted: their integers, if they lie on a uniform grid.
        axis: along which channels may differ in their levels.

    Returns:
        ``None`` if floats are smaller, or nothing else gives the same bits.
    """
    forms: list[Compact | None] = [_table(values), _steps(values, fitted), _rows(values, axis)]
    found = [form for form in forms if form is not None and form.size < values.nbytes]
    return min(found, key=lambda form: form.size, default=None)


def _table(values: np.ndarray) -> Table | None:
    bits, indices = np.unique(_bits(values), return_inverse=True)
    if len(bits) > _MOST_LEVELS:
        return None
    return Table(indices.reshape(values.shape).astype("uint8"), bits.view("float32")[:, None])


def _rows(values: np.ndarray, axis: int | None) -> Table | None:
    """A table in which each channel has levels of its own."""
    if axis is None:
        return None
    indices = np.empty(values.shape, "uint8")
    levels, starts = [], []
    start = 0
    for channel, row in zip(np.moveaxis(indices, axis, 0), np.moveaxis(values, axis, 0)):
        own = _table(row)
        if own is None:
            return None
        channel[...] = own.indices
        levels.append(own.levels)
        starts.append(start)
        start += len(own.levels)
    offsets = along(np.array(starts, "int32"), values.ndim, axis)
    return Table(indices, np.concatenate(levels), offsets)


def _steps(values: np.ndarray, fitted: IntegerWeight | None) -> Steps | None:
    if fitted is None or fitted.integers.dtype != np.int8:
        return None
    axis = fitted.grid.axis
    step = along(fitted.grid.step, values.ndim, axis)
    others = tuple(i for i in range(values.ndim) if i != axis)
    held, open_ = step, np.ones(step.shape, bool)
    # Paddle and NumPy may round the division that made a step to neighbouring floats.
    for tried in (step, np.nextafter(step, np.float32(0)), np.nextafter(step, np.float32(np.inf))):
        product = fitted.integers.astype("float32") * tried
        same = (_bits(product) == _bits(values)).all(axis=others, keepdims=True)
        held = np.where(open_ & same, tried, held)
        open_ = open_ & ~same
    return None if open_.any() else Steps(fitted.integers, held)


def _bits(values: np.ndarray) -> np.ndarray:
    """What tells -0.0 from 0.0."""
    return np.ascontiguousarray(values).view("uint32")


__all__ = ["Compact", "Steps", "Table", "compact"]
