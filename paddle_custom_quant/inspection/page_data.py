"""What a page shows of a model, as data for its script."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from ..graph.marks import DESCRIPTION, QUANTIZED
from ..quantizers.base import Grid, LevelGrid
from .coverage import cover
from .difference import Difference
from .model import BACKWARD, FORWARD, OPTIMIZER, Model, Operator
from .quantized import Quantizing, find_quantized
from .scales import bounds, grid_of, level_count, quantized_values
from .summary import Summary, quantized_tensor, summary_of

PARTS = {FORWARD: 0, BACKWARD: 1, OPTIMIZER: 2}
BINS = 48
SAMPLE = 50_000
MAX_DRAWN_LEVELS = 64
MAX_LIST = 32
_SHOWN_ELSEWHERE = {
    "op_role", "op_role_var", "op_namescope", "op_device", "with_quant_attr", DESCRIPTION,
    QUANTIZED,
}  # fmt: skip


def page_data(model: Model, difference: Difference | None = None) -> tuple[dict[str, Any], Summary]:
    """Operators, variables, quantizers and histograms as plain data, and the summary.

    Args:
        model: what to show.
        difference: marks what is new in it, and adds what is gone.
    """
    quantized = find_quantized(model)
    grids = [grid_of(one, model) for one in quantized]
    summary = summary_of(model, quantized, grids)
    operators = [*model.operators, *(difference.gone if difference else ())]
    names = _Index()
    attributes = _Index()
    owner = {id(op): i for i, one in enumerate(quantized) for op in one.operators}
    lost = difference.lost if difference else ()
    copies = [*(one.copy for one in quantized), *(one.copy for one in lost)]
    for op in difference.gone if difference else ():
        if op.scope in copies:
            owner[id(op)] = copies.index(op.scope)
    integer = {id(op) for op in cover(model, quantized).integer}
    marks = dict(difference.marks) if difference else {}
    marks.update(dict.fromkeys(range(len(model.operators), len(operators)), "removed"))
    ops = [
        {
            "kind": op.kind,
            "part": PARTS[op.part],
            "in": {slot: [names[n] for n in held] for slot, held in op.inputs.items()},
            "out": {slot: [names[n] for n in held] for slot, held in op.outputs.items()},
            "attributes": attributes[_attributes(op)],
            "group": owner.get(id(op), -1),
            **({"integer": 1} if id(op) in integer else {}),
            **({"change": marks[i]} if i in marks else {}),
            **({"block": op.block} if op.block else {}),
        }
        for i, op in enumerate(operators)
    ]
    histograms, groups = {}, []
    for one, grid in zip(quantized, grids):
        group, histogram = _group(one, model, grid)
        groups.append(group)
        if histogram:
            histograms[names[one.copy]] = histogram
    shown = {name for one in quantized for name in (one.tensor, one.copy)}
    for name in model.values:
        if name not in shown and name in names:
            histogram = _histogram(np.asarray(model.values[name]))
            if histogram:
                histograms[names[name]] = histogram
    data = {
        "summary": summary.as_dict(),
        "difference": difference.as_dict() if difference else None,
        "operators": ops,
        "variables": [_variable(name, model) for name in names],
        "attributes": [json.loads(text) for text in attributes],
        "groups": [*groups, *({**asdict(one), "fields": {}, "levels": None} for one in lost)],
        "histograms": histograms,
    }
    return data, summary


class _Index:
    """Numbers for texts, in the order in which they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __getitem__(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def __contains__(self, text: str) -> bool:
        return text in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)


def _attributes(op: Operator) -> str:
    held = {k: _plain(v) for k, v in sorted(op.attributes.items()) if k not in _SHOWN_ELSEWHERE}
    return json.dumps({k: v for k, v in held.items() if v not in ("", [])})


def _plain(value: Any) -> Any:
    """A value as JSON has it: no infinities, no endless lists."""
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else str(value)
    if isinstance(value, list):
        held = [_plain(v) for v in value[:MAX_LIST]]
        return [*held, f"... {len(value)} values"] if len(value) > MAX_LIST else held
    return value


def _variable(name: str, model: Model) -> list[Any]:
    """Name, shape, dtype, and whether it is persistable."""
    held = model.variables.get(name)
    if held is None:
        return [name, None, "", 0]
    return [name, held.shape, held.dtype, int(held.persistable)]


def _group(
    one: Quantizing, model: Model, grid: Grid | None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    facts = asdict(quantized_tensor(one, model, grid))
    fields = {k: v for k, v in one.description.items() if k not in ("class", "function")}
    facts["fields"] = {k: _plain(v) for k, v in fields.items()}
    facts["levels"] = None if grid is None else level_count(grid)
    quantized = quantized_values(one, model, grid)
    if quantized is None:
        return facts, None
    before = None if one.stored else np.asarray(model.values[one.tensor])
    histogram = _histogram(before, quantized)
    if histogram and grid is not None and grid.axis is None:
        low, high = (float(end[0]) for end in bounds(grid))
        if level_count(grid) <= MAX_DRAWN_LEVELS and math.isfinite(high - low):
            levels = (
                np.ravel(grid.levels)
                if isinstance(grid, LevelGrid)
                else np.linspace(low, high, level_count(grid))
            )
            histogram["levels"] = [float(f"{v:.6g}") for v in levels]
    return facts, histogram


def _histogram(values: np.ndarray | None, quantized: np.ndarray | None = None) -> Any:
    """Counts in equal bins, of values and of their quantized form."""
    held = {"float": _sample(values), "grid": _sample(quantized)}
    both = np.concatenate([v for v in held.values() if v is not None])
    if both.size < 2:
        return None
    low, high = float(both.min()), float(both.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    size = next(v.size for v in (values, quantized) if v is not None)
    result: dict[str, Any] = {"low": low, "high": high, "size": size}
    for key, sample in held.items():
        if sample is not None:
            result[key] = np.histogram(sample, BINS, (low, high))[0].tolist()
            result["sample"] = int(sample.size)
    return result


def _sample(values: np.ndarray | None) -> np.ndarray | None:
    """Some tens of thousands of the finite values, evenly spread."""
    if values is None:
        return None
    flat = values.ravel()
    # An odd stride meets all positions of a kernel.
    flat = flat[:: flat.size // SAMPLE | 1].astype("float64")
    return flat[np.isfinite(flat)]


__all__ = ["page_data"]
