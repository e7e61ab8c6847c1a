"""PaddleSlim's built-in quantization types, as quantizers: same operators, same names.

They quantize what the caller gives no function for, and PaddleSlim's ``convert`` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from .. import compat
from ..quantizers.base import Parameter, Quantizer, Sample
from ..target import ACTIVATION, Target
from .rules import Rule

START_SCALE = 0.001  # PaddleSlim's value before any data was seen


@dataclass(frozen=True)
class BuiltIn(Quantizer):
    """One of PaddleSlim's types.

    Attributes:
        kind: ``abs_max``, ``channel_wise_abs_max``, ``range_abs_max`` or
            ``moving_average_abs_max``.
        bits: 1 to 16.
        onnx_format: the ``quantize_linear`` / ``dequantize_linear`` pair, else the older operators.
        fused: the older operators' fused form, which PaddleSlim uses for operators without weights.
        update: running scales are updated.
        moving_rate: decay of the moving average.
        window: window of ``range_abs_max``, in steps.
    """

    kind: str
    bits: int = 8
    signed: bool = True
    onnx_format: bool = True
    fused: bool = False
    update: bool = True
    moving_rate: float = 0.9
    window: int = 10000
    passes_gradient = True

    @property
    def method(self) -> str:
        """The suffix that PaddleSlim gives the quantized copy."""
        fused = self.fused and not self.onnx_format
        return "quant_dequant" if fused else "quantized.dequantized"

    @property
    def per_channel(self) -> bool:
        """One scale for each output channel."""
        return self.kind == "channel_wise_abs_max"

    def _axis(self, target: Target) -> int:
        if not self.per_channel:
            return -1
        if target.channel_axis is None:
            raise ValueError(
                f"channel_wise_abs_max: the channel axis of {target.name!r} is unknown; "
                f"use 'abs_max' for it."
            )
        return target.channel_axis

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """Scale and its running state, under PaddleSlim's names."""
        size = target.shape[self._axis(target)] if self.per_channel else 1
        stem = f"{target.name}.quant_dequant" if self.method == "quant_dequant" else target.name

        def state(name: str, value: Any, dtype: str = target.dtype) -> Parameter:
            return Parameter(np.asarray(value, dtype=dtype), trainable=False, name=name)

        start = START_SCALE
        if sample is not None and target.role == ACTIVATION:
            start = max(map(abs, sample.range or (sample.values.min(), sample.values.max())))
        zero = self.kind.endswith("abs_max") and not self.onnx_format and not self._running
        held = {"scale": state(f"{stem}@scale", np.full([size], 0.0 if zero else start))}
        if self.onnx_format:
            held["zero"] = state(f"{target.name}.quantized@zero_point", np.zeros([size]), "int32")
            name = f"{target.name}.quantized.dequantized@zero_point"
            held["zero_out"] = state(name, np.zeros([size]), "int32")
        if self.update and (self.onnx_format or self.kind == "moving_average_abs_max"):
            held["state"] = state(f"{stem}.quantized@state", [1.0])
            held["accum"] = state(f"{stem}.quantized@accum", [1.0])
        elif self.update and self.kind == "range_abs_max":
            held["scales"] = state(f"{stem}.quantized@scales", np.zeros([self.window]))
            held["step"] = state(f"{stem}.quantized@step", [0], "int64")
        return held

    @property
    def _running(self) -> bool:
        return self.kind in ("moving_average_abs_max", "range_abs_max")

    def quantize(self, x: Any, target: Target, **held: Any) -> Any:
        """Append PaddleSlim's operators."""
        block = paddle.static.default_main_program().global_block()

        def variable(name: str) -> Any:
            return block.create_var(name=name, shape=x.shape, dtype=x.dtype)

        if self.method == "quant_dequant":
            y = variable(f"{target.name}.quant_dequant")
            kind = "fake_quantize_dequantize_moving_average_abs_max"
            self._append(block, kind, x, y, held, bit_length=self.bits)
            return y
        q = variable(f"{target.name}.quantized")
        y = variable(f"{target.name}.quantized.dequantized")
        if self.onnx_format:
            self._append_linear(block, x, q, y, target, held)
        else:
            self._append_fake(block, x, q, y, target, held)
        return y

    def _append_linear(
        self, block: Any, x: Any, q: Any, y: Any, target: Target, held: dict[str, Any]
    ) -> None:
        attributes = {
            "quant_axis": self._axis(target),
            "bit_length": self.bits,
            **compat.integer_range(self.bits),
        }
        inputs = {"X": x, "Scale": held["scale"], "ZeroPoint": held["zero"]}
        outputs, training = {"Y": q}, {}
        if self.update:
            inputs.update(InState=held["state"], InAccum=held["accum"])
            outputs.update(OutScale=held["scale"], OutState=held["state"], OutAccum=held["accum"])
            training = {"is_test": False, "moving_rate": self.moving_rate}
        block.append_op(
            type="quantize_linear", inputs=inputs, outputs=outputs, attrs={**attributes, **training}
        )
        block.append_op(
            type="dequantize_linear",
            inputs={"X": q, "Scale": held["scale"], "ZeroPoint": held["zero_out"]},
            outputs={"Y": y},
            attrs=attributes,
        )

    def _append_fake(
        self, block: Any, x: Any, q: Any, y: Any, target: Target, held: dict[str, Any]
    ) -> None:
        if self.per_channel:
            axis = {"quant_axis": self._axis(target)}
            kind = "fake_channel_wise_quantize_abs_max"
            self._append(block, kind, x, q, held, bit_length=self.bits, **axis)
            block.append_op(
                type="fake_channel_wise_dequantize_max_abs",
                inputs={"X": q, "Scales": [held["scale"]]},
                outputs={"Out": y},
                attrs={"quant_bits": [self.bits], **axis},
            )
            return
        self._append(block, f"fake_quantize_{self.kind}", x, q, held, bit_length=self.bits)
        block.append_op(
            type="fake_dequantize_max_abs",
            inputs={"X": q, "Scale": held["scale"]},
            outputs={"Out": y},
            attrs={"max_range": float(2 ** (self.bits - 1) - 1)},
        )

    def _append(
        self, block: Any, kind: str, x: Any, y: Any, held: dict[str, Any], **attributes: Any
    ) -> None:
        inputs, outputs = {"X": x}, {"Out": y, "OutScale": held["scale"]}
        if self._running or self.method == "quant_dequant":
            inputs["InScale"] = held["scale"]
            attributes["is_test"] = not self.update
        if "state" in held:
            inputs.update(InState=held["state"], InAccum=held["accum"])
            outputs.update(OutState=held["state"], OutAccum=held["accum"])
            attributes["moving_rate"] = self.moving_rate
        if self.kind == "range_abs_max":
            attributes["window_size"] = self.window
            if self.update:
                block.append_op(
                    type="increment",
                    inputs={"X": held["step"]},
                    outputs={"Out": held["step"]},
                    attrs={"step": 1.0},
                )
                inputs["Iter"], outputs["OutScales"] = held["step"], held["scales"]
        if self.per_channel:
            attributes["is_test"] = not self.update
        block.append_op(type=kind, inputs=inputs, outputs=outputs, attrs=attributes)


class BuiltInRule(Rule):
    """PaddleSlim's own choice: the pair in front of operators with weights, else the fused form."""

    def __init__(self, quantizer: BuiltIn) -> None:
        self._pair = quantizer
        self._fused = BuiltIn(
            kind="moving_average_abs_max",
            bits=quantizer.bits,
            onnx_format=quantizer.onnx_format,
            fused=True,
            update=quantizer.update,
            moving_rate=quantizer.moving_rate,
        )

    def choose(self, target: Target) -> Quantizer | None:
        """By whether the reader has a weight."""
        pair = self._pair.onnx_format or target.readers[0].weight
        return self._pair if pair else self._fused
