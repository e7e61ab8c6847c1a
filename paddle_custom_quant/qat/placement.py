"""Decide which tensors get which quantizer, before anything is touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from paddle.base.data_feeder import convert_dtype

from ..graph.editor import GRAD, GraphEditor, all_output_names, input_names
from ..graph.marks import OUTSIDE_TRAINING
from ..graph.quantizable import quantizable_inputs
from ..graph.roles import is_forward
from ..graph.splice import Socket
from ..graph.subgraph import prefix
from ..quantizers.base import Quantizer
from ..target import ACTIVATION, GRADIENT, WEIGHT, Reader, Target
from .rules import Rule

FLOATS = ("float16", "bfloat16", "float32", "float64")
TRANSPOSED = {
    "matmul": {"X": "transpose_X", "Y": "transpose_Y"},
    "matmul_v2": {"X": "trans_x", "Y": "trans_y"},
}


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
    uses = list(_uses(editor, request))
    layers = [use.layer.id() for use in uses if use.layer]
    if request.gradient:
        uses += _gradient_uses(editor, uses)
    groups: dict[tuple[int, tuple[Quantizer, ...]], list[_Use]] = defaultdict(list)
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


def _placed(stages: tuple[Quantizer, ...], uses: list[_Use], taken: set[str]) -> Placed:
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


@dataclass
class _Use:
    """One quantized input of one operator, of layer ``layer`` where that has a weight."""

    socket: Socket
    role: str
    layer: Any
    weight: str
    root: str
    single: Target | None = None

    def target(self, node: Any, editor: GraphEditor, training: bool) -> Target:
        op, desc = self.layer or self.socket.op, node.var()
        version = editor.versions[node.name()].index(node)
        return Target(
            name=node.name() + (f".v{version}" if version and not desc.persistable() else ""),
            shape=tuple(desc.shape()),
            dtype=convert_dtype(desc.dtype()),
            role=self.role,
            readers=(
                Reader(
                    op_type=op.name(),
                    slot=self.socket.slot,
                    index=self.socket.index,
                    output=all_output_names(op)[0],
                    weight=self.weight,
                    scope=_attribute(op, "op_namescope", ""),
                ),
            ),
            channel_axis=(
                _channel_axis(op, self.socket.slot, len(desc.shape()))
                if self.role == WEIGHT
                else None
            ),
            training=training,
        )


def _uses(editor: GraphEditor, request: Request) -> Iterator[_Use]:
    constants = _constants(editor)
    for op in editor.ops:
        kind = op.name()
        if kind not in request.weight_ops and kind not in request.activation_ops:
            continue
        if not is_forward(op.op()) or _skipped(op, request.skip):
            continue
        inputs = quantizable_inputs(op.op())
        weights = [name for _, _, name in inputs if name in constants]
        layer = bool(weights) and kind in request.weight_ops
        if not layer and (weights or kind not in request.activation_ops):
            continue
        for slot, i, name in inputs:
            if convert_dtype(editor.input_node(op, name).var().dtype()) in FLOATS:
                role = WEIGHT if name in constants else ACTIVATION
                weight = constants[weights[0]] if weights else ""
                owner = op if layer else None
                yield _Use(Socket(op, slot, i), role, owner, weight, constants.get(name, ""))


def _gradient_uses(editor: GraphEditor, uses: list[_Use]) -> Iterator[_Use]:
    """The gradients that enter the backward operators of the quantized layers."""
    layers = {use.layer.id(): use for use in uses if use.layer}
    if not any(editor.gradient_ops(use.layer) for use in layers.values()):
        raise ValueError(
            "gradients are to be quantized, but the program has no backward pass: call minimize "
            "(or append_backward) before quant_aware."
        )
    for use in layers.values():
        for grad in editor.gradient_ops(use.layer):
            for slot in grad.op().input_names():
                if slot.endswith(GRAD) and input_names(grad, slot):
                    yield _Use(Socket(grad, slot, 0), GRADIENT, use.layer, use.weight, "")


def _constants(editor: GraphEditor) -> dict[str, str]:
    """Names that hold parameters or what is computed from them alone -> the parameter.

    A statistic of the batch counts as the running statistic that it is outside training.
    """
    found = {name: name for name, nodes in editor.versions.items() if nodes[0].var().persistable()}
    for op in editor.ops:
        if not is_forward(op.op()):
            continue
        stands = _attribute(op, OUTSIDE_TRAINING, "")
        names = [stands] if stands else [name for name in op.op().input_arg_names() if name]
        if names and all(name in found for name in names):
            for name in all_output_names(op):
                found.setdefault(name, found[names[0]])
    return found


def _skipped(op: Any, patterns: tuple[str, ...]) -> bool:
    scope = _attribute(op, "op_namescope", "")
    return bool(_attribute(op, "skip_quant", False)) or any(p in scope for p in patterns)


def _attribute(op: Any, name: str, default: Any) -> Any:
    return op.op().attr(name) if op.op().has_attr(name) else default


def _channel_axis(op: Any, slot: str, rank: int) -> int | None:
    """The axis of a layer's output channels in its weight."""
    kind = op.name()
    if kind in ("conv2d", "depthwise_conv2d"):
        return 0
    if kind == "conv2d_transpose":
        return 1
    if kind == "mul":
        return rank - 1 if slot == "Y" else None
    if kind in TRANSPOSED and rank >= 2:
        turned = bool(_attribute(op, TRANSPOSED[kind][slot], False))
        return rank - 2 if turned == (slot == "Y") else rank - 1
    return None
