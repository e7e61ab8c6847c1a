"""Is this graph sound? A check for anyone's program, before and after it is edited."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

from .editor import EMPTY, GRAD
from .marks import QUANTIZED, QUANTIZER_OPTIMIZER
from .quantizable import QUANTIZABLE_SLOTS
from .roles import BACKWARD, OPTIMIZE, ROLE
from .slots import differentiated
from .view import OpView, View, view


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: which check found it, such as ``"dangling input"``.
        node: the variable.
        op: the operator, as ``type -> first output``.
        message: what is wrong and the likely cause.
    """

    kind: str
    node: str
    op: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.node!r} at {self.op}: {self.message}"


def verify(program_or_graph: Any, scope: Any = None) -> list[Finding]:
    """Check that a program or graph of the old kind is sound.

    Args:
        program_or_graph: a ``paddle.static.Program`` (its global block) or an IrGraph.
        scope: if given, every parameter that is read must have a value in it.

    Returns:
        The findings, in program order of each check; empty if the graph is sound.

    Raises:
        TypeError: neither a program nor a graph.
    """
    seen = view(program_or_graph)
    findings = [f for check in CHECKS for f in check(seen)]
    if scope is not None:
        findings += _without_value(seen, scope)
    return findings


def _cycle(seen: View) -> Iterator[Finding]:
    if seen.cyclic:
        yield Finding(
            "cycle", "", "", "operators wait for each other: a link points the wrong way."
        )


def _loose_link(seen: View) -> Iterator[Finding]:
    for op, name in seen.loose:
        yield Finding(
            "loose link", name, str(op),
            "the operator names it but the nodes are not connected: renamed without relinking.",
        )  # fmt: skip


def _undeclared(seen: View) -> Iterator[Finding]:
    for op in seen.ops:
        for name in dict.fromkeys(op.reads + op.writes):
            if name not in seen.variables and not _holds_blocks(op):
                yield Finding(
                    "undeclared variable", name, str(op),
                    "no such variable in the program: it was removed or renamed.",
                )  # fmt: skip


def _dangling(seen: View) -> Iterator[Finding]:
    written: set[str] = set()
    later = {name for op in seen.ops for name in op.writes}
    for op in seen.ops:
        for name in dict.fromkeys(op.reads):
            held = seen.variables.get(name)
            if held is None or name in written or _given(held) or _holds_blocks(op):
                continue
            if name in later:
                yield Finding(
                    "read before written", name, str(op),
                    "the operator that writes it runs later: it was inserted in the wrong place.",
                )  # fmt: skip
            elif GRAD in name:
                yield Finding(
                    "missing gradient", name, str(op),
                    "nothing computes this gradient: its backward operators are gone.",
                )  # fmt: skip
            else:
                yield Finding(
                    "dangling input", name, str(op),
                    "nothing writes it: the operator that did is gone, or it should be fed.",
                )  # fmt: skip
        written.update(op.writes)


def _two_writers(seen: View) -> Iterator[Finding]:
    writer: dict[str, OpView] = {}
    for op in seen.ops:
        if _holds_blocks(op):
            continue
        for name in op.writes:
            before = writer.get(name)
            in_place = name in op.reads
            if before is not None and not in_place and not _given(seen.variables.get(name)):
                yield Finding(
                    "two writers", name, str(op),
                    f"{before} writes it too and its result is lost: a name was used twice.",
                )  # fmt: skip
            writer[name] = op


def _updated_twice(seen: View) -> Iterator[Finding]:
    updater: dict[str, OpView] = {}
    for op in seen.ops:
        for name in op.inputs.get("Param", []) if "ParamOut" in op.outputs else []:
            if name in updater:
                yield Finding(
                    "updated twice", name, str(op),
                    "two optimizer operators update it: it is in two optimizers' lists.",
                )  # fmt: skip
            updater[name] = op


def _unread_gradient(seen: View) -> Iterator[Finding]:
    """A parameter's gradient that no optimizer reads, in a program that has an optimizer."""
    updates = [op for op in seen.ops if "ParamOut" in op.outputs]
    if all(QUANTIZER_OPTIMIZER in (op.attribute("op_namescope") or "") for op in updates):
        return
    read = {name for op in seen.ops for name in op.reads}
    for op in seen.ops:
        for name in op.writes:
            parameter = seen.variables.get(name[: -len(GRAD)]) if name.endswith(GRAD) else None
            if parameter is not None and _trainable(parameter) and name not in read:
                yield Finding(
                    "unread gradient", name, str(op),
                    "the parameter gets a gradient but no optimizer updates it.",
                )  # fmt: skip


def _lost_gradient(seen: View) -> Iterator[Finding]:
    """A trainable parameter without a gradient though the operator that reads it has one."""
    written = {name for op in seen.ops for name in op.writes}
    # Also in parts, which are summed or not: x@GRAD@PART.
    with_gradient = {name.partition(GRAD)[0] for name in written if GRAD in name}
    reported = set()
    for op in seen.ops:
        if _role(op) & (BACKWARD | OPTIMIZE):
            continue
        if with_gradient.isdisjoint(op.writes):
            continue
        for name in op.reads:
            held = seen.variables.get(name)
            if held is None or not _trainable(held) or name in reported:
                continue
            if f"{name}{GRAD}" not in written:
                reported.add(name)
                yield Finding(
                    "lost gradient", name, str(op),
                    "what the operator writes has a gradient, this trainable parameter has none.",
                )  # fmt: skip


def _float_reader(seen: View) -> Iterator[Finding]:
    """A quantized operator that reads a float tensor where it should read the quantized copy."""
    quantized = {
        name
        for op in seen.ops
        if (op.attribute("op_namescope") or "/").strip("/") in op.writes
        for name in op.writes
    }
    for op in seen.ops:
        for entry in op.attribute(QUANTIZED) or []:
            slot, _, index = entry.partition(":")
            names = op.inputs.get(slot, [])
            if int(index) >= len(names):
                continue
            name = names[int(index)]
            if name not in quantized and not _is_stored_copy(name, seen.variables):
                yield Finding(
                    "float reader", name, str(op),
                    f"input {entry} of this quantized operator reads the float tensor.",
                )  # fmt: skip


def _is_stored_copy(name: str, variables: dict[str, Any]) -> bool:
    """A quantized copy whose values are stored: a parameter ``tensor.method`` like ``tensor``."""
    copy, source = variables.get(name), variables.get(name.rpartition(".")[0])
    if copy is None or source is None:
        return False
    return bool(copy.persistable() and list(copy.shape()) == list(source.shape()))


def _float_backward(seen: View) -> Iterator[Finding]:
    """A gradient operator that reads another tensor than its forward operator."""
    forward: dict[tuple[str, str], OpView] = {
        (op.kind, name): op
        for op in seen.ops
        if op.kind in QUANTIZABLE_SLOTS and not _role(op) & (BACKWARD | OPTIMIZE)
        for name in op.writes
    }
    for grad in seen.ops:
        if not grad.kind.endswith("_grad"):
            continue
        partner = _partner(grad, forward)
        if partner is None:
            continue
        for slot in QUANTIZABLE_SLOTS[partner.kind]:
            mine, theirs = grad.inputs.get(slot, []), partner.inputs.get(slot, [])
            for a, b in zip(mine, theirs):
                if a != b and EMPTY not in (a, b):
                    yield Finding(
                        "backward reads another tensor", a, str(grad),
                        f"its forward operator reads {b!r}: the gradient is that of {a!r}.",
                    )  # fmt: skip


def _partner(grad: OpView, forward: dict[tuple[str, str], OpView]) -> OpView | None:
    kind = grad.kind[: -len("_grad")]
    for slot, names in grad.inputs.items():
        if slot.endswith(GRAD):
            for name in names:
                found = forward.get((kind, differentiated(name)))
                if found is not None:
                    return found
    return None


def _reshaped_copy(seen: View) -> Iterator[Finding]:
    """A quantized copy whose shape or dtype is not that of its tensor."""
    for op in seen.ops:
        label = (op.attribute("op_namescope") or "").strip("/")
        source = seen.variables.get(label.rsplit(".", 1)[0]) if "." in label else None
        copy = seen.variables.get(label)
        if label not in op.writes or source is None or copy is None:
            continue
        if list(source.shape()) != list(copy.shape()) or source.dtype() != copy.dtype():
            yield Finding(
                "reshaped copy", label, str(op),
                f"shape {list(copy.shape())}, but the tensor has {list(source.shape())}.",
            )  # fmt: skip


def _without_value(seen: View, scope: Any) -> Iterator[Finding]:
    reported = set()
    for op in seen.ops:
        for name in op.reads:
            held = seen.variables.get(name)
            if held is None or not held.persistable() or name in reported:
                continue
            variable = scope.find_var(name)
            if variable is None or not variable.get_tensor()._is_initialized():
                reported.add(name)
                yield Finding(
                    "no start value", name, str(op),
                    "the scope holds no value: run the start-up program, or load the parameters.",
                )  # fmt: skip


def _given(desc: Any) -> bool:
    """A value that is there before the program runs: a parameter, or fed data."""
    return desc is not None and (desc.persistable() or desc.need_check_feed())


def _trainable(desc: Any) -> bool:
    return bool(desc.persistable() and desc.is_parameter() and not desc.stop_gradient())


def _holds_blocks(op: OpView) -> bool:
    return any("block" in name for name in op.desc.attr_names()) or op.kind in ("feed", "fetch")


def _role(op: OpView) -> int:
    return int(op.attribute(ROLE, 0))


CHECKS: tuple[Callable[[View], Iterator[Finding]], ...] = (
    _cycle, _loose_link, _undeclared, _dangling, _two_writers, _updated_twice, _unread_gradient,
    _lost_gradient, _float_reader, _float_backward, _reshaped_copy,
)  # fmt: skip

__all__ = ["Finding", "verify"]
