"""Decide which tensors get which quantizer, before anything is touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..graph.editor import GraphEditor
from ..graph.splice import Socket
from ..graph.subgraph import prefix
from ..quantizers.base import Quantizer
from ..target import ACTIVATION, GRADIENT, WEIGHT, Target
from .rules import Rule
from .uses import Use, find_uses, gradient_uses


@dataclass(frozen=True)
class Request:
    """What the caller asks for.

    Attributes:
        weight: rule for weights.
        activation: rule for activations.
        weight_preprocess: rule for a function in front of the weight quantizer, or ``None``.
        activation_preprocess: the same for activations.
        gradient: rule for the gradients that enter quantized layers' backward, or ``None``.
        weight_ops: operator types that are quantized when they read a weight.
        activation_ops: operator types that are quantized when they read activations only.
        skip: name-scope patterns of operators to leave alone.
        training: the program is for training.
    """

    weight: Rule
    activation: Rule
    weight_preprocess: Rule | None = None
    activation_preprocess: Rule | None = None
    gradient: Rule | None = None
    weight_ops: tuple[str, ...] = ()
    activation_ops: tuple[str, ...] = ()
    skip: tuple[str, ...] = ("skip_quant",)
    training: bool = True

    def rules(self) -> dict[str, Rule | None]:
        """The rule of each role."""
        return {WEIGHT: self.weight, ACTIVATION: self.activation, GRADIENT: self.gradient}

    def preprocess_rules(self) -> dict[str, Rule | None]:
        """The rule of each role for what runs in front of the quantizer."""
        return {WEIGHT: self.weight_preprocess, ACTIVATION: self.activation_preprocess}


@dataclass(frozen=True)
class Placed:
    """One tensor and the quantizers it runs through, in order (preprocessing first).

    Attributes:
        target: the tensor.
        stages: the quantizers.
        labels: for each, the name of its output; its parameters' names start with it. It is
            ``<tensor>.<method>``, with a number where the tensor has that method twice.
        root: the parameter that a weight is or is computed from.
        sockets: the inputs that will read the quantized copy.
    """

    target: Target
    stages: tuple[Quantizer, ...]
    labels: tuple[str, ...]
    root: str = ""
    sockets: tuple[Socket, ...] = field(default=(), repr=False, compare=False)

    @property
    def quantizer(self) -> Quantizer:
        """The last stage."""
        return self.stages[-1]

    @property
    def label(self) -> str:
        """Name of the quantized copy."""
        return self.labels[-1]


@dataclass(frozen=True)
class Placement:
    """The list of placed tensors, in program order. ``print`` it for a table."""

    placed: tuple[Placed, ...]

    def __iter__(self) -> Iterator[Placed]:
        return iter(self.placed)

    def __len__(self) -> int:
        return len(self.placed)

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Tensor, readers, role, quantizer, bits; as text."""
        return [
            (
                p.target.name,
                ", ".join(dict.fromkeys(r.op_type for r in p.target.readers)),
                p.target.role,
                " > ".join(q.method for q in p.stages),
                str(p.quantizer.bits or "?"),
            )
            for p in self.placed
        ]

    def __str__(self) -> str:
        rows = [("tensor", "op", "role", "quantizer", "bits"), *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)


def decide(editor: GraphEditor, request: Request) -> Placement:
    """List what ``request`` quantizes in this graph. Nothing is changed.

    Raises:
        ValueError: a rule's pattern matches nothing; a quantizer cannot serve its tensor's role.
    """
    uses = list(find_uses(editor, request))
    layers = [use.layer.id() for use in uses if use.layer]
    if request.gradient:
        uses += gradient_uses(editor, uses)
    groups: dict[tuple[int, tuple[Quantizer, ...]], list[Use]] = defaultdict(list)
    for use in uses:
        node = editor.input_node(use.socket.op, use.socket.name)
        owner = use.layer.id() if use.layer else None
        single = replace(
            use.target(node, editor, request.training),
            first=bool(layers) and owner == layers[0],
            last=bool(layers) and owner == layers[-1],
        )
        use.single = single
        stages = _stages(single, request)
        if stages:
            groups[node.id(), stages].append(use)
    for role, rule in (*request.rules().items(), *request.preprocess_rules().items()):
        if rule:
            rule.finish(use.single for use in uses if use.single and use.single.role == role)
    taken: set[str] = set()
    return Placement(tuple(_placed(stages, group, taken) for (_, stages), group in groups.items()))


def _placed(stages: tuple[Quantizer, ...], uses: list[Use], taken: set[str]) -> Placed:
    first = uses[0].single
    assert first is not None
    target = replace(
        first,
        readers=tuple(r for use in uses if use.single for r in use.single.readers),
        first=any(use.single.first for use in uses if use.single),
        last=any(use.single.last for use in uses if use.single),
    )
    labels = tuple(_free_label(prefix(target, quantizer), taken) for quantizer in stages)
    return Placed(target, stages, labels, uses[0].root, tuple(use.socket for use in uses))


def _free_label(label: str, taken: set[str]) -> str:
    number, free = 2, label
    while free in taken:
        free, number = f"{label}_{number}", number + 1
    taken.add(free)
    return free


def _stages(target: Target, request: Request) -> tuple[Quantizer, ...]:
    main, before = request.rules()[target.role], request.preprocess_rules().get(target.role)
    quantizer = main.choose(target) if main else None
    if quantizer is None:
        return ()
    preprocess = before.choose(target) if before else None
    stages = (preprocess, quantizer) if preprocess else (quantizer,)
    for stage in stages:
        if target.role not in stage.roles:
            raise ValueError(
                f"{stage.method} quantizes {' and '.join(stage.roles)} tensors only, but was given "
                f"for {target.name!r}, the {target.role} of {target.readers[0].op_type}."
            )
    return stages
