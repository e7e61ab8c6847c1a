"""A tensor to quantize, described without any reference to a graph."""

from __future__ import annotations

from dataclasses import dataclass

WEIGHT = "weight"
ACTIVATION = "activation"
GRADIENT = "gradient"


@dataclass(frozen=True)
class Reader:
    """One input slot of one operator that reads the tensor.

    Attributes:
        op_type: operator type, such as ``"conv2d"``.
        slot: input slot, such as ``"Filter"``.
        index: position inside the slot (0 unless the slot holds a list).
        output: name of the operator's first output, which identifies the operator.
        weight: name of the parameter that the operator reads, ``""`` when it has none.
        scope: the operator's name scope (``"/"`` separated), ``""`` when it has none.
    """

    op_type: str
    slot: str
    index: int = 0
    output: str = ""
    weight: str = ""
    scope: str = ""


@dataclass(frozen=True)
class Target:
    """A tensor to quantize and all that a quantizer may know of it.

    Attributes:
        name: the tensor's name; the quantizer's parameters are named after it.
        shape: dimensions, -1 where unknown until run time.
        dtype: such as ``"float32"``.
        role: ``"weight"``, ``"activation"`` or ``"gradient"``.
        readers: the quantized inputs that read it, in program order.
        channel_axis: output-channel axis of a weight (0 for conv, 1 for linear and transposed
            conv), ``None`` where there is none.
        first: it belongs to the first quantized layer of the program.
        last: it belongs to the last quantized layer of the program.
        training: the program trains; running statistics are updated only then.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    role: str = ACTIVATION
    readers: tuple[Reader, ...] = ()
    channel_axis: int | None = None
    first: bool = False
    last: bool = False
    training: bool = True
