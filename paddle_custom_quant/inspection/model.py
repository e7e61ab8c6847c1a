"""A program as plain data: what every other file of this room reads.

A program in memory and a saved one take the same way: through the bytes of their protobuf message,
parsed in Python, so that a damaged file can raise an error and never end the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from paddle.base.proto import framework_pb2 as _proto

proto: Any = _proto  # its classes are made while it is imported

FORWARD, BACKWARD, OPTIMIZER = "forward", "backward", "optimizer"
EMPTY = "@EMPTY@"
CHECKPOINT = "checkpoint"  # kind of a model that holds values only
_ROLE_BACKWARD, _ROLE_OPTIMIZER = 0x1, 0x2 | 0x10  # updates and learning rates
_CALLSTACK = "op_callstack"  # names files of the machine that wrote the model

# Field of the attribute message that holds the value, by the attribute's type.
_FIELDS = (
    "i", "f", "s", "ints", "floats", "strings", "b", "bools", "block_idx", "l", "blocks_idx",
    "longs", "float64s", "var_name", "vars_name", "float64", "scalar", "scalars",
)  # fmt: skip
DTYPES = {
    0: "bool", 1: "int16", 2: "int32", 3: "int64", 4: "float16", 5: "float32", 6: "float64",
    19: "size_t", 20: "uint8", 21: "int8", 22: "bfloat16", 23: "complex64", 24: "complex128",
    32: "float8_e4m3fn", 33: "float8_e5m2",
}  # fmt: skip
_LOD_TENSOR, _SELECTED_ROWS, _TENSOR_ARRAY = 7, 8, 13
# Paddle 3 has another name for this field of the same number.
_DENSE = proto.VarType.DESCRIPTOR.fields_by_number[3].name
ITEM_BYTES = {"size_t": 8, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}


class ModelError(ValueError):
    """A model that cannot be read; the message is one line that says what is wrong."""


@dataclass(frozen=True)
class Variable:
    """A variable of a program.

    Attributes:
        name: its name.
        shape: dimensions, -1 where unknown until run time; ``None`` if it is no tensor.
        dtype: such as ``"float32"``, ``""`` if it is no tensor.
        persistable: it outlives a run: a parameter or a state.
        parameter: it is trained, or was.
        stop_gradient: no gradient flows through it.
        fed: the caller gives its value.
    """

    name: str
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    persistable: bool = False
    parameter: bool = False
    stop_gradient: bool = False
    fed: bool = False

    @property
    def elements(self) -> int:
        """Number of values, 0 where the shape is unknown."""
        known = self.shape is not None and all(size >= 0 for size in self.shape)
        return int(np.prod(self.shape or (1,), dtype=object)) if known else 0

    @property
    def bytes(self) -> int:
        """Size in memory, 0 where the shape is unknown."""
        if not self.dtype:
            return 0
        item = ITEM_BYTES.get(self.dtype) or np.dtype(self.dtype).itemsize
        return self.elements * item


@dataclass(frozen=True)
class Operator:
    """An operator: type, slots with variable names, attributes, number of its block."""

    kind: str
    inputs: dict[str, list[str]]
    outputs: dict[str, list[str]]
    attributes: dict[str, Any] = field(repr=False)
    block: int = 0

    @cached_property
    def reads(self) -> list[str]:
        """Names it reads."""
        return [n for names in self.inputs.values() for n in names if n and n != EMPTY]

    @cached_property
    def writes(self) -> list[str]:
        """Names it writes."""
        return [n for names in self.outputs.values() for n in names if n and n != EMPTY]

    @property
    def part(self) -> str:
        """``forward``, ``backward`` or ``optimizer``."""
        role = int(self.attributes.get("op_role", 0))
        if role & _ROLE_OPTIMIZER:
            return OPTIMIZER
        return BACKWARD if role & _ROLE_BACKWARD else FORWARD

    @property
    def scope(self) -> str:
        """Its name scope without slashes at the ends."""
        return str(self.attributes.get("op_namescope", "")).strip("/")

    def __str__(self) -> str:
        return f"{self.kind} -> {(self.writes or ['nothing'])[0]}"


@dataclass
class Model:
    """A program with what is known of its parameters.

    Attributes:
        source: where it comes from: a path, or ``"program"``.
        kind: such as ``"program"``, ``"inference model"`` or ``"checkpoint"``.
        version: the Paddle that wrote it, such as ``"3.3.1"``; ``""`` if it does not say.
        operators: of all blocks, in order; the main block's first.
        variables: by name.
        values: parameters by name; lacks those whose values are not at hand.
        files: bytes on disk by file name.
    """

    source: str
    kind: str
    version: str
    operators: list[Operator]
    variables: dict[str, Variable]
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)

    @cached_property
    def writers(self) -> dict[str, Operator]:
        """The operator of the main block that first writes each variable."""
        found: dict[str, Operator] = {}
        for op in self.operators:
            if not op.block:
                for name in op.writes:
                    found.setdefault(name, op)
        return found

    @cached_property
    def readers(self) -> dict[str, list[Operator]]:
        """The operators that read each variable."""
        found: dict[str, list[Operator]] = {}
        for op in self.operators:
            for name in dict.fromkeys(op.reads):
                found.setdefault(name, []).append(op)
        return found


def from_program(program: Any, values: Mapping[str, np.ndarray]) -> Model:
    """A program in memory as plain data."""
    return parse(program.desc.serialize_to_string(), "program", "program", values)


def parse(
    content: bytes, source: str, kind: str, values: Mapping[str, np.ndarray] | None = None
) -> Model:
    """Parse the bytes of a program.

    Raises:
        ModelError: they are no program.
    """
    desc = proto.ProgramDesc()
    try:
        desc.ParseFromString(content)
    except DecodeError:
        raise ModelError(f"{source}: not a Paddle program, or damaged.") from None
    if not desc.blocks:
        raise ModelError(f"{source}: not a Paddle program (it holds no operators).")
    try:
        operators = [_operator(op, i) for i, block in enumerate(desc.blocks) for op in block.ops]
        variables = [_variable(v) for block in reversed(desc.blocks) for v in block.vars]
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise ModelError(f"{source}: a damaged Paddle program ({error}).") from None
    version = _version(desc.version.version)
    held = {v.name: v for v in variables}
    return Model(source, kind, version, operators, held, {} if values is None else values)


def _version(number: int) -> str:
    return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}" if number > 0 else ""


def _operator(desc: Any, block: int) -> Operator:
    return Operator(
        _text(desc.type),
        {_text(s.parameter): [*map(_text, s.arguments)] for s in desc.inputs if s.arguments},
        {_text(s.parameter): [*map(_text, s.arguments)] for s in desc.outputs if s.arguments},
        {_text(a.name): _attribute(a) for a in desc.attrs if a.name != _CALLSTACK},
        block,
    )


def _text(name: Any) -> str:
    """A name, which protobuf hands over as bytes where it is no text."""
    if isinstance(name, str):
        return name
    raise ValueError(f"the name {name!r} is not text")


def _attribute(desc: Any) -> Any:
    value = getattr(desc, _FIELDS[desc.type])
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (bool, int, float, str)):
        return value
    if desc.type >= _FIELDS.index("scalar"):
        return str(value).strip()
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]


def _variable(desc: Any) -> Variable:
    kind = desc.type
    tensor: Any = None
    if kind.type == _LOD_TENSOR:
        tensor = getattr(kind, _DENSE).tensor
    elif kind.type == _SELECTED_ROWS:
        tensor = kind.selected_rows
    elif kind.type == _TENSOR_ARRAY:
        tensor = kind.tensor_array.tensor
    return Variable(
        _text(desc.name),
        None if tensor is None else tuple(tensor.dims),
        "" if tensor is None else DTYPES.get(tensor.data_type, ""),
        desc.persistable,
        desc.is_parameter,
        desc.stop_gradient,
        desc.need_check_feed,
    )


__all__ = [
    "BACKWARD", "CHECKPOINT", "FORWARD", "OPTIMIZER", "Model", "ModelError", "Operator", "Variable",
]  # fmt: skip
