"""Biases on the integers that engines add."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ..scope import read, write
from .fold import channel_axis
from .freeze import freeze
from .frozen import quantizer_of
from .weights import in_int8, widened

# Operators that hand these inputs on, or add something to them.
_ADDING = {
    "reshape2": ("X",), "assign": ("X",), "elementwise_add": ("X", "Y"), "elementwise_sub": ("X",),
}  # fmt: skip


def round_biases(
    program: paddle.static.Program, scope: Any = None, *, outputs: Sequence[str] | None = None
) -> dict[str, float]:
    """Move trained biases to the nearest values that integer kernels can add.

    An integer kernel adds a bias to its 32-bit sums: it counts in steps of input times weight. A
    bias between two such values is rounded on export, and the few activations near a boundary that
    flip are multiplied by every layer behind them. Called once after training, this moves the bias
    (of a batch norm, its beta) by at most half of such a step instead, so that the trained program
    itself holds what is exported: what ONNX Runtime computes then differs from it only where float
    arithmetic does. Measure the program's accuracy afterwards.

    Args:
        program: the trained test program.
        scope: holds its values, which are changed; the global scope by default.
        outputs: names of results; by default what no operator reads.

    Returns:
        By parameter, the largest change of one of its values. A bias that several layers share, or
        that is scaled by something else than batch norm, stays as it is.

    Raises:
        ValueError: as :func:`.freeze`.
    """
    scope = scope or paddle.static.global_scope()
    frozen = freeze(program, scope, outputs=outputs)
    producers = frozen.producers()
    block = program.global_block()
    makers = {name: op for op in block.ops for name in op.output_arg_names}
    added = {bias: _summand(block, makers, name) for bias, name in frozen.added_last.items()}
    uses = Counter(added.values())
    changes = {}
    for layer in frozen.integer_layers():
        name = added.get(layer.inputs[2]) if len(layer.inputs) > 2 else None
        value = None if name is None else read(scope, name)
        if name is None or value is None or uses[name] > 1:
            continue
        quantizer = quantizer_of(layer.inputs[0], producers)
        assert quantizer is not None and quantizer.grid is not None
        held = frozen.weights[layer.inputs[1]]
        axis = channel_axis(layer, held.integers.ndim)
        step = widened(in_int8(held, axis)[0], axis).grid.step.astype("float64")
        unit = step * float(quantizer.grid.step[0])
        bias = frozen.constants[layer.inputs[2]].astype("float64")
        change = (np.round(bias / unit) * unit - bias).reshape(value.shape)
        write(scope, paddle.CPUPlace(), name, (value + change).astype(value.dtype))
        changes[name] = float(np.abs(change).max())
    return changes


def _summand(block: Any, makers: dict[str, Any], name: str) -> str | None:
    """The parameter that is added as it is in what a constant is computed by."""
    variable, op = block._find_var_recursive(name), makers.get(name)
    if variable is not None and variable.persistable:
        return name
    if op is None or op.type not in _ADDING:
        return None
    found = (_summand(block, makers, op.input(slot)[0]) for slot in _ADDING[op.type])
    return next((parameter for parameter in found if parameter is not None), None)


__all__ = ["round_biases"]
