"""Insert into a training program what makes it one of several that train one net."""

from __future__ import annotations

from collections import Counter
from typing import Any

import paddle
from paddle.base.data_feeder import convert_dtype

from .. import compat
from ..graph.roles import BACKWARD, FORWARD, OPTIMIZE, role
from .averages import Averages
from .group import REDUCTION, ProcessGroup
from .start_values import share_values

_FLOATS = ("float16", "uint16", "bfloat16", "float32", "float64")


def data_parallel(
    program: paddle.static.Program, group: ProcessGroup, *, scope: Any = None
) -> tuple[str, ...]:
    """Let a training program, quantized or not, train one net in all processes of a group.

    Call it after ``quant_aware(..., return_program=True)``, in every process; then feed each
    process its own part of each batch, all parts of one size. With a mean as the loss, the
    processes do what one process does with the whole batch. What is averaged over them:

    - every gradient that an optimizer reads, those of quantizer parameters among them; before it
      is clipped or regularized;
    - every state that depends on the data: moving averages of quantizers (before they are used),
      and the running statistics of batch normalization.

    What a program measures of one batch is measured of each process's part: batch normalization
    normalizes by it, and quantizers without state take their range from it.

    Parameters, states and learning rates get the values of the first process. The program is
    changed in place; the optimizers' operators are moved behind all others. With one process
    nothing is changed.

    Args:
        program: a program of the old kind with its optimizer; start-up has run.
        group: what :func:`paddle_custom_quant.process_group` returned.
        scope: holds the values; the global scope by default.

    Returns:
        The names of what is averaged.

    Raises:
        TypeError: ``program`` is no program of the old kind.
        ValueError: there is no optimizer, a gradient is sparse or of unknown size, the program is
            data-parallel already, or is another one in another process.
        ProcessLost: a process has ended.
    """
    compat.require_legacy_static(program)
    if group.size == 1:
        return ()
    block = program.global_block()
    if any(op.type == REDUCTION for op in block.ops):
        raise ValueError("the program is data-parallel already: call data_parallel once.")
    gradients, states = _gradients(block), _states(block)
    if not gradients:
        raise ValueError(
            "the program has no optimizer that reads gradients: call data_parallel after minimize."
        )
    _put_optimizers_last(block)
    averaged = Averages(block, group.size)
    for name in [*gradients, *states.values()]:
        averaged.check(name)
    late = [name for name, source in states.items() if name == source]
    early = {source for name, source in states.items() if name != source}
    for index in reversed(range(len(block.ops))):
        written = early.intersection(block.ops[index].output_arg_names)
        averaged.at(index + 1, sorted(written), FORWARD)
        early -= written
    _average_late(averaged, block, gradients, late)
    share_values(program, group, scope or paddle.static.global_scope(), group.place)
    return (*gradients, *states)


def _gradients(block: Any) -> list[str]:
    """What backward operators write and optimizers read."""
    written = {n for op in block.ops if not _optimizes(op) for n in op.output_arg_names}
    read_by = dict.fromkeys(n for op in block.ops if _optimizes(op) for n in op.input_arg_names)
    return [n for n in read_by if n in written and not _is_state(block, n) and _is_float(block, n)]


def _states(block: Any) -> dict[str, str]:
    """States that depend on the data, and the tensor that each is a copy of, or the state itself.

    A moving average is used in the step that updates it: what is copied into the state has to be
    averaged. Batch normalization writes its statistics for later.
    """
    written = {name for op in block.ops for name in op.output_arg_names}
    on_data = {n for op in block.ops for n in op.input_arg_names if not _is_state(block, n)}
    on_data -= written
    found: dict[str, str] = {}
    for op in block.ops:
        if _optimizes(op) or not (op.has_attr("seed") or on_data & {*op.input_arg_names}):
            continue
        on_data.update(op.output_arg_names)
        for name in op.output_arg_names:
            if _is_state(block, name) and _is_float(block, name):
                found[name] = name
                if op.type == "assign" and _is_measured(op.input("X")[0], written):
                    found[name] = op.input("X")[0]
    return found


def _is_measured(name: str, written: set[str]) -> bool:
    """It is no activation, whose parts in the processes belong to different images."""
    return name in written and f"{name}@GRAD" not in written


def _put_optimizers_last(block: Any) -> None:
    """Move optimizers' operators behind all others, unless one of these reads what they write."""
    optimizing: list[int] = []
    updated: set[str] = set()
    for index, op in enumerate(block.ops):
        if _optimizes(op):
            optimizing.append(index)
            updated.update(op.output_arg_names)
        elif not updated.isdisjoint(op.input_arg_names):
            return
    if optimizing[0] + len(optimizing) == len(block.ops):
        return
    for index in optimizing:
        block.desc.append_op().copy_from(block.ops[index].desc)
    block._sync_with_cpp()
    for index in reversed(optimizing):
        block._remove_op(index)


def _average_late(averaged: Averages, block: Any, gradients: list[str], states: list[str]) -> None:
    """Average what has been written, all at once, before an optimizer reads a part of it."""
    waiting = {*gradients, *states}
    # Written more than once: the last time counts.
    written = [n for op in block.ops if not _optimizes(op) for n in set(op.output_arg_names)]
    left = Counter(name for name in written if name in waiting)
    ready: list[str] = []
    index = 0
    while index < len(block.ops):
        op = block.ops[index]
        if not _optimizes(op):
            for name in waiting.intersection(op.output_arg_names):
                left[name] -= 1
            ready += sorted(n for n in waiting.intersection(op.output_arg_names) if not left[n])
        elif not set(ready).isdisjoint(op.input_arg_names):
            index += averaged.at(index, ready, BACKWARD)
            ready = []
        index += 1
    averaged.at(len(block.ops), ready, BACKWARD)


def _optimizes(op: Any) -> bool:
    return bool(role(op.desc) & OPTIMIZE)


def _is_state(block: Any, name: str) -> bool:
    variable = block._find_var_recursive(name)
    return variable is not None and bool(variable.persistable)


def _is_float(block: Any, name: str) -> bool:
    variable = block._find_var_recursive(name)
    return variable is not None and convert_dtype(variable.dtype) in _FLOATS


__all__ = ["data_parallel"]
