"""Find the batch norms of a program that can be folded, and say why others cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
_LINEAR = ("matmul_v2", "mul")
_LAYER_SLOTS = {"matmul_v2": ("X", "Y", "Out"), "mul": ("X", "Y", "Out")}
_PARAMETERS = ("Scale", "Bias", "Mean", "Variance")


@dataclass(frozen=True)
class Left:
    """A batch norm that stays as it is.

    Attributes:
        tensor: what it writes.
        reason: why.
    """

    tensor: str
    reason: str


@dataclass(frozen=True)
class Pair:
    """A layer and the batch norm behind it.

    Attributes:
        layer: the operator with the weight.
        addition: the operator that adds the layer's bias, if it has one.
        reshape: the operator that shapes the bias for it, if there is one.
        norm: the batch norm.
    """

    layer: Any
    addition: Any
    reshape: Any
    norm: Any

    @property
    def input(self) -> str:
        """What the layer reads."""
        return str(self.layer.input(self._slots[0])[0])

    @property
    def weight_slot(self) -> str:
        """The layer's slot for its weight."""
        return self._slots[1]

    @property
    def weight(self) -> str:
        """The layer's weight."""
        return str(self.layer.input(self.weight_slot)[0])

    @property
    def output_slot(self) -> str:
        """The layer's slot for its result."""
        return self._slots[2]

    @property
    def layer_output(self) -> str:
        """What the layer writes."""
        return str(self.layer.output(self.output_slot)[0])

    @property
    def bias(self) -> str | None:
        """The layer's bias."""
        if self.reshape is not None:
            return str(self.reshape.input("X")[0])
        return str(self.addition.input("Y")[0]) if self.addition is not None else None

    @property
    def after_layer(self) -> list[Any]:
        """The operators behind the layer, the batch norm last."""
        return [op for op in (self.reshape, self.addition, self.norm) if op is not None]

    @property
    def output(self) -> str:
        """What the batch norm writes."""
        return str(self.norm.output("Y")[0])

    @property
    def weight_axis(self) -> int:
        """The axis of output channels in the weight."""
        if self.layer.type in _CONVOLUTIONS:
            return 0
        return 0 if self.layer.type == "matmul_v2" and self.layer.attr("trans_y") else 1

    @property
    def reduced(self) -> list[int]:
        """The axes that statistics are taken over."""
        return [0, 2, 3] if self.layer.type in _CONVOLUTIONS else [0]

    @property
    def training(self) -> bool:
        """The batch norm takes the statistics of the batch."""
        return not (self.norm.attr("is_test") or self.norm.attr("use_global_stats"))

    @property
    def _slots(self) -> tuple[str, str, str]:
        return _LAYER_SLOTS.get(self.layer.type, ("Input", "Filter", "Output"))


def find_pairs(program: Any) -> tuple[list[Pair], list[Left]]:
    """The batch norms that can be folded, and the others with the reason."""
    block = program.global_block()
    writers = {name: op for op in block.ops for name in op.output_arg_names}
    readers: dict[str, list[Any]] = {}
    for op in block.ops:
        for name in set(op.input_arg_names):
            readers.setdefault(name, []).append(op)
    pairs, left = [], []
    for norm in block.ops:
        if norm.type == "batch_norm":
            found = _pair(norm, block, writers, readers)
            if isinstance(found, Pair):
                pairs.append(found)
            else:
                left.append(Left(norm.output("Y")[0], found))
    return pairs, left


def _pair(norm: Any, block: Any, writers: dict[str, Any], readers: dict[str, Any]) -> Pair | str:
    source = norm.input("X")[0]
    layer, addition, reshape = writers.get(source), None, None
    if layer is not None and layer.type == "elementwise_add":
        reshape = writers.get(layer.input("Y")[0])
        before = writers.get(layer.input("X")[0])
        if before is not None and _adds_bias(layer, reshape, before, block):
            addition, layer = layer, before
    if layer is None or layer.type not in (*_CONVOLUTIONS, *_LINEAR):
        kind = layer.type if layer is not None else "an input of the program"
        return f"{kind} stands before it, no convolution or linear layer"
    if layer.type in _LINEAR and not _is_linear(layer, block):
        return f"the {layer.type} before it is no linear layer on a matrix of samples"
    pair = Pair(layer, addition, reshape, norm)
    if not block.var(pair.weight).persistable:
        return f"the weight of the {layer.type} before it is computed"
    for name in (source, pair.layer_output):
        others = [op.type for op in readers[name] if op is not norm and op is not addition]
        if others:
            return f"its input {name!r} has another reader, {others[0]}"
    if _channels_last(norm, layer):
        return "its channels are last (NHWC)"
    if "Bias" in layer.input_names and layer.input("Bias"):
        return f"the {layer.type} before it adds its bias itself"
    own = {id(op) for op in (layer, *pair.after_layer)}
    held = [pair.weight, *([pair.bias] if pair.bias else []), *_shaped(reshape)]
    held += [norm.input(slot)[0] for slot in _PARAMETERS]
    for name in held:
        if any(id(op) not in own for op in readers[name]):
            return f"{name!r} is shared with another operator"
    return pair


def _adds_bias(op: Any, reshape: Any, layer: Any, block: Any) -> bool:
    """Whether one number is added to each channel of what the layer writes."""
    if reshape is not None:
        shape = list(block.var(reshape.output("Out")[0]).shape)
        if reshape.type != "reshape2" or len(shape) != 4 or [shape[0], *shape[2:]] != [1, 1, 1]:
            return False
    elif op.attr("axis") not in ((1,) if layer.type in _CONVOLUTIONS else (-1, 1)):
        return False
    bias = block.var((op.input("Y") if reshape is None else reshape.input("X"))[0])
    return bool(bias.persistable and len(bias.shape) == 1)


def _shaped(reshape: Any) -> list[str]:
    return [] if reshape is None else list(reshape.output("Out"))


def _is_linear(op: Any, block: Any) -> bool:
    slots = _LAYER_SLOTS[op.type]
    shapes = [block.var(op.input(slot)[0]).shape for slot in slots[:2]]
    plain = not op.attr("trans_x") if op.type == "matmul_v2" else op.attr("x_num_col_dims") == 1
    return plain and [len(shape) for shape in shapes] == [2, 2]


def _channels_last(norm: Any, layer: Any) -> bool:
    formats = [norm.attr("data_layout")]
    if layer.type in _CONVOLUTIONS:
        formats.append(layer.attr("data_format"))
    return "NHWC" in formats


__all__ = ["Left", "Pair", "find_pairs"]
