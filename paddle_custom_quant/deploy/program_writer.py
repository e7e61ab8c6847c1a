"""Append the layers of a frozen model to a program of the old kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import static

from .. import compat
from ..scope import write
from .frozen import FrozenModel, Grid, IntegerWeight, Layer, quantizer_of
from .operators import OPERATORS

INT8_MAX = 127


class ProgramWriter:
    """A new program and the operators that every Paddle format needs."""

    def __init__(self, frozen: FrozenModel, scope: Any) -> None:
        self.frozen, self.scope = frozen, scope
        self.producers = frozen.producers()
        self.program = static.Program()
        self.block = self.program.global_block()
        self.place = paddle.CPUPlace()

    def _reads_integers(self, layer: Layer) -> bool:
        quantizer = quantizer_of(layer.inputs[0], self.producers)
        return bool(quantizer and quantizer.grid and fits_int8(quantizer.grid))

    def _append(
        self,
        kind: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        attributes: dict[str, Any],
    ) -> None:
        spec = OPERATORS[kind]
        writes = _fill(spec.outputs, outputs)
        for slot in spec.unused:
            writes[slot] = [f"{outputs[0]}.{slot.lower()}"]
        if kind == "batch_norm":
            writes["MeanOut"], writes["VarianceOut"] = [inputs[3]], [inputs[4]]
            attributes = {**attributes, "is_test": True, "use_global_stats": True}
        made = [name for names in writes.values() for name in names]
        for name in made:
            if not self.block.has_var(name):
                info = self.frozen.shapes.get(name)
                dtype = info.dtype if info else "float32"
                self.block.create_var(name=name, dtype=dtype, shape=info.shape if info else None)
        reads = _fill(spec.inputs, inputs)
        self.block.append_op(type=kind, inputs=reads, outputs=writes, attrs=attributes)

    def _with_bias(self, layer: Layer) -> None:
        inner = f"{layer.name}.product"
        self._append(layer.kind, layer.inputs[:2], (inner,), layer.attributes)
        axis = -1 if layer.kind == "matmul_v2" else 1
        self._append("elementwise_add", (inner, layer.inputs[2]), layer.outputs, {"axis": axis})

    def _round(self, source: str, name: str, grid: Grid) -> None:
        """More than 8 bits: no integer kernel, the formula itself."""
        step = float(grid.step[0])
        bounds = {"min": grid.qmin * step, "max": grid.qmax * step}
        self._append("clip", (source,), (f"{name}.clipped",), bounds)
        self._append("scale", (f"{name}.clipped",), (f"{name}.steps",), _times(1.0 / step))
        self.block.create_var(name=f"{name}.integers", dtype="float32")
        self.block.append_op(
            type="round",
            inputs={"X": [f"{name}.steps"]},
            outputs={"Out": [f"{name}.integers"]},
        )
        self._append("scale", (f"{name}.integers",), (name,), _times(step))

    def _weight(self, name: str, weight: IntegerWeight) -> None:
        stored = self._constant(f"{name}.int8", weight.integers)
        step = weight.grid.step.astype("float64") * INT8_MAX
        scale = self._constant(f"{name}.scale", step.astype("float32"))
        zero = self._constant(f"{name}.zero", np.zeros(step.shape, "int32"))
        axis = -1 if step.size == 1 and weight.grid.axis is None else weight.grid.axis
        self.block.create_var(name=name, dtype="float32", shape=list(weight.integers.shape))
        self.block.append_op(
            type="dequantize_linear",
            inputs={"X": [stored], "Scale": [scale], "ZeroPoint": [zero]},
            outputs={"Y": [name]},
            attrs={"quant_axis": axis, **eight_bits()},
        )

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.block.create_var(
            name=name,
            shape=list(value.shape),
            dtype=str(value.dtype),
            persistable=True,
            stop_gradient=True,
        )
        write(self.scope, self.place, name, np.ascontiguousarray(value))
        return name


def fits_int8(grid: Grid) -> bool:
    """Whether signed or unsigned 8 bits hold the integers, without a zero point.

    Unsigned ones begin at 0: Paddle Inference keeps one of a clip and the ReLU behind it.
    """
    return grid.qmin >= -128 and grid.qmax <= (255 if grid.qmin == 0 else 127)


def stored(program: Any, scope: Any, inputs: list[str], outputs: list[str]) -> tuple[bytes, bytes]:
    """What to write of a program of the old kind: the program from inputs to outputs, its values.

    Call it inside ``legacy_static()``.
    """
    block = program.global_block()
    feeds, fetches = [block.var(name) for name in inputs], [block.var(name) for name in outputs]
    with static.scope_guard(scope):
        executor = static.Executor(paddle.CPUPlace())
        content = static.serialize_program(feeds, fetches, program=program)
        values = static.serialize_persistables(feeds, fetches, executor, program=program)
    return without_origins(content), values


def without_origins(content: bytes) -> bytes:
    """Drop where in Python each operator was appended: paths, and half of a small file."""
    program = static.Program.parse_from_string(content)
    for op in program.global_block().ops:
        op.desc.remove_attr("op_callstack")
    return program.desc.serialize_to_string()


def eight_bits(signed: bool = True) -> dict[str, int]:
    """The width of ``quantize_linear`` and its counterpart; both passes to int8 want 8 bits."""
    return {"bit_length": 8, "round_type": 0, **compat.integer_range(8, signed)}


def _times(factor: float) -> dict[str, Any]:
    return {"scale": factor, "bias": 0.0, "bias_after_scale": True}


def _fill(slots: tuple[str, ...], names: tuple[str, ...]) -> dict[str, list[str]]:
    """Distribute names over slots; a slot that holds a list takes the rest."""
    filled: dict[str, list[str]] = {}
    rest = list(names)
    for slot in slots:
        if slot.endswith("*"):
            filled[slot[:-1]], rest = rest, []
        elif rest:
            filled[slot.rstrip("?")] = [rest.pop(0)]
    return filled


__all__ = ["INT8_MAX", "ProgramWriter", "eight_bits", "fits_int8", "stored"]
