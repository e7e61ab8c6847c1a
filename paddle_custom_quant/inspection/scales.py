"""The grid of a quantized tensor: step, range and levels, from what the model holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

from ..quantizers.base import Grid, LevelGrid, Quantizer, UniformGrid
from ..quantizers.description import rebuild
from ..target import WEIGHT, Target
from .model import Model
from .quantized import PADDLE_WRITERS, Quantizing

MAX_STORED_LEVELS = 256
SAMPLE_OF_CHANNEL = 512
# What a formula raises on parameters, or settings, of a damaged file that do not fit it.
MISFIT = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError)


def rebuilt(one: Quantizing) -> Quantizer | None:
    """The quantizer, ``None`` for a function, Paddle's own and classes from elsewhere."""
    if not one.description:
        return None
    try:
        return rebuild(json.dumps(one.description))
    except MISFIT:
        return None  # the description is data from a file: damaged ones are unknown ones


def target_of(one: Quantizing, model: Model) -> Target:
    """The quantized tensor as its quantizer knows it."""
    held = model.variables.get(one.tensor) or model.variables.get(one.copy)
    shape = held.shape if held and held.shape is not None else ()
    dtype = held.dtype if held and held.dtype else "float32"
    return Target(one.tensor, shape, dtype, one.role, channel_axis=one.channel_axis, training=False)


def parameter_names(one: Quantizing, model: Model) -> dict[str, str]:
    """Names of the quantizer's parameters and states, by their short names."""
    quantizer = rebuilt(one)
    if quantizer is not None:
        try:
            held = quantizer.parameters(target_of(one, model))
        except MISFIT:
            held = {}
        return {key: p.name or f"{one.copy}.{key}" for key, p in held.items()}
    names = {name for op in one.forward for name in op.reads if name != one.tensor}
    return {
        name.rpartition(".")[-1]: name
        for name in sorted(names)
        if name in model.variables and model.variables[name].persistable
    }


def grid_of(one: Quantizing, model: Model) -> Grid | None:
    """The levels of a quantized tensor, ``None`` where the model does not hold what they need."""
    linear = _linear_grid(one, model)
    if linear is not None:
        return linear
    if one.stored and one.copy in model.values:
        stored = np.asarray(model.values[one.copy])
        sound = stored.size and stored.dtype == "float32" and np.isfinite(stored).all()
        return _stored_grid(stored, one.channel_axis) if sound else None
    quantizer = rebuilt(one)
    if quantizer is None:
        return None
    names = parameter_names(one, model)
    if any(name not in model.values for name in names.values()):
        return None
    parameters = {key: np.asarray(model.values[name]) for key, name in names.items()}
    values = model.values.get(one.tensor) if one.role == WEIGHT else None
    try:
        return quantizer.grid(
            target_of(one, model), None if values is None else np.asarray(values), **parameters
        )
    except MISFIT:
        return None


def _linear_grid(one: Quantizing, model: Model) -> UniformGrid | None:
    """The grid of Paddle's own operators: Scale is the value of the largest integer."""
    last = next((op for op in reversed(one.forward) if op.kind in PADDLE_WRITERS), None)
    if last is None or one.description.get("class") not in (None, "BuiltIn"):
        return None
    name = next(
        (last.inputs[s][0] for s in ("Scale", "Scales", "InScale") if last.inputs.get(s)), ""
    )
    if name not in model.values:
        return None
    qmax = largest_integer(last.attributes)
    scale = np.atleast_1d(np.asarray(model.values[name], dtype="float32")).ravel()
    axis = one.channel_axis if scale.size > 1 else None
    return UniformGrid(scale / qmax, np.zeros_like(scale), -qmax - 1, qmax, axis)


def largest_integer(attributes: Mapping[str, Any]) -> int:
    """The largest integer of one of Paddle's own quantizing operators."""
    bits = attributes.get("bit_length") or next(iter(attributes.get("quant_bits") or ()), 8)
    qmax = attributes.get("qmax")
    if isinstance(qmax, int) and qmax > 0:
        return qmax
    return int(2 ** (min(max(int(bits), 1), 16) - 1) - 1) or 1


def _stored_grid(values: np.ndarray, axis: int | None) -> UniformGrid | None:
    """The equidistant levels that stored quantized values have, if they have any.

    The step of a channel is the least distance between any two of a sample of its values.
    """
    for along_axis in (None, axis):
        rows = values.reshape(1, -1)
        if along_axis is not None:
            rows = np.moveaxis(values, along_axis, 0).reshape(values.shape[along_axis], -1)
        low, high = rows.min(axis=1), rows.max(axis=1)
        share = max(1, rows.shape[1] // SAMPLE_OF_CHANNEL)
        sample = np.sort(np.concatenate([rows[:, ::share], low[:, None], high[:, None]], axis=1))
        distances = np.diff(sample)
        noise = 1e-5 * np.maximum(np.abs(low), np.abs(high))[:, None]
        step = np.where(distances > noise, distances, np.inf).min(axis=1)
        step = np.where(np.isfinite(step), step, 1.0)
        integers = (sample - low[:, None]) / step[:, None]
        top = int(np.rint(integers.max()))
        if top < MAX_STORED_LEVELS and np.abs(integers - np.rint(integers)).max() < 0.05:
            return UniformGrid(step, low, 0, max(top, 1), along_axis)
    return None


def bounds(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest level, one of each or one a channel."""
    if isinstance(grid, LevelGrid):
        return np.atleast_1d(grid.levels[..., 0]), np.atleast_1d(grid.levels[..., -1])
    ends = np.stack([grid.step * grid.qmin + grid.offset, grid.step * grid.qmax + grid.offset])
    return ends.min(axis=0), ends.max(axis=0)


def along(values: np.ndarray, like: np.ndarray, axis: int | None) -> np.ndarray:
    """Shape one value a channel so that it goes with a tensor."""
    if axis is None or values.size == 1:
        return values.reshape(())[None] if values.size == 1 else values
    shape = [1] * like.ndim
    shape[axis] = values.size
    return values.reshape(shape)


def clipped(values: np.ndarray, grid: Grid) -> float:
    """Share of values outside the grid's range, 0 to 1."""
    if not values.size:
        return 0.0
    low, high = (along(end, values, grid.axis) for end in bounds(grid))
    margin = 1e-6 * (high - low)
    return float(np.mean((values < low - margin) | (values > high + margin)))


def level_count(grid: Grid) -> int:
    """Number of levels, of one channel."""
    if isinstance(grid, LevelGrid):
        return int(grid.levels.shape[-1])
    return grid.qmax - grid.qmin + 1


def levels_used(quantized: np.ndarray, grid: Grid) -> set[float]:
    """Which levels quantized values take, by number; those of all channels together."""
    used: Any
    if isinstance(grid, LevelGrid):
        channels = [quantized] if grid.axis is None else np.moveaxis(quantized, grid.axis, 0)
        rows = [
            np.unique(_nearest(np.ravel(values), levels))
            for values, levels in zip(channels, np.atleast_2d(grid.levels))
        ]
        used = np.concatenate(rows)
    else:
        step, offset = (along(v, quantized, grid.axis) for v in (grid.step, grid.offset))
        integers = np.rint((quantized - offset) / np.where(step == 0, 1, step))
        used = np.unique(np.clip(integers, grid.qmin, grid.qmax))
    return set(used.tolist())


def _nearest(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Index of the level next to each value; ``levels`` ascend."""
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, values)


def quantized_values(one: Quantizing, model: Model, grid: Grid | None) -> np.ndarray | None:
    """A weight on its grid, ``None`` where the model does not hold what that needs."""
    if one.stored and one.copy in model.values:
        return np.asarray(model.values[one.copy])
    if one.role != WEIGHT or one.tensor not in model.values:
        return None
    values = np.asarray(model.values[one.tensor])
    if one.stored and isinstance(grid, UniformGrid):
        step, offset = (along(v, values, grid.axis) for v in (grid.step, grid.offset))
        return values.astype("float32") * step + offset
    quantizer = rebuilt(one)
    names = parameter_names(one, model)
    if quantizer is None or any(name not in model.values for name in names.values()):
        return None if grid is None else _on_grid(values, grid)
    # The formula itself runs, on arrays: the dynamic graph is there in every mode.
    try:
        with paddle.base.dygraph.guard(paddle.CPUPlace()), paddle.no_grad():
            held = {k: paddle.to_tensor(np.asarray(model.values[n])) for k, n in names.items()}
            x = paddle.to_tensor(values)
            return np.asarray(quantizer.quantize(x, target_of(one, model), **held))
    except MISFIT:
        return None


def _on_grid(values: np.ndarray, grid: Grid) -> np.ndarray | None:
    if not isinstance(grid, UniformGrid):
        return None
    step, offset = (along(v, values, grid.axis) for v in (grid.step, grid.offset))
    integers = np.clip(np.rint((values - offset) / step), grid.qmin, grid.qmax)
    return integers * step + offset


__all__ = [
    "along", "bounds", "clipped", "grid_of", "largest_integer", "level_count", "levels_used",
    "parameter_names", "quantized_values", "rebuilt", "target_of",
]  # fmt: skip
