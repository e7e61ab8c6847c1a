"""Read the slots of an operator node: names of variables, by slot."""

from __future__ import annotations

import re
from typing import Any

EMPTY = "@EMPTY@"
GRAD = "@GRAD"
_PASSES = re.compile("^(grad/)+")


def input_names(node: Any, slot: str) -> list[str]:
    """Variable names in an input slot of an operator node (empty if it has no such slot)."""
    desc = node.op()
    return list(desc.input(slot)) if slot in desc.input_names() else []


def output_names(node: Any, slot: str) -> list[str]:
    """Variable names in an output slot of an operator node (empty if it has no such slot)."""
    desc = node.op()
    return list(desc.output(slot)) if slot in desc.output_names() else []


def differentiated(gradient: str) -> str:
    """The variable whose gradient (in a first or a further backward pass) has this name."""
    return _PASSES.sub("", gradient.split(GRAD)[0])


def all_output_names(node: Any) -> list[str]:
    """Every real output name of an operator node, in slot order."""
    return [name for name in node.op().output_arg_names() if name and name != EMPTY]
