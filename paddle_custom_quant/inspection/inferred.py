"""What made a quantized copy, told from its operators where the model does not say it.

``paddle.static.save_inference_model`` drops attributes that an operator does not declare, the
description of a quantizer among them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from .. import quantizers
from .model import Model, Operator

CLASSES = {name.lower(): name for name in quantizers.__all__}  # a copy's suffix -> the method
_OWN = "pcq_"  # operators of this package, whose attributes bear the names of the settings
_CHANNELS_FIRST = ("conv2d", "depthwise_conv2d")


def inferred(method: str, forward: list[Operator], model: Model) -> dict[str, Any]:
    """A description of the quantizer, empty where it cannot be told.

    Args:
        method: suffix of the copy's name.
        forward: the operators that compute the copy.
        model: they are part of.
    """
    name = CLASSES.get(method, "")
    kind = getattr(quantizers, name, None)
    if not dataclasses.is_dataclass(kind):
        return {}
    fields = {field.name for field in dataclasses.fields(kind)}
    told: dict[str, Any] = {}
    for op in forward:
        if op.kind.startswith(_OWN):
            told.update({k: v for k, v in op.attributes.items() if k in fields})
    limits = next((found for op in reversed(forward) if (found := _limits(op))), None)
    if limits is not None:
        told["bits"] = max(1, math.ceil(math.log2(limits[1] - limits[0] + 1)))
        told["signed"] = limits[0] < 0
    if not told:
        return {}
    told["per_channel"] = any(
        _along_axis(op) or any(_has_channels(model, n) for n in op.reads) for op in forward
    )
    return {"class": name, **{key: value for key, value in told.items() if key in fields}}


def _limits(op: Operator) -> tuple[int, int] | None:
    """The integers that an operator clips to."""
    keys = ("min", "max") if op.kind == "clip" else ("qmin", "qmax")
    ends = [op.attributes.get(key) for key in keys]
    low, high = (round(v) if isinstance(v, (int, float)) and abs(v) < 2**16 else None for v in ends)
    if low is None or high is None or low >= high:
        return None
    # A composed formula clips a little beyond its integers.
    return (low, high) if all(abs(v - round(v)) < 1e-3 for v in ends) else None  # type: ignore


def _along_axis(op: Operator) -> bool:
    axis = op.attributes.get("axis")
    return op.kind.startswith(_OWN) and isinstance(axis, int) and axis >= 0


def _has_channels(model: Model, name: str) -> bool:
    held = model.variables.get(name)
    return held is not None and held.persistable and len(held.shape or ()) == 1 < held.elements


def channel_axis(reader: Operator, rank: int) -> int:
    """Axis of a weight's output channels, by the operator that reads it."""
    if reader.kind in _CHANNELS_FIRST:
        return 0
    if reader.kind == "conv2d_transpose":
        return 1
    transposed = reader.attributes.get("trans_y") or reader.attributes.get("transpose_Y")
    return max(rank - (2 if transposed else 1), 0)


__all__ = ["CLASSES", "channel_axis", "inferred"]
