"""Put a subgraph between a tensor and its quantized readers, forward and backward."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from paddle.framework import core

from .editor import EMPTY, GRAD, GraphEditor, input_names, output_names
from .subgraph import BACKWARD, FORWARD, OPTIMIZE, ROLE, Subgraph
from .transplant import Transplant


@dataclass(frozen=True)
class Socket:
    """One entry of one input slot of one operator node."""

    op: Any
    slot: str
    index: int = 0

    @property
    def name(self) -> str:
        """The variable that is plugged in here."""
        return input_names(self.op, self.slot)[self.index]


@dataclass(frozen=True)
class Spliced:
    """What an insertion made.

    Attributes:
        quantized: node of the quantized copy.
        gradients: gradient nodes of the learned parameters that get one, by parameter name.
    """

    quantized: Any
    gradients: dict[str, Any]


def splice(editor: GraphEditor, subgraph: Subgraph, label: str, sockets: list[Socket]) -> Spliced:
    """Insert ``subgraph`` so that all ``sockets`` read its one output.

    Forward, every socket reads the quantized copy. Backward, their gradient operators read it
    too; what they contribute to the tensor's gradient is summed, run through the subgraph's
    backward operators, and takes the place of those contributions. Readers that are not among
    the sockets keep theirs.

    Args:
        editor: the graph.
        subgraph: what to insert.
        label: ``<tensor>.<method>``, the quantized copy's name and all other names' beginning.
        sockets: quantized readers, at least one, all of the same version of the tensor.

    Returns:
        The quantized copy, and the gradients of the learned parameters.
    """
    return _Splice(editor, subgraph, label, sockets).insert()


class _Splice:
    def __init__(
        self, editor: GraphEditor, subgraph: Subgraph, label: str, sockets: list[Socket]
    ) -> None:
        self.editor = editor
        self.subgraph = subgraph
        self.label = label
        self.sockets = sockets
        self.parameter_gradients = {p.gradient for p in subgraph.parameters}
        self.source = editor.input_node(sockets[0].op, sockets[0].name)
        self.transplant = Transplant(editor, subgraph.program, self._name, label)
        self.nodes = self.transplant.nodes

    def insert(self) -> Spliced:
        gradient_sockets = [g for s in self.sockets for g in self._gradient_sockets(s)]
        self.nodes[self.subgraph.input] = self._stable_source(bool(gradient_sockets))
        self.transplant.copy(self.subgraph.forward)
        quantized = self.nodes[self.subgraph.output]
        for socket in [*self.sockets, *gradient_sockets]:
            if input_names(socket.op, socket.slot):
                self.editor.replace_input(socket.op, socket.slot, socket.index, quantized)
        if not self.subgraph.changes_gradient:
            return Spliced(quantized, {})
        return Spliced(quantized, self._insert_backward(quantized, gradient_sockets))

    def _name(self, name: str) -> str:
        if name == self.subgraph.output:
            return self.label
        if name in self.parameter_gradients and name not in self.editor.versions:
            return name
        tensor = self.subgraph.input
        return name if name.startswith(f"{tensor}.") else f"{self.label}.{name}"

    def _stable_source(self, reused: bool) -> Any:
        """The tensor, or a copy of it where an in-place operator overwrites it before backward."""
        versions = self.editor.versions[self.source.name()]
        later = versions[versions.index(self.source) + 1 :]
        writers = [op for node in later for op in node.inputs if op.op() is not None]
        if not reused or all(int(op.op().attr(ROLE)) & OPTIMIZE for op in writers):
            return self.source
        copy = self.editor.add_variable_like(f"{self.label}.copy", self.source)
        self._add("assign", FORWARD, {"X": [self.source]}, {"Out": [copy]})
        return copy

    def _gradient_sockets(self, socket: Socket) -> list[Socket]:
        """Where the gradient operators of a reader read, or would read, the same tensor."""
        return [
            Socket(op, socket.slot, socket.index)
            for op in self.editor.gradient_ops(socket.op)
            if input_names(op, socket.slot)[socket.index : socket.index + 1] in ([socket.name], [])
        ]

    def _insert_backward(self, quantized: Any, sockets: list[Socket]) -> dict[str, Any]:
        contributions = [node for node in map(self._contribution, sockets) if node is not None]
        if contributions:
            sockets = [s for s in sockets if self._contribution(s) is not None]
        elif not self.subgraph.learns:
            return {}
        if not sockets:
            return {}
        partial = [self._divert(s, quantized, i) for i, s in enumerate(sockets)]
        self.nodes[self.subgraph.output_gradient] = self._sum(partial)
        gradients = {p.name: p.gradient for p in self.subgraph.parameters if p.gradient}
        outputs = list(gradients.values())
        if contributions:
            outputs.append(self.subgraph.input_gradient)
            self.nodes[self.subgraph.input_gradient] = contributions[0]
        self.transplant.copy(self.subgraph.backward_of(outputs))
        for spare in contributions[1:]:
            self._retire(spare)
        return {name: self.nodes[gradient] for name, gradient in gradients.items()}

    def _contribution(self, socket: Socket) -> Any:
        names = output_names(socket.op, socket.slot + GRAD)
        name = names[socket.index] if socket.index < len(names) else EMPTY
        return None if name in ("", EMPTY) else self.editor.output_node(socket.op, name)

    def _divert(self, socket: Socket, quantized: Any, number: int) -> Any:
        """Let a reader's gradient operator write (its part of) the quantized copy's gradient."""
        node = self.editor.add_variable_like(f"{self.label}{GRAD}@PART{number}", quantized)
        self.editor.replace_output(socket.op, socket.slot + GRAD, socket.index, node)
        return node

    def _sum(self, nodes: list[Any]) -> Any:
        if len(nodes) == 1:
            return nodes[0]
        total = self.editor.add_variable_like(f"{self.label}{GRAD}", nodes[0])
        self._add("sum", BACKWARD, {"X": nodes}, {"Out": [total]})
        return total

    def _retire(self, node: Any) -> None:
        """Take a contribution that is part of the sum now out of its consumers."""
        for op in list(node.outputs):
            if op.name() == "sum":
                self.editor.remove_input(op, "X", node)
        if node.outputs:
            zero = {"value": 0.0, "dtype": -1}
            self._add("fill_any_like", BACKWARD, {"X": [self.source]}, {"Out": [node]}, **zero)
        else:
            self.editor.remove_variable(node)

    def _add(
        self,
        kind: str,
        role: int,
        inputs: dict[str, list[Any]],
        outputs: dict[str, list[Any]],
        **attributes: Any,
    ) -> None:
        add_operator(self.editor, kind, role, inputs, outputs, **attributes)


def add_operator(
    editor: GraphEditor,
    kind: str,
    role: int,
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    **attributes: Any,
) -> Any:
    """Create an operator whose slots hold the given variable nodes."""
    desc = core.OpDesc()
    desc.set_type(kind)
    for slot, nodes in inputs.items():
        desc.set_input(slot, [node.name() for node in nodes])
    for slot, nodes in outputs.items():
        desc.set_output(slot, [node.name() for node in nodes])
    for name, value in {ROLE: role, **attributes}.items():
        desc._set_attr(name, value)
    return editor.add_op(desc, _all(inputs), _all(outputs))


def _all(slots: dict[str, list[Any]]) -> list[Any]:
    nodes: Iterable[list[Any]] = slots.values()
    return [node for slot in nodes for node in slot]
