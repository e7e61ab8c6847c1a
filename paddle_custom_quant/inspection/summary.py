"""Facts about a model, as data."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..quantizers.base import Grid
from .coverage import cover
from .model import BACKWARD, FORWARD, OPTIMIZER, Model
from .quantized import PADDLE_WRITERS, Quantizing, find_quantized
from .scales import bounds, grid_of, largest_integer, level_count, rebuilt


@dataclass(frozen=True)
class QuantizedTensor:
    """A quantized tensor.

    Attributes:
        tensor: the float tensor's name.
        copy: the quantized copy's name.
        role: ``"weight"``, ``"activation"`` or ``"gradient"``.
        quantizer: name of the method, function or Paddle operator.
        bits: width, ``None`` where it is unknown.
        bits_counted: the width is not stated but counted from the stored levels.
        signed: the grid reaches below zero; ``None`` where it is unknown.
        step: least and greatest distance between neighbouring levels over the channels, ``None``
            where the model does not hold it or the levels are not equidistant.
        range: lowest and highest level over the channels.
        channels: number of scales.
        axis: that the scales run along, ``None`` for one scale.
        shape: of the tensor.
        dtype: of the tensor.
        readers: ``type -> first output`` of the operators that read the copy.
    """

    tensor: str
    copy: str
    role: str
    quantizer: str
    bits: int | None
    bits_counted: bool
    signed: bool | None
    step: tuple[float, float] | None
    range: tuple[float, float] | None
    channels: int
    axis: int | None
    shape: tuple[int, ...]
    dtype: str
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """Facts about a model; ``str()`` gives a table.

    Attributes:
        source: path, or ``"program"``.
        kind: such as ``"inference model"``.
        paddle_version: of the writer, ``""`` if unknown.
        operators: number of operators, all blocks.
        operators_by_type: type -> number, most frequent first.
        operators_by_part: forward, backward, optimizer -> number.
        quantizer_operators: operators that belong to quantizers, gradients included.
        variables: number of variables.
        parameters: number of parameters and states of the net.
        parameter_elements: their values.
        parameter_bytes: their size in memory.
        quantizer_parameters: number of parameters and states of quantizers.
        files: bytes on disk by file name.
        quantized: the quantized tensors, in program order.
        net_operators: forward operators of the net itself.
        integer_operators: how many of them read only quantized inputs where they can.
        layers: operators with weights that can be quantized.
        integer_layers: how many of them read only quantized inputs.
        float_operators: reason -> type -> number of operators left in float.
    """

    source: str
    kind: str
    paddle_version: str
    operators: int
    operators_by_type: dict[str, int]
    operators_by_part: dict[str, int]
    quantizer_operators: int
    variables: int
    parameters: int
    parameter_elements: int
    parameter_bytes: int
    quantizer_parameters: int
    files: dict[str, int]
    quantized: tuple[QuantizedTensor, ...]
    net_operators: int
    integer_operators: int
    layers: int
    integer_layers: int
    float_operators: dict[str, dict[str, int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        from .table import summary_table

        return summary_table(self)


def summarize(model: Model) -> Summary:
    """The facts about a model."""
    quantized = find_quantized(model)
    return summary_of(model, quantized, [grid_of(one, model) for one in quantized])


def summary_of(model: Model, quantized: list[Quantizing], grids: list[Grid | None]) -> Summary:
    """The facts about a model whose quantized tensors and their grids are known."""
    coverage = cover(model, quantized)
    owned = _owned_by_quantizers(model, quantized)
    states = [
        v for v in model.variables.values()
        if v.persistable and v.shape is not None and v.name not in owned
        and not _of_optimizer(v.name, model)
    ]  # fmt: skip
    kinds = Counter(op.kind for op in model.operators)
    parts = Counter(op.part for op in model.operators)
    reasons: dict[str, Counter[str]] = {}
    for op, reason in coverage.float_reasons.values():
        reasons.setdefault(reason, Counter())[op.kind] += 1
    return Summary(
        source=model.source,
        kind=model.kind,
        paddle_version=model.version,
        operators=len(model.operators),
        operators_by_type=dict(kinds.most_common()),
        operators_by_part={p: parts[p] for p in (FORWARD, BACKWARD, OPTIMIZER) if parts[p]},
        quantizer_operators=len({id(op) for one in quantized for op in one.operators}),
        variables=len(model.variables),
        parameters=len(states),
        parameter_elements=sum(v.elements for v in states),
        parameter_bytes=sum(v.bytes for v in states),
        quantizer_parameters=len(owned),
        files=dict(model.files),
        quantized=tuple(quantized_tensor(q, model, g) for q, g in zip(quantized, grids)),
        net_operators=coverage.operators,
        integer_operators=len(coverage.integer),
        layers=coverage.layers,
        integer_layers=coverage.integer_layers,
        float_operators={r: dict(c.most_common()) for r, c in reasons.items()},
    )


def quantized_tensor(one: Quantizing, model: Model, grid: Grid | None) -> QuantizedTensor:
    """The facts about one quantized tensor."""
    quantizer = rebuilt(one)
    bits, counted = _bits(one, grid)
    held = model.variables.get(one.tensor) or model.variables.get(one.copy)
    low_high = step = None
    channels, axis, signed = 1, None, quantizer.signed if quantizer else None
    if grid is not None:
        low, high = bounds(grid)
        low_high = _finite(low.min(), high.max())
        steps = getattr(grid, "step", None)
        channels, axis = int(low.size), grid.axis
        if steps is not None:
            step = _finite(np.abs(steps).min(), np.abs(steps).max())
        if signed is None and low_high is not None:
            signed = low_high[0] < 0
    return QuantizedTensor(
        one.tensor, one.copy, one.role, one.method, bits, counted, signed, step, low_high,
        channels, axis, held.shape or () if held else (), held.dtype if held else "",
        tuple(str(op) for op in model.readers.get(one.copy, []) if op.part == one.part),
    )  # fmt: skip


def _bits(one: Quantizing, grid: Grid | None) -> tuple[int | None, bool]:
    told = one.description.get("bits", one.description.get("quantizer"))
    if isinstance(told, dict):
        told = told.get("bits")
    if isinstance(told, int) and told > 0:
        return told, False
    last = next((op for op in reversed(one.forward) if op.kind in PADDLE_WRITERS), None)
    if last is not None and not one.description:
        return int(largest_integer(last.attributes)).bit_length() + 1, False
    if grid is not None and one.stored:
        return max(1, math.ceil(math.log2(level_count(grid)))), True
    return None, False


def _finite(low: Any, high: Any) -> tuple[float, float] | None:
    both = float(low), float(high)
    return both if all(map(math.isfinite, both)) else None


def _owned_by_quantizers(model: Model, quantized: list[Quantizing]) -> set[str]:
    """Parameters and states that only quantizers read."""
    inside = {id(op) for one in quantized for op in one.operators}
    tensors = {one.tensor for one in quantized}
    found = set()
    for one in quantized:
        for name in {n for op in one.forward for n in op.reads} - tensors:
            held = model.variables.get(name)
            readers = model.readers.get(name, [])
            if (
                held is not None
                and held.persistable
                and all(id(op) in inside or op.part == OPTIMIZER for op in readers)
            ):
                found.add(name)
    return found


def _of_optimizer(name: str, model: Model) -> bool:
    """A moment, a learning rate: only optimizer operators touch it."""
    readers = model.readers.get(name, [])
    return bool(readers) and all(op.part == OPTIMIZER for op in readers)


__all__ = ["QuantizedTensor", "Summary", "quantized_tensor", "summarize", "summary_of"]
