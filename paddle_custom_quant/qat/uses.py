"""Which inputs of which operators a request reaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paddle.base.data_feeder import convert_dtype

from ..graph.editor import GRAD, GraphEditor, all_output_names, input_names
from ..graph.marks import OUTSIDE_TRAINING
from ..graph.quantizable import quantizable_inputs
from ..graph.roles import is_forward
from ..graph.splice import Socket
from ..target import ACTIVATION, GRADIENT, WEIGHT, Reader, Target

if TYPE_CHECKING:
    from .placement import Request

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_TRANSPOSED = {
    "matmul": {"X": "transpose_X", "Y": "transpose_Y"},
    "matmul_v2": {"X": "trans_x", "Y": "trans_y"},
}


@dataclass
class Use:
    """One quantized input of one operator, of layer ``layer`` where that has a weight."""

    socket: Socket
    role: str
    layer: Any
    weight: str
    root: str
    single: Target | None = None

    def target(self, node: Any, editor: GraphEditor, training: bool) -> Target:
        """What a quantizer may know of the tensor that stands there, a variable's node."""
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


def find_uses(editor: GraphEditor, request: Request) -> Iterator[Use]:
    """The inputs that a request reaches, in program order."""
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
            if convert_dtype(editor.input_node(op, name).var().dtype()) in _FLOATS:
                role = WEIGHT if name in constants else ACTIVATION
                weight = constants[weights[0]] if weights else ""
                owner = op if layer else None
                yield Use(Socket(op, slot, i), role, owner, weight, constants.get(name, ""))


def gradient_uses(editor: GraphEditor, uses: list[Use]) -> Iterator[Use]:
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
                    yield Use(Socket(grad, slot, 0), GRADIENT, use.layer, use.weight, "")


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
    if kind in _TRANSPOSED and rank >= 2:
        turned = bool(_attribute(op, _TRANSPOSED[kind][slot], False))
        return rank - 2 if turned == (slot == "Y") else rank - 1
    return None


__all__ = ["Use", "find_uses", "gradient_uses"]
