"""A quantized program with some of its layers, or all, back in float."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ..graph.marks import QUANTIZED
from ..target import WEIGHT
from .model import Model, Operator
from .quantized import Quantizing, find_quantized


@dataclass(frozen=True)
class Layer:
    """An operator with quantized inputs.

    Attributes:
        name: its weight's name, or the name of its first output if it has no quantized weight.
        operator: the operator.
        output: name of its result.
        weight: its quantized weight.
        activations: its other quantized inputs.
    """

    name: str
    operator: Operator
    output: str
    weight: Quantizing | None
    activations: tuple[Quantizing, ...]


def layers_of(model: Model) -> list[Layer]:
    """The layers with quantized inputs, in program order."""
    copies = {one.copy: one for one in find_quantized(model)}
    layers = []
    for op in model.operators:
        if op.block or not op.attributes.get(QUANTIZED):
            continue
        used = [copies[name] for name in dict.fromkeys(_quantized_names(op)) if name in copies]
        weight = next((one for one in used if one.role == WEIGHT), None)
        others = tuple(one for one in used if one.role != WEIGHT)
        if used:
            name = root(weight, copies) if weight else op.writes[0]
            layers.append(Layer(name, op, op.writes[0], weight, others))
    return layers


def _quantized_names(op: Operator) -> list[str]:
    names = []
    for entry in op.attributes[QUANTIZED]:
        slot, _, index = str(entry).partition(":")
        names.append(op.inputs[slot][int(index)])
    return names


def root(one: Quantizing, copies: dict[str, Quantizing]) -> str:
    """The float tensor behind a copy, through all the quantizers that it ran through."""
    seen = {one.copy}
    while one.tensor in copies and one.tensor not in seen:
        one = copies[one.tensor]
        seen.add(one.copy)
    return one.tensor


def with_layers(program: Any, model: Model, outputs: Collection[str]) -> Any:
    """A copy of a program in which only some layers read quantized tensors.

    Args:
        program: a quantized program without a backward part.
        model: the same as plain data.
        outputs: of the layers that stay quantized; the others read the float tensors.
    """
    copies = {one.copy: one for one in find_quantized(model)}
    changed = program.clone()
    for op in changed.global_block().ops:
        if not op.has_attr(QUANTIZED) or op.output_arg_names[0] in outputs:
            continue
        for slot in op.input_names:
            names = op.input(slot)
            roots = [root(copies[n], copies) if n in copies else n for n in names]
            if roots != names:
                op.desc.set_input(slot, roots)
    changed._sync_with_cpp()
    return changed


__all__ = ["Layer", "layers_of", "root", "with_layers"]
