"""Layers of a quantized program by themselves: what they read and compute, and what is added."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import paddle
from paddle import static

from ..target import WEIGHT
from .placement import Placed

_CONVOLUTION, _PRODUCT = ("Input", "Filter", "Output"), ("X", "Y", "Out")
_INPUTS = {"conv2d": _CONVOLUTION, "depthwise_conv2d": _CONVOLUTION}


@dataclass(frozen=True)
class QuantizedLayer:
    """One layer with a quantized weight.

    Attributes:
        weight: the parameter.
        quantized: the quantized copy that the layer reads.
        input: what else it reads, quantized or not.
        input_shape: of one sample of that.
        output: what it writes.
        kind: operator type.
        attributes: of the operator.
        shift: the parameter that is added to (``+1``) or taken off (``-1``, a batch norm's mean)
            its output; ``""`` without one that belongs to it alone.
        sign: of that.
    """

    weight: str
    quantized: str
    input: str
    input_shape: tuple[int, ...]
    output: str
    kind: str
    attributes: dict[str, Any]
    placed: Placed
    shift: str = ""
    sign: int = 1

    @property
    def channel_axis(self) -> int:
        """Of the output."""
        return 1 if self.kind in _INPUTS else -1

    def append(self, x: Any, weight: Any) -> Any:
        """The layer on other variables, in the program that is being built."""
        first, second, out = _INPUTS.get(self.kind, _PRODUCT)
        block = static.default_main_program().global_block()
        result = block.create_var(name=paddle.utils.unique_name.generate("layer"), dtype=x.dtype)
        block.append_op(
            type=self.kind,
            inputs={first: [x], second: [weight]},
            outputs={out: [result]},
            attrs=self.attributes,
        )
        return result


def find_layers(program: Any) -> list[QuantizedLayer]:
    """The layers of a quantized test program whose weight is a quantized parameter."""
    block = program.global_block()
    makers = {name: op for op in block.ops for name in op.output_arg_names}
    readers: dict[str, list[Any]] = {}
    for op in block.ops:
        for name in dict.fromkeys(op.input_arg_names):
            readers.setdefault(name, []).append(op)
    found = []
    for placed in program.quantization.placement:
        target = placed.target
        if target.role != WEIGHT or placed.root != target.name or len(target.readers) != 1:
            continue
        op = makers[target.readers[0].output]
        first, second, out = _INPUTS.get(op.type, _PRODUCT)
        if op.input(second) != [placed.labels[-1]]:
            continue
        read, output = op.input(first)[0], op.output(out)[0]
        shift, sign = _shift(block, makers, readers, output)
        attributes = {
            name: op.attr(name)
            for name in op.attr_names
            if not name.startswith("op_") and name not in ("with_quant_attr", "use_mkldnn")
        }
        found.append(
            QuantizedLayer(
                target.name, placed.labels[-1], read, tuple(block.var(read).shape[1:]), output,
                op.type, attributes, placed, shift, sign,
            )
        )  # fmt: skip
    uses = Counter(layer.shift for layer in found)
    return [layer if uses[layer.shift] < 2 else replace(layer, shift="") for layer in found]


def _shift(
    block: Any, makers: dict[str, Any], readers: dict[str, list[Any]], output: str
) -> tuple[str, int]:
    """The parameter that is added to a tensor, or the mean that is taken off it."""
    behind = readers.get(output, [])
    if len(behind) != 1:
        return "", 1
    (op,) = behind
    if op.type == "batch_norm":
        return op.input("Mean")[0], -1
    if op.type == "elementwise_add" and op.input("X") == [output]:
        name = op.input("Y")[0]
        along = (1,) if makers[output].type in _INPUTS else (-1, 1)
        if name in makers and makers[name].type == "reshape2":
            shape = list(block.var(name).shape)
            if len(shape) != 4 or [shape[0], *shape[2:]] != [1, 1, 1]:
                return "", 1
            name = makers[name].input("X")[0]
        elif op.attr("axis") not in along:
            return "", 1
        if block.var(name).persistable and len(readers[name]) == 1:
            return name, 1
    return "", 1


__all__ = ["QuantizedLayer", "find_layers"]
