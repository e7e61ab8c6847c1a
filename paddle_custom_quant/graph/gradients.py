"""Which operators compute the gradients of an operator, and through which of their slots.

Paddle itself is asked: most gradient operators are called ``<type>_grad``, but that of ``split``
is a ``concat``, that of ``scale`` another ``scale``, and ``sum`` has one for each input.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from paddle.framework import core

from .roles import BACKWARD, role
from .slots import EMPTY, GRAD, differentiated, input_names, output_names

Entry = tuple[str, int]
Origin = tuple[str, str, int]
INPUT, OUTPUT = "input", "output"


@dataclass(frozen=True)
class GradientSocket:
    """Where a gradient operator meets one input of its forward operator.

    Attributes:
        op: the gradient operator's node.
        reads: entries of its input slots that hold the same tensor as that input.
        writes: the entry of its output slots that holds that input's gradient, or would.
    """

    op: Any
    reads: tuple[Entry, ...]
    writes: Entry

    @property
    def contribution(self) -> str | None:
        """Name of the gradient it writes, ``None`` if that gradient is not computed."""
        slot, index = self.writes
        names = output_names(self.op, slot)
        name = names[index] if index < len(names) else EMPTY
        return None if name in ("", EMPTY) else name


@dataclass(frozen=True)
class Pattern:
    """One gradient operator of a kind of operator, its slots traced back to the operator's.

    An entry of the operator is ``(side, slot, index)``, side ``"input"`` or ``"output"``.
    """

    kind: str
    reads: dict[Entry, Origin]
    gradients: dict[Entry, Origin]
    writes: dict[Entry, Origin]

    def written(self, slot: str, index: int) -> Entry | None:
        """The output entry for the gradient of an input of the operator."""
        wanted = (INPUT, slot, index)
        return next((entry for entry, origin in self.writes.items() if origin == wanted), None)

    def socket(self, op: Any, slot: str, index: int) -> GradientSocket | None:
        """The socket of gradient operator ``op`` for an input of its forward operator."""
        writes = self.written(slot, index)
        if writes is None:
            return None
        reads = (e for e, origin in self.reads.items() if origin == (INPUT, slot, index))
        return GradientSocket(op, tuple(e for e in reads if _name(op, e)), writes)

    def incoming(self, op: Any, grad: Any) -> dict[str, str]:
        """Output of ``op`` -> its gradient, which gradient operator ``grad`` reads."""
        return {original(op, origin): _name(grad, e) for e, origin in self.gradients.items()}


class Gradients:
    """The gradient operators of a graph, found by the operator whose gradients they compute.

    An operator is remembered with what was found for it, so that it can be asked again after
    variables were renamed.
    """

    def __init__(self, ops: Iterable[Any]) -> None:
        self._patterns: dict[Any, list[Pattern]] = {}
        self._found: dict[int, list[tuple[Pattern, Any]]] = {}
        self._readers: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for op in ops:
            if not role(op.op()) & BACKWARD:
                continue
            for name in dict.fromkeys(op.op().input_arg_names()):
                if GRAD in name:
                    self._readers[op.name(), differentiated(name)].append(op)

    def __bool__(self) -> bool:
        """There is a backward pass."""
        return bool(self._readers)

    def of(self, op: Any) -> list[Any]:
        """The gradient operators of ``op``."""
        return [grad for _, grad in self.pairs(op)]

    def sockets(self, op: Any, slot: str, index: int) -> list[GradientSocket]:
        """Where the gradient operators of ``op`` meet one of its inputs."""
        sockets = (pattern.socket(grad, slot, index) for pattern, grad in self.pairs(op))
        return [socket for socket in sockets if socket]

    def add(self, op: Any, pattern: Pattern, grad: Any) -> None:
        """Remember a gradient operator that was made for ``op``."""
        self.pairs(op).append((pattern, grad))

    def patterns(self, op: Any) -> list[Pattern]:
        """What the gradient operators of an operator of this kind look like."""
        desc = op.op()
        key = (
            desc.type(),
            tuple((slot, len(desc.input(slot))) for slot in desc.input_names()),
            tuple((slot, len(desc.output(slot))) for slot in desc.output_names()),
        )
        if key not in self._patterns:
            self._patterns[key] = _patterns(desc)
        return self._patterns[key]

    def pairs(self, op: Any) -> list[tuple[Pattern, Any]]:
        """The gradient operators of ``op``, each with its pattern."""
        if op.id() not in self._found:
            self._found[op.id()] = list(self._search(op)) if self else []
        return self._found[op.id()]

    def _search(self, op: Any) -> Iterator[tuple[Pattern, Any]]:
        for pattern in self.patterns(op):
            candidates = {
                grad.id(): grad
                for origin in pattern.gradients.values()
                for grad in self._readers.get((pattern.kind, original(op, origin)), [])
            }
            for grad in candidates.values():
                if _fits(pattern, op, grad):
                    yield pattern, grad


def original(op: Any, origin: Origin) -> str:
    """The variable in an entry of an operator."""
    side, slot, index = origin
    return (input_names if side == INPUT else output_names)(op, slot)[index]


def _fits(pattern: Pattern, op: Any, grad: Any) -> bool:
    """Every used entry of ``grad`` holds the variable, or the gradient, that it should."""
    held = [(_name(grad, entry), origin) for entry, origin in pattern.reads.items()]
    held += [(differentiated(_name(grad, e)), origin) for e, origin in pattern.gradients.items()]
    held += [(differentiated(_name(grad, e, True)), origin) for e, origin in pattern.writes.items()]
    return all(name in ("", original(op, origin)) for name, origin in held)


def _name(op: Any, entry: Entry, written: bool = False) -> str:
    slot, index = entry
    names = (output_names if written else input_names)(op, slot)
    return names[index] if index < len(names) and names[index] != EMPTY else ""


def _patterns(desc: Any) -> list[Pattern]:
    """Ask Paddle for the gradient operators, with a name of its own in every entry."""
    marked, origins = core.OpDesc(), {}
    marked.copy_from(desc)
    for side, slots, names, rename in (
        (INPUT, desc.input_names(), desc.input, marked.set_input),
        (OUTPUT, desc.output_names(), desc.output, marked.set_output),
    ):
        for slot in slots:
            entries = [(side, slot, i) for i in range(len(names(slot)))]
            origins.update({f"{side}.{slot}.{i}": (side, slot, i) for side, slot, i in entries})
            rename(slot, [f"{side}.{slot}.{i}" for side, slot, i in entries])
    descs, _ = core.get_grad_op_desc(marked, set(), [])
    return [_traced_back(found, origins) for found in descs]


def _traced_back(desc: Any, origins: dict[str, Origin]) -> Pattern:
    pattern = Pattern(desc.type(), {}, {}, {})
    for slot in desc.input_names():
        for i, name in enumerate(desc.input(slot)):
            if name.endswith(GRAD):
                pattern.gradients[slot, i] = origins[name[: -len(GRAD)]]
            elif name in origins:
                pattern.reads[slot, i] = origins[name]
    for slot in desc.output_names():
        for i, name in enumerate(desc.output(slot)):
            if name.endswith(GRAD):
                pattern.writes[slot, i] = origins[name[: -len(GRAD)]]
    return pattern
