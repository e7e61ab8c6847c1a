"""Extend a backward pass to operators that it had no reason to reach.

Behind an input that needs no gradient, and behind frozen parameters, a program has no gradient
operators. A quantizer there that learns needs the gradient all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paddle.framework import core

from .editor import GraphEditor
from .gradients import INPUT, GradientSocket, Pattern
from .roles import BACKWARD, ROLE, is_forward
from .slots import EMPTY, GRAD, all_output_names, input_names

FLOATS = tuple(getattr(core.VarDesc.VarType, n) for n in ("FP16", "BF16", "FP32", "FP64"))


class Backward:
    """The backward pass of a graph, which grows where it is asked to."""

    def __init__(self, editor: GraphEditor) -> None:
        self._editor = editor
        self._gradients = editor.gradients
        self._reached: dict[int, dict[str, Any]] = {}
        self._blocked = set(_blocked(editor)) if editor.gradients else set()

    def sockets(self, op: Any, slot: str, index: int) -> list[GradientSocket]:
        """Where gradient operators of ``op`` meet one of its inputs, made if there are none.

        Empty if nothing that has a gradient depends on ``op`` differentiably.
        """
        found = self._gradients.sockets(op, slot, index)
        if found or not self._gradients:
            return found
        for behind in self._unreached(op):
            self._reached[behind.id()] = self._output_gradients(behind)
        return self._make(op, slot, index)

    def _unreached(self, op: Any) -> list[Any]:
        """``op`` and those behind it that have no gradient operators, the last one first."""
        seen, waiting = {}, [op]
        while waiting:
            one = waiting.pop()
            if one.id() in seen or one.id() in self._reached or self._gradients.of(one):
                continue
            seen[one.id()] = one
            waiting += [reader for _, reader, _, _ in self._uses(one)]
        return [seen[key] for key in sorted(seen, reverse=True)]

    def _uses(self, op: Any) -> Iterator[tuple[Any, Any, str, int]]:
        """(variable, reader, slot, index) of what reads the outputs of ``op`` differentiably."""
        for name in dict.fromkeys(all_output_names(op)):
            node = self._editor.output_node(op, name)
            if node.id() in self._blocked or not _is_float(node):
                continue
            for reader in node.outputs:
                if reader.op() is None or not is_forward(reader.op()) or _has_blocks(reader):
                    continue
                for slot in reader.op().input_names():
                    for index, held in enumerate(input_names(reader, slot)):
                        if held == name:
                            yield node, reader, slot, index

    def _output_gradients(self, op: Any) -> dict[str, Any]:
        """Gradients of the outputs of ``op``, by output name."""
        parts: dict[str, dict[int, Any]] = {}
        nodes = {}
        for node, reader, slot, index in self._uses(op):
            found = self._gradients.sockets(reader, slot, index) or self._make(reader, slot, index)
            for socket in found:
                part = self._gradient_through(socket, node)
                parts.setdefault(node.name(), {})[part.id()] = part
                nodes[node.name()] = node
        return {name: self._sum(nodes[name], list(held.values())) for name, held in parts.items()}

    def _gradient_through(self, socket: GradientSocket, node: Any) -> Any:
        """The whole gradient that a socket's is part of, or else the socket's."""
        if socket.contribution is None:
            name = self._editor.fresh(f"{node.name()}{GRAD}")
            return self._editor.add_output(socket.op, *socket.writes, name, node)
        written = self._editor.output_node(socket.op, socket.contribution)
        totals = [op for op in written.outputs if op.name() == "sum"]
        return totals[0].outputs[0] if totals else written

    def _sum(self, node: Any, parts: list[Any]) -> Any:
        if len(parts) == 1:
            return parts[0]
        name = self._editor.fresh(f"{node.name()}{GRAD}")
        total = self._editor.add_variable_like(name, node)
        self._editor.add_operator("sum", BACKWARD, {"X": parts}, {"Out": [total]})
        return total

    def _make(self, op: Any, slot: str, index: int) -> list[GradientSocket]:
        """Add the gradient operators of ``op`` for one input; they do not write anything yet."""
        descs, _ = core.get_grad_op_desc(op.op(), set(), [])
        for known in self._incoming(op):
            for pattern, desc in zip(self._gradients.patterns(op), descs):
                if pattern.written(slot, index) is not None:
                    self._gradients.add(op, pattern, self._add(op, pattern, desc, known))
        return self._gradients.sockets(op, slot, index)

    def _incoming(self, op: Any) -> list[dict[str, Any]]:
        """Gradients of the outputs of ``op`` by name, once for each backward pass."""
        if op.id() in self._reached:
            return [self._reached[op.id()]] if self._reached[op.id()] else []
        pairs = self._gradients.pairs(op)  # an operator that has one for each input, but not all
        return [
            {
                name: self._editor.input_node(grad, gradient)
                for name, gradient in pattern.incoming(op, grad).items()
            }
            for pattern, grad in pairs
            if pattern is pairs[0][0]
        ]

    def _add(self, op: Any, pattern: Pattern, source: Any, known: dict[str, Any]) -> Any:
        desc = core.OpDesc()
        desc.copy_from(source)
        inputs = []
        for slot in source.input_names():
            names = list(source.input(slot))
            for i, name in enumerate(names):
                if (slot, i) in pattern.gradients:
                    node = self._known(op, name[: -len(GRAD)], known)
                elif pattern.reads[slot, i][0] == INPUT:
                    node = self._editor.input_node(op, name)
                else:
                    node = self._editor.output_node(op, name)
                names[i] = node.name()
                inputs.append(node)
            desc.set_input(slot, names)
        for slot in source.output_names():
            desc.set_output(slot, [EMPTY for _ in source.output(slot)])
        desc._set_attr(ROLE, BACKWARD)
        return self._editor.add_op(desc, inputs, [])

    def _known(self, op: Any, name: str, known: dict[str, Any]) -> Any:
        """The gradient of an output of ``op``: zeros if it has none."""
        if name not in known:
            node = self._editor.output_node(op, name)
            zeros = self._editor.add_variable_like(self._editor.fresh(f"{name}{GRAD}"), node)
            slots = {"X": [node]}, {"Out": [zeros]}
            self._editor.add_operator("fill_any_like", BACKWARD, *slots, value=0.0, dtype=-1)
            known[name] = zeros
        return known[name]


def _blocked(editor: GraphEditor) -> Iterator[int]:
    """Ids of variables through which the caller lets no gradient flow.

    Paddle also marks what is computed from such variables alone.
    """
    for op in editor.ops:
        outputs = [node for node in op.outputs if _stops(node)]
        if outputs and is_forward(op.op()) and not all(map(_stops, _variables(op.inputs))):
            yield from (node.id() for node in outputs)


def _variables(nodes: list[Any]) -> list[Any]:
    return [node for node in nodes if node.var() is not None]


def _stops(node: Any) -> bool:
    return node.var() is not None and node.var().stop_gradient()


def _is_float(node: Any) -> bool:
    return node.var().type() == core.VarDesc.VarType.LOD_TENSOR and node.var().dtype() in FLOATS


def _has_blocks(op: Any) -> bool:
    return any("block" in name for name in op.op().attr_names())
