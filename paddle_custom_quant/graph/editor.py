"""Edit an IrGraph in constant time a link: nodes are indexed once, by name.

``IrGraph.update_input_link``, ``link_to`` and ``_find_node_by_name`` each scan the whole graph, so
they have no place in a loop over tensors.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from paddle.framework import IrGraph, core

from .gradients import Gradients
from .roles import ROLE
from .slots import EMPTY, GRAD, all_output_names, input_names, output_names

__all__ = ["EMPTY", "GRAD", "GraphEditor", "all_output_names", "input_names", "output_names"]


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
        self.gradients = Gradients(self.ops)

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
        """The gradient operators of ``op``."""
        return self.gradients.of(op)

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

    def fresh(self, name: str) -> str:
        """``name``, or with a number behind it if a variable has that name already."""
        number, found = 1, name
        while found in self.versions:
            found, number = f"{name}@{number}", number + 1
        return found

    def new_version(self, node: Any) -> Any:
        """Create the next version of the variable of ``node``."""
        return self.add_variable(node.var())

    def add_operator(
        self,
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
        return self.add_op(desc, _all(inputs), _all(outputs))

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

    def add_output(self, op: Any, slot: str, index: int, name: str, like: Any) -> Any:
        """Let one entry of an output slot write a new variable that is like node ``like``."""
        node = self.add_variable_like(name, like)
        self.replace_output(op, slot, index, node)
        return node

    def remove_input(self, op: Any, slot: str, node: Any) -> None:
        """Take a node out of an operator's list slot."""
        op.op().set_input(slot, [name for name in input_names(op, slot) if name != node.name()])
        self.unlink(node, op)

    def remove_variable(self, node: Any) -> None:
        """Delete a variable node that nothing reads or writes."""
        self.versions[node.name()].remove(node)
        core.graph_safe_remove_nodes(self._core, {node})


def _all(slots: dict[str, list[Any]]) -> list[Any]:
    return [node for nodes in slots.values() for node in nodes]
