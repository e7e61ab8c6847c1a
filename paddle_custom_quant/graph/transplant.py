"""Copy operators of a temporary program into a graph, variables under new names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable

import paddle
from paddle.framework import core

from .editor import EMPTY, GraphEditor

NAMESCOPE = "op_namescope"


class Transplant:
    """Copies operators one after another; a variable written twice gets a node a version.

    Args:
        editor: the graph that receives them.
        program: the temporary program they come from.
        rename: name in the program -> name in the graph, for variables that are not persistable.
        scope: name scope that the copies carry.

    ``nodes`` maps names of the program to nodes of the graph; entries set beforehand plug the
    copies into nodes that exist.
    """

    def __init__(
        self,
        editor: GraphEditor,
        program: paddle.static.Program,
        rename: Callable[[str], str],
        scope: str,
    ) -> None:
        self.nodes: dict[str, Any] = {}
        self._editor = editor
        self._block = program.global_block()
        self._rename = rename
        self._scope = scope

    def copy(self, descs: Iterable[Any]) -> None:
        """Copy these OpDescs, in order."""
        for source in descs:
            desc = core.OpDesc()
            desc.copy_from(source)
            reads = {name: self._read(name) for name in _distinct(source.input_arg_names())}
            writes = {name: self._write(name) for name in _distinct(source.output_arg_names())}
            for slot in source.input_names():
                desc.set_input(slot, _renamed(source.input(slot), reads))
            for slot in source.output_names():
                desc.set_output(slot, _renamed(source.output(slot), writes))
            desc._set_attr(NAMESCOPE, f"/{self._scope}/")
            self._editor.add_op(desc, list(reads.values()), list(writes.values()))

    def _read(self, name: str) -> Any:
        if name not in self.nodes:
            versions = self._editor.versions.get(name) if self._persistable(name) else None
            self.nodes[name] = versions[-1] if versions else self._create(name)
        return self.nodes[name]

    def _write(self, name: str) -> Any:
        held = self.nodes.get(name)
        if held is None:
            self.nodes[name] = self._create(name)
        elif held.inputs or held.var().persistable():
            self.nodes[name] = self._editor.new_version(held)
        return self.nodes[name]

    def _persistable(self, name: str) -> bool:
        return self._block.has_var(name) and self._block.var(name).persistable

    def _create(self, name: str) -> Any:
        source = self._block.var(name).desc
        desc = core.VarDesc(name if source.persistable() else self._rename(name))
        desc.set_type(source.type())
        desc.set_shape(source.shape())
        desc.set_dtype(source.dtype())
        desc.set_persistable(source.persistable())
        desc.set_stop_gradient(source.stop_gradient())
        if source.persistable() and source.is_parameter():
            desc.set_is_parameter(True)
        return self._editor.add_variable(desc)


def _renamed(names: Iterable[str], nodes: dict[str, Any]) -> list[str]:
    return [nodes[name].name() if name in nodes else name for name in names]


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name and name != EMPTY))
