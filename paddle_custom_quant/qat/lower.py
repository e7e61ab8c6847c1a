"""Write C++ operators out as Paddle's own, so that a program runs where they are not compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from paddle import static
from paddle.base import framework

from .. import compat, kernels
from ..graph.marks import DESCRIPTION
from ..quantizers import fused

# Name scope and role say of every operator whose it is; the description stands on the last.
_INHERITED = ("op_namescope", "op_role")


def lowered(program: static.Program) -> static.Program:
    """The test program without the package's C++ operators.

    ``quant_aware`` writes them into training programs alone, but ``clone(for_test=True)`` keeps
    them.

    Args:
        program: a program of the old kind without backward operators.

    Returns:
        ``program`` itself if it holds none, else a copy with composed formulas in their place.
    """
    if not any(op.type in FORMULAS for op in program.global_block().ops):
        return program
    copy = program.clone(for_test=False)
    if hasattr(program, "quantization"):
        copy.quantization = program.quantization
    block = copy.global_block()
    for op in [op for op in block.ops if op.type in FORMULAS]:
        _replace(block, op)
    return copy


def _replace(block: Any, op: Any) -> None:
    out = op.output("Out")[0]
    temporary = static.Program()
    names = compat.prefixed_names(temporary, f"{out}.composed.")
    with static.program_guard(temporary, static.Program()), names, compat.old_operators():
        inner = temporary.global_block()
        inputs = {slot: _stand_in(inner, block.var(op.input(slot)[0])) for slot in op.input_names}
        with kernels.in_programs(False):
            result = FORMULAS[op.type](inputs, op.attr).name
    for name, variable in inner.vars.items():
        if name != result and not block.has_var(name):
            block._clone_variable(variable, force_persistable=False)
    position = block.ops.index(op)
    for offset, held in enumerate(inner.ops):
        desc = block.desc._insert_op(position + offset)
        desc.copy_from(held.desc)
        for key in _INHERITED:
            if op.has_attr(key):
                desc._set_attr(key, op.attr(key))
        if result in desc.output_arg_names():
            desc._rename_output(result, out)
            if op.desc.has_attr(DESCRIPTION):
                desc._set_attr(DESCRIPTION, op.desc.attr(DESCRIPTION))
        # Paddle itself takes up new descriptions at either end of a block only.
        block.ops.insert(position + offset, framework.Operator(block, desc))
    block._remove_op(position + len(inner.ops))


def _stand_in(block: Any, variable: Any) -> Any:
    if block.has_var(variable.name):
        return block.var(variable.name)
    return block.create_var(name=variable.name, shape=variable.shape, dtype=variable.dtype)


Inputs = Mapping[str, Any]
Attribute = Callable[[str], Any]


def _axis(attribute: Attribute) -> int | None:
    axis: int = attribute("axis")
    return None if axis < 0 else axis


# Forward, all rules of the gradient are one.
def _fake_quantize(inputs: Inputs, attribute: Attribute) -> Any:
    grid = inputs["Step"], attribute("qmin"), attribute("qmax")
    offset, unit = inputs.get("Offset"), attribute("unit")
    return fused.fake_quantize(inputs["X"], *grid, offset=offset, axis=_axis(attribute), unit=unit)


def _fixed(inputs: Inputs, attribute: Attribute) -> Any:
    if not attribute("has_offset"):
        inputs = {"X": inputs["X"], "Step": inputs["Step"]}
    return _fake_quantize(inputs, attribute)


def _dorefa_weight(inputs: Inputs, attribute: Attribute) -> Any:
    return fused.dorefa_weight(
        inputs["X"], attribute("bits"), rescale=attribute("rescale"), axis=_axis(attribute)
    )


def _dsq(inputs: Inputs, attribute: Attribute) -> Any:
    ends = inputs["Low"], inputs["High"], inputs["Alpha"]
    return fused.dsq(inputs["X"], *ends, attribute("bits"), axis=_axis(attribute))


def _nearest_level(inputs: Inputs, attribute: Attribute) -> Any:
    table = inputs["Levels"], inputs["Thresholds"]
    return fused.nearest_level(
        inputs["X"], *table, scale=inputs.get("Scale"), axis=_axis(attribute)
    )


FORMULAS: dict[str, Callable[[Inputs, Attribute], Any]] = {
    "pcq_fake_quantize_fixed": _fixed,
    "pcq_fake_quantize_step": _fake_quantize,
    "pcq_fake_quantize_step_offset": _fake_quantize,
    "pcq_dorefa_weight": _dorefa_weight,
    "pcq_dsq": _dsq,
    "pcq_nearest_level": _nearest_level,
    "pcq_nearest_level_scaled": _nearest_level,
}

__all__ = ["lowered"]
