"""One flat view of a program or an IrGraph: operators in order, variables by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paddle.framework import IrGraph, core

from .editor import EMPTY

Slots = dict[str, list[str]]


@dataclass
class OpView:
    """One operator: type, slots, attributes through its OpDesc, and its node in a graph."""

    kind: str
    inputs: Slots
    outputs: Slots
    desc: Any
    node: Any = None

    @property
    def reads(self) -> list[str]:
        """Names it reads."""
        return [n for names in self.inputs.values() for n in names if n and n != EMPTY]

    @property
    def writes(self) -> list[str]:
        """Names it writes."""
        return [n for names in self.outputs.values() for n in names if n and n != EMPTY]

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or ``default``."""
        return self.desc.attr(name) if self.desc.has_attr(name) else default

    def __str__(self) -> str:
        return f"{self.kind} -> {(self.writes or ['nothing'])[0]}"


@dataclass
class View:
    """Operators in program (or topological) order and VarDescs by name."""

    ops: list[OpView]
    variables: dict[str, Any]
    cyclic: bool = False
    loose: list[tuple[OpView, str]] = field(default_factory=list)


def view(program_or_graph: Any) -> View:
    """Look at a program's global block, or at a graph; a view is returned as it is.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(program_or_graph, View):
        return program_or_graph
    if isinstance(program_or_graph, IrGraph):
        return _of_graph(program_or_graph)
    if hasattr(program_or_graph, "global_block") and hasattr(program_or_graph, "desc"):
        block = program_or_graph.global_block()
        variables = {v.name(): v for v in block.desc.all_vars()}
        return View([_op(op.desc) for op in block.ops], variables)
    raise TypeError(
        f"a static program of the old kind or an IrGraph is needed, "
        f"got {type(program_or_graph).__name__}."
    )


def _op(desc: Any, node: Any = None) -> OpView:
    return OpView(
        desc.type(),
        {slot: list(desc.input(slot)) for slot in desc.input_names()},
        {slot: list(desc.output(slot)) for slot in desc.output_names()},
        desc,
        node,
    )


def _of_graph(graph: IrGraph) -> View:
    cyclic = core.has_circle(graph.graph)
    if cyclic:
        ordered = sorted(graph.graph.nodes(), key=lambda n: n.id())
    else:
        ordered = core.topology_sort(graph.graph)
    seen = View([_op(n.op(), n) for n in ordered if n.is_op() and n.op() is not None], {}, cyclic)
    for op in seen.ops:
        linked = {n.name(): n.var() for n in (*op.node.inputs, *op.node.outputs)}
        seen.variables.update((name, desc) for name, desc in linked.items() if desc is not None)
        names = dict.fromkeys(op.reads + op.writes)
        seen.loose += [(op, name) for name in names if name not in linked]
    return seen
