"""Put a subgraph between a tensor and its quantized readers, forward and backward."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .backward import Backward
from .editor import GraphEditor
from .gradients import GradientSocket
from .roles import BACKWARD, FORWARD, OPTIMIZE, role
from .slots import GRAD, input_names
from .subgraph import Subgraph
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
        gradients: gradient nodes of the learned parameters, one for each backward pass that gives
            them one, by parameter name.
    """

    quantized: Any
    gradients: dict[str, list[Any]]


class Splicer:
    """Inserts subgraphs into one graph, tensor by tensor, in program order."""

    def __init__(self, editor: GraphEditor) -> None:
        self._editor = editor
        self._backward = Backward(editor)

    def splice(self, subgraph: Subgraph, label: str, sockets: Sequence[Socket]) -> Spliced:
        """Insert ``subgraph`` so that all ``sockets`` read its one output.

        Forward, every socket reads the quantized copy. Backward, their gradient operators read it
        too; what they contribute to the tensor's gradient is summed, run through the subgraph's
        backward operators, and takes the place of those contributions. Readers that are not among
        the sockets keep theirs.

        Args:
            subgraph: what to insert.
            label: the quantized copy's name, and the beginning of all other names.
            sockets: quantized readers, at least one, all of the same version of the tensor.

        Returns:
            The quantized copy, and the gradients of the learned parameters.
        """
        return _Splice(self._editor, self._backward, subgraph, label, sockets).insert()


class _Splice:
    def __init__(
        self,
        editor: GraphEditor,
        backward: Backward,
        subgraph: Subgraph,
        label: str,
        sockets: Sequence[Socket],
    ) -> None:
        self.editor = editor
        self.backward = backward
        self.subgraph = subgraph
        self.label = label
        self.sockets = sockets
        self.source = editor.input_node(sockets[0].op, sockets[0].name)

    def insert(self) -> Spliced:
        backward = [found for socket in self.sockets for found in self._gradient_sockets(socket)]
        forward = Transplant(self.editor, self.subgraph.program, self._name, self.label)
        forward.nodes[self.subgraph.input] = self._stable_source(bool(backward))
        forward.copy(self.subgraph.forward)
        quantized = forward.nodes[self.subgraph.output]
        entries = [(s.op, s.slot, s.index) for s in self.sockets]
        entries += [(s.op, slot, index) for s in backward for slot, index in s.reads]
        for op, slot, index in entries:
            self.editor.replace_input(op, slot, index, quantized)
        gradients: dict[str, list[Any]] = defaultdict(list)
        if self.subgraph.changes_gradient:
            for sockets in self._backward_passes(backward):
                for name, node in self._insert_backward(quantized, sockets, forward.nodes).items():
                    gradients[name].append(node)
        return Spliced(quantized, dict(gradients))

    def _name(self, name: str) -> str:
        if name == self.subgraph.output:
            return self.label
        own = {p.gradient for p in self.subgraph.parameters}
        kept = name in own or name.startswith(f"{self.subgraph.input}.")
        kept = kept and name not in self.editor.versions
        return name if kept else self.editor.fresh(f"{self.label}.{name}")

    def _stable_source(self, reused: bool) -> Any:
        """The tensor, or a copy of it where an in-place operator overwrites it before backward."""
        versions = self.editor.versions[self.source.name()]
        later = versions[versions.index(self.source) + 1 :]
        writers = [op for node in later for op in node.inputs if op.op() is not None]
        if not reused or all(role(op.op()) & OPTIMIZE for op in writers):
            return self.source
        copy = self.editor.add_variable_like(f"{self.label}.copy", self.source)
        self.editor.add_operator("assign", FORWARD, {"X": [self.source]}, {"Out": [copy]})
        return copy

    def _gradient_sockets(self, socket: Socket) -> list[GradientSocket]:
        """Where the gradient operators of a reader meet the tensor."""
        if self.subgraph.learns:
            return self.backward.sockets(socket.op, socket.slot, socket.index)
        return self.editor.gradients.sockets(socket.op, socket.slot, socket.index)

    def _backward_passes(self, sockets: list[GradientSocket]) -> list[list[GradientSocket]]:
        """Sockets in groups whose contributions end in one and the same gradient.

        There is one group unless the program has several backward passes. Sockets that contribute
        nothing, because the tensor needs no gradient, matter to a quantizer that learns.
        """
        groups: dict[Any, list[GradientSocket]] = defaultdict(list)
        for socket in sockets:
            node = self._contribution(socket)
            totals = [op.id() for op in node.outputs if op.name() == "sum"] if node else []
            if node or self.subgraph.learns:
                groups[totals[0] if totals else node and node.id()].append(socket)
        return list(groups.values())

    def _insert_backward(
        self, quantized: Any, sockets: list[GradientSocket], forward: dict[str, Any]
    ) -> dict[str, Any]:
        """Run what the sockets contribute through the backward operators, in its place."""
        contributions = [node for node in map(self._contribution, sockets) if node]
        backward = Transplant(self.editor, self.subgraph.program, self._name, self.label)
        backward.nodes.update(forward)
        partial = [self._divert(socket, quantized) for socket in sockets]
        backward.nodes[self.subgraph.output_gradient] = self._sum(partial)
        gradients = {p.name: p.gradient for p in self.subgraph.parameters if p.gradient}
        outputs = list(gradients.values())
        if contributions:
            outputs.append(self.subgraph.input_gradient)
            backward.nodes[self.subgraph.input_gradient] = contributions[0]
        backward.copy(self.subgraph.backward_of(outputs))
        for spare in contributions[1:]:
            self._retire(spare)
        return {name: backward.nodes[gradient] for name, gradient in gradients.items()}

    def _contribution(self, socket: GradientSocket) -> Any:
        name = socket.contribution
        return self.editor.output_node(socket.op, name) if name else None

    def _divert(self, socket: GradientSocket, quantized: Any) -> Any:
        """Let a reader's gradient operator write (its part of) the quantized copy's gradient."""
        name = self.editor.fresh(f"{self.label}{GRAD}@PART")
        return self.editor.add_output(socket.op, *socket.writes, name, quantized)

    def _sum(self, nodes: list[Any]) -> Any:
        if len(nodes) == 1:
            return nodes[0]
        name = self.editor.fresh(f"{self.label}{GRAD}")
        total = self.editor.add_variable_like(name, nodes[0])
        self.editor.add_operator("sum", BACKWARD, {"X": nodes}, {"Out": [total]})
        return total

    def _retire(self, node: Any) -> None:
        """Take a contribution that is part of the sum now out of its consumers."""
        for op in list(node.outputs):
            if op.name() == "sum":
                self.editor.remove_input(op, "X", node)
        if node.outputs:
            slots = {"X": [self.source]}, {"Out": [node]}
            self.editor.add_operator("fill_any_like", BACKWARD, *slots, value=0.0, dtype=-1)
        else:
            self.editor.remove_variable(node)
