"""The values of weights that quantizers are placed on."""

from __future__ import annotations

from typing import Any, Callable

import paddle
from paddle.framework import core

from ..graph.editor import GraphEditor
from ..graph.marks import OUTSIDE_TRAINING
from ..quantizers.base import Quantizer, Sample
from ..scope import read
from ..target import WEIGHT
from .evaluate import evaluate
from .placement import Placed


class Weights:
    """Values of placed weights, computed where a weight is no parameter itself.

    Args:
        program: gives a program that computes the weight of a name; called if one must be.
        scope: holds the parameters.
        place: where values are computed.
    """

    def __init__(self, program: Callable[[str], Any], scope: Any, place: Any) -> None:
        self._program, self._scope, self._place = program, scope, place

    def sample(self, placed: Placed) -> Sample | None:
        """The values of a placed weight; ``None`` for activations.

        Raises:
            ValueError: a quantizer that learns needs them, and the scope has none.
        """
        if placed.target.role != WEIGHT or not placed.root:
            return None
        values = read(self._scope, placed.root)
        if values is not None:
            name = placed.target.name
            if placed.root != name:
                program = self._program(name)
                values = evaluate(program, [name], self._place, self._scope)[name]
            return Sample(values)
        if any(_needs_values(q, placed) for q in placed.stages):
            raise ValueError(
                f"the value of {placed.root!r} is not in the scope: run the start-up program (or "
                f"load the parameters) before quant_aware, or pass the scope that holds them."
            )
        return None


def computing(editor: GraphEditor, name: str) -> Any:
    """A program of the operators that compute this variable of a graph from parameters.

    A statistic of the batch is the running statistic that it is outside training.
    """
    wanted, kept = {name}, []
    for op in reversed(editor.ops):
        if wanted.intersection(op.op().output_arg_names()):
            desc, nodes = _outside_training(editor, op)
            kept.append((desc, [*nodes, *_variables(op.outputs)]))
            # The values of parameters are there, also of those that an operator updates.
            wanted.update(node.name() for node in nodes if not node.var().persistable())
    program = paddle.static.Program()
    block = program.global_block()
    for desc, nodes in reversed(kept):
        for node in nodes:
            held = block.desc.var(node.name().encode())
            held.set_type(node.var().type())
            held.set_shape(node.var().shape())
            held.set_dtype(node.var().dtype())
            held.set_persistable(node.var().persistable())
        block.desc.append_op().copy_from(desc)
    program._sync_with_cpp()
    return program


def _outside_training(editor: GraphEditor, op: Any) -> tuple[Any, list[Any]]:
    """What computes the operator's result outside training, and the variables it reads."""
    if not op.op().has_attr(OUTSIDE_TRAINING):
        return op.op(), _variables(op.inputs)
    running = op.op().attr(OUTSIDE_TRAINING)
    desc = core.OpDesc()
    desc.set_type("assign")
    desc.set_input("X", [running])
    desc.set_output("Out", op.op().output("Out"))
    return desc, [editor.versions[running][0]]


def _variables(nodes: list[Any]) -> list[Any]:
    return [node for node in nodes if node.var() is not None]


def _needs_values(quantizer: Quantizer, placed: Placed) -> bool:
    return any(p.trainable for p in quantizer.parameters(placed.target).values())


__all__ = ["Weights", "computing"]
