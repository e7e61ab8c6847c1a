"""What quantization added, removed and rewired, tensor by tensor."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from ..graph.marks import QUANTIZER_OPTIMIZER
from .model import BACKWARD, CHECKPOINT, FORWARD, OPTIMIZER, Model, ModelError, Operator
from .quantized import Quantizing, find_quantized
from .scales import grid_of
from .summary import QuantizedTensor, quantized_tensor
from .table import printable


@dataclass(frozen=True)
class Rewired:
    """One input or output that an operator has under another name now.

    Attributes:
        operator: ``type -> first output``.
        part: forward, backward or optimizer.
        slot: the slot and the position in it, such as ``"Filter:0"``.
        before: the name before, ``""`` if there was none.
        after: the name now, ``""`` if there is none.
    """

    operator: str
    part: str
    slot: str
    before: str
    after: str


@dataclass
class Change:
    """What changed for one tensor.

    Attributes:
        tensor: its name; ``""`` for what belongs to no tensor.
        quantizer: its quantizer, ``""`` without one.
        added: operators that are new, by part and type.
        removed: operators that are gone, by part and type.
        parameters: persistable variables that are new.
        lost_parameters: persistable variables that are gone.
        rewired: what reads or writes another variable.
    """

    tensor: str
    quantizer: str = ""
    added: dict[str, dict[str, int]] = field(default_factory=dict)
    removed: dict[str, dict[str, int]] = field(default_factory=dict)
    parameters: list[str] = field(default_factory=list)
    lost_parameters: list[str] = field(default_factory=list)
    rewired: list[Rewired] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """Two programs compared; ``str()`` gives text.

    Attributes:
        before: source of the first.
        after: source of the second.
        changes: by tensor, in program order; what belongs to none comes last.
        marks: operators of the second program that are ``"added"`` or ``"rewired"``, by index.
        gone: operators of the first program that are not in the second.
        lost: tensors that the first program quantizes and the second does not.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    marks: dict[int, str] = field(repr=False)
    gone: tuple[Operator, ...] = field(repr=False)
    lost: tuple[QuantizedTensor, ...] = field(repr=False)

    def __bool__(self) -> bool:
        return bool(self.changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {
            "before": self.before,
            "after": self.after,
            "changes": [asdict(change) for change in self.changes],
        }

    def __str__(self) -> str:
        head = f"{self.before} -> {self.after}: "
        if not self.changes:
            return printable(f"{head}the same operators and parameters.")
        added = sum(n for c in self.changes for kinds in c.added.values() for n in kinds.values())
        rewired = sum(len(c.rewired) for c in self.changes)
        head += f"{added} operators added, {len(self.gone)} removed, {rewired} links rewired"
        return printable("\n".join([head, *(line for c in self.changes for line in _lines(c))]))


def compare(before: Model, after: Model) -> Difference:
    """Compare two models, operator by operator.

    An operator is the same in both if its type and its outputs are, or, where a link of it was
    rewired, its type and one of them.

    Raises:
        ModelError: one is a checkpoint, the other has a graph.
    """
    for model, other in ((before, after), (after, before)):
        if model.kind == CHECKPOINT != other.kind:
            raise ModelError(
                f"{model.source}: a checkpoint holds values only: compare it with another one."
            )
    matched = _match(before, after)
    quantized = find_quantized(after)
    was_quantized = find_quantized(before)
    owner = {id(op): one for one in (*was_quantized, *quantized) for op in one.operators}
    changes = {one.tensor: Change(one.tensor) for one in (*quantized, *was_quantized)}
    for one in quantized:
        held = changes[one.tensor]
        held.quantizer = f"{held.quantizer} > {one.method}" if held.quantizer else one.method
    rest = changes[""] = Change("")
    partners = {id(new): old for old, new in matched}
    kept = {id(old) for old, _ in matched}
    tensors = _tensor_names(quantized + was_quantized)

    marks: dict[int, str] = {}
    for i, op in enumerate(after.operators):
        old = partners.get(id(op))
        if old is None:
            marks[i] = "added"
            _count(_change(op, owner, changes, tensors).added, op)
            continue
        for link in _rewired(old, op):
            marks[i] = "rewired"
            names = (link.after, link.before)
            known = [n for name in names for n in (name, name.split("@GRAD")[0]) if n in tensors]
            (changes[tensors[known[0]]] if known else rest).rewired.append(link)
    gone = tuple(op for op in before.operators if id(op) not in kept)
    for op in gone:
        _count(_change(op, owner, changes, tensors).removed, op)
    for source, other, kind in ((after, before, "parameters"), (before, after, "lost_parameters")):
        for v in source.variables.values():
            if v.persistable and v.shape is not None and v.name not in other.variables:
                known = [c for c in _prefixes(v.name) if c in tensors]
                change = changes[tensors[known[-1]]] if known else rest
                getattr(change, kind).append(v.name)
    told = tuple(c for c in changes.values() if _is_told(c))
    copies = {one.copy for one in quantized}
    lost = [one for one in was_quantized if one.copy not in copies]
    facts = tuple(quantized_tensor(one, before, grid_of(one, before)) for one in lost)
    return Difference(before.source, after.source, told, marks, gone, facts)


def _is_told(c: Change) -> bool:
    return bool(c.added or c.removed or c.parameters or c.lost_parameters or c.rewired)


def _match(before: Model, after: Model) -> list[tuple[Operator, Operator]]:
    """Pairs of the same operator: by all outputs first, then by any."""
    pairs, left = [], list(after.operators)
    unmatched = list(before.operators)
    for keys in (_by_all_outputs, _by_any_output):
        index: dict[Any, list[Operator]] = {}
        for op in unmatched:
            for key in keys(op):
                index.setdefault(key, []).append(op)
        taken: set[int] = set()
        rest = []
        for op in left:
            candidates = [c for key in keys(op) for c in index.get(key, []) if id(c) not in taken]
            if candidates:
                pairs.append((candidates[0], op))
                taken.add(id(candidates[0]))
            else:
                rest.append(op)
        left = rest
        unmatched = [op for op in unmatched if id(op) not in taken]
    return pairs


def _by_all_outputs(op: Operator) -> list[Any]:
    return [(op.kind, op.block, tuple(op.writes))]


def _by_any_output(op: Operator) -> list[Any]:
    # A gradient operator that lost its output is found by the gradient that it reads.
    seeds = [(op.kind, op.block, "reads", n) for n in op.reads if "@GRAD" in n]
    return [(op.kind, op.block, name) for name in op.writes] + seeds


def _rewired(old: Operator, new: Operator) -> list[Rewired]:
    found = []
    for old_slots, new_slots in ((old.inputs, new.inputs), (old.outputs, new.outputs)):
        for slot in dict.fromkeys([*old_slots, *new_slots]):
            a, b = old_slots.get(slot, []), new_slots.get(slot, [])
            for i in range(max(len(a), len(b))):
                was, now = (a[i] if i < len(a) else ""), (b[i] if i < len(b) else "")
                if was != now:
                    found.append(Rewired(str(new), new.part, f"{slot}:{i}", was, now))
    return found


def _tensor_names(quantized: list[Quantizing]) -> dict[str, str]:
    """Names that stand for a quantized tensor: its own, its copies' and their gradients'."""
    names = {}
    for one in quantized:
        for name in (one.tensor, one.copy):
            names[name] = names[f"{name}@GRAD"] = one.tensor
        for op in one.operators:
            names.update(dict.fromkeys(op.writes, one.tensor))
    return names


def _change(
    op: Operator, owner: dict[int, Quantizing], changes: dict[str, Change], tensors: dict[str, str]
) -> Change:
    one = owner.get(id(op))
    if one is not None:
        return changes[one.tensor]
    if op.scope == QUANTIZER_OPTIMIZER or op.part != FORWARD:
        for name in (*op.inputs.get("Param", []), *op.writes):
            for candidate in reversed(_prefixes(name.split("@GRAD")[0])):
                if candidate in tensors:
                    return changes[tensors[candidate]]
    return changes[""]


def _prefixes(name: str) -> list[str]:
    """``a``, ``a.b``, ``a.b.c`` of ``a.b.c``, without an optimizer's own beginning."""
    parts = name.split(".")
    if parts[0].startswith(QUANTIZER_OPTIMIZER):
        parts = parts[1:]
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _count(kinds: dict[str, dict[str, int]], op: Operator) -> None:
    held = kinds.setdefault(op.part, {})
    held[op.kind] = held.get(op.kind, 0) + 1


def _lines(change: Change) -> list[str]:
    name = change.tensor or "(no quantized tensor)"
    lines = ["", f"{name}{f': {change.quantizer}' if change.quantizer else ''}"]
    for sign, parts in (("+", change.added), ("-", change.removed)):
        for part in (FORWARD, BACKWARD, OPTIMIZER):
            kinds = Counter(parts.get(part, {}))
            if kinds:
                listed = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
                lines.append(f"  {sign} {part}: {listed}")
    for sign, names in (("+", change.parameters), ("-", change.lost_parameters)):
        if names:
            lines.append(f"  {sign} parameters: {', '.join(sorted(names))}")
    lines += [
        f"  ~ {link.operator}: {link.slot} {link.before or 'nothing'} => {link.after or 'nothing'}"
        for link in change.rewired
    ]
    return lines


__all__ = ["Change", "Difference", "Rewired", "compare"]
