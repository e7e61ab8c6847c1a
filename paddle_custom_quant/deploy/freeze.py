"""A trained, quantized program -> integers, steps and layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from .. import compat
from ..qat.lower import lowered
from .fold import fold
from .frozen import FrozenModel, Note
from .program import ProgramReader
from .standard_forms import standardized

_MOST = 128  # a batch norm with a negative factor turns -128
_WIDE = (
    "its weights are integers beyond int8: engines get them rounded to 127 steps of each channel"
)


def freeze(
    program: paddle.static.Program,
    scope: Any = None,
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> FrozenModel:
    """Turn a trained test program into integers, constants and layers.

    Weights on a uniform grid become integers, also those of a plain function whose values turn out
    to lie on one. Batch norm and biases are folded into the layers before them. What stays float,
    and why, stands in the result's ``notes``.

    Args:
        program: what ``quant_aware(..., for_test=True)`` returned, trained; also one that
            ``paddle.static.save`` wrote and that was loaded again.
        scope: holds the trained values; the global scope by default.
        inputs: names to feed; by default the program's data variables.
        outputs: names to fetch; by default what no operator reads.

    Raises:
        TypeError: ``program`` is no program of the old kind.
        ValueError: it trains, is not quantized, was never trained, holds an operator or value
            that cannot be deployed; the message names it.
    """
    compat.require_legacy_static(program)
    if any(op.type.endswith("_grad") for op in program.global_block().ops):
        raise ValueError(
            "this is a training program: pass the test program, quantized with for_test=True."
        )
    if len(program.blocks) > 1:
        raise ValueError("the program holds control flow (while, cond): it cannot be deployed.")
    scope = scope or paddle.static.global_scope()
    model = fold(standardized(ProgramReader(lowered(program), scope, inputs, outputs).read()))
    integer = {layer.name for layer in model.integer_layers()}
    for layer in model.weighted_layers():
        if layer.name not in integer:
            reason = f"{layer.kind} runs in float: {_why(model, layer)}"
            model.notes.append(Note(layer.name, reason))
        elif np.abs(model.weights[layer.inputs[1]].integers.astype("int32")).max() > _MOST:
            model.notes.append(Note(layer.name, _WIDE))
    return model


def _why(model: FrozenModel, layer: Any) -> str:
    if layer.inputs[1] not in model.weights:
        return "its weight is not quantized to integers"
    return "its input is not quantized to integers"


__all__ = ["freeze"]
