"""Edit an IrGraph in constant time a link: nodes are indexed once, by name.

``IrGraph.update_input_link``, ``link_to`` and ``_find_node_by_name`` each scan the whole graph, so
they have no place in a loop over tensors.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from paddle.framework import IrGraph, core

EMPTY = "@EMPTY@"
GRAD = "@GRAD"


def input_names(node: Any, slot: str) -> list[str]:
    """Variable names in an input slot of an operator node (empty if it has no such slot)."""
    desc = node.op()
    return list(desc.input(slot)) if slot in desc.input_names() else []


def output_names(node: Any, slot: str) -> list[str]:
    """Variable names in an output slot of an operator node (empty if it has no such slot)."""
    desc = node.op()
    return list(desc.output(slot)) if slot in desc.output_names() else []


def all_output_names(node: Any) -> list[str]:
    """Every real output name of an operator node, in slot order."""
    return [name for name in node.op().output_arg_names() if name and name != EMPTY]


class GraphEditor:
    """One IrGraph with its nodes indexed; every change goes through its methods.

    Nodes are the ``core.Node`` objects below ``IrNode``. A variable that is written several times
    has one node a version; :attr:`versions` lists them in program order.
    """

    def __init__(self, graph: IrGraph) -> None:
        self.graph = graph
        self._core = graph.graph
        nodes = sorted(self._core.nodes(), key=lambda node: node.id())
        self.ops = [node for node in nodes if node.is_op() and node.op() is not None]
        self.versions: dict[str, list[Any]] = defaultdict(list)
        for node in nodes:
            if node.is_var() and node.var() is not None:
                self.versions[node.name()].append(node)
        self._gradient_ops: dict[tuple[str, str], list[Any]] | None = None

    # -- reading -----------------------------------------------------------------------------

    def input_node(self, op: Any, name: str) -> Any:
        """The version of variable ``name`` that hangs on ``op`` as input."""
        return self._on(op.inputs, name)

    def output_node(self, op: Any, name: str) -> Any:
        """The version of variable ``name`` that ``op`` writes."""
        return self._on(op.outputs, name)

    @staticmethod
    def _on(nodes: list[Any], name: str) -> Any:
        for node in nodes:
            if node.name() == name and not node.is_ctrl_var():
                return node
        return None

    def gradient_ops(self, op: Any) -> list[Any]:
        """Gradient operators of ``op``: same type, fed by the gradient of one of its outputs."""
        if self._gradient_ops is None:
            self._gradient_ops = self._index_gradient_ops()
        found = {}
        for name in all_output_names(op):
            for grad in self._gradient_ops.get((op.name(), name), []):
                if self._same_inputs(op, grad):
                    found[grad.id()] = grad
        return list(found.values())

    def _index_gradient_ops(self) -> dict[tuple[str, str], list[Any]]:
        index: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for node in self.ops:
            kind = node.name()
            if not kind.endswith("_grad"):
                continue
            desc = node.op()
            for slot in desc.input_names():
                if slot.endswith(GRAD):
                    for name in desc.input(slot):
                        index[kind[: -len("_grad")], name.split(GRAD)[0]].append(node)
        return index

    @staticmethod
    def _same_inputs(op: Any, grad: Any) -> bool:
        slots = set(grad.op().input_names())
        return all(
            list(op.op().input(slot)) == list(grad.op().input(slot))
            for slot in op.op().input_names()
            if slot in slots and grad.op().input(slot)
        )

    # -- writing -----------------------------------------------------------------------------

    def add_variable(self, desc: Any) -> Any:
        """Create a variable node from a VarDesc."""
        node = self._core.create_var_node(desc)
        self.versions[node.name()].append(node)
        return node

    def add_variable_like(self, name: str, like: Any) -> Any:
        """Create a temporary variable ``name`` with the type, shape and dtype of node ``like``."""
        source, desc = like.var(), core.VarDesc(name)
        desc.set_type(source.type())
        desc.set_shape(source.shape())
        desc.set_dtype(source.dtype())
        return self.add_variable(desc)

    def new_version(self, node: Any) -> Any:
        """Create the next version of the variable of ``node``."""
        return self.add_variable(node.var())

    def add_op(self, desc: Any, inputs: list[Any], outputs: list[Any]) -> Any:
        """Create an operator node from an OpDesc whose names are those of the given nodes.

        It runs before later versions of its inputs are written, and after earlier versions of
        its outputs were read.
        """
        op = self._core.create_op_node(desc)
        self.ops.append(op)
        for node in {node.id(): node for node in inputs}.values():
            self.link(node, op)
            for later in self._versions_after(node):
                for writer in later.inputs:
                    self.order(op, writer)
        for node in {node.id(): node for node in outputs}.values():
            self.link(op, node)
            for reader in self._readers_before(node):
                if reader.id() != op.id():
                    self.order(reader, op)
        return op

    def _versions_after(self, node: Any) -> list[Any]:
        versions = self.versions[node.name()]
        return versions[versions.index(node) + 1 :] if len(versions) > 1 else []

    def _readers_before(self, node: Any) -> list[Any]:
        versions = self.versions[node.name()]
        position = versions.index(node) if len(versions) > 1 else 0
        return list(versions[position - 1].outputs) if position else []

    @staticmethod
    def link(source: Any, sink: Any) -> None:
        """Connect two nodes."""
        source.append_output(sink)
        sink.append_input(source)

    @staticmethod
    def unlink(source: Any, sink: Any) -> None:
        """Disconnect two nodes."""
        source.remove_output(sink)
        sink.remove_input(source)

    def order(self, before: Any, after: Any) -> None:
        """Make operator ``before`` run ahead of operator ``after`` (a control dependency)."""
        control = self._core.create_control_dep_var()
        self.link(before, control)
        self.link(control, after)

    def replace_input(self, op: Any, slot: str, index: int, new: Any) -> None:
        """Let one entry of an input slot read node ``new``."""
        names = input_names(op, slot)
        old = self.input_node(op, names[index])
        names[index] = new.name()
        op.op().set_input(slot, names)
        if old.name() not in op.op().input_arg_names():
            self.unlink(old, op)
        if all(node.id() != new.id() for node in op.inputs):
            self.link(new, op)

    def replace_output(self, op: Any, slot: str, index: int, new: Any) -> None:
        """Let one entry of an output slot write node ``new``; a missing entry is added."""
        names = output_names(op, slot)
        names += [EMPTY] * (index + 1 - len(names))
        old = self.output_node(op, names[index])
        names[index] = new.name()
        op.op().set_output(slot, names)
        if old is not None:
            self.unlink(op, old)
        self.link(op, new)

    def remove_input(self, op: Any, slot: str, node: Any) -> None:
        """Take a node out of an operator's list slot."""
        op.op().set_input(slot, [name for name in input_names(op, slot) if name != node.name()])
        self.unlink(node, op)

    def remove_variable(self, node: Any) -> None:
        """Delete a variable node that nothing reads or writes."""
        self.versions[node.name()].remove(node)
        core.graph_safe_remove_nodes(self._core, {node})
