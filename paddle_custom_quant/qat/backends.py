"""Hardware settings as data: what an engine quantizes, and in which form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..quantizers import AbsMax, MovingAverageAbsMax, Quantizer
from ..quantizers.base import check_bits
from ..target import Target
from .additions import fused_operands
from .forms import activation_quantizer, formed, method, named, weight_quantizer
from .rules import FirstLast, Rule
from .sign import never_negative

_LAYERS = ("conv2d", "depthwise_conv2d", "mul", "matmul", "matmul_v2")
_POOLING = ("pool2d",)
# What computes with its inputs. Batch norm and activation functions run in the layer before them;
# what only moves values takes them as they are.
_EVERY = (
    "pool2d", "concat", "elementwise_mul", "elementwise_sub", "reduce_mean", "nearest_interp_v2",
    "bilinear_interp_v2",
)  # fmt: skip


@dataclass(frozen=True)
class Backend:
    """One hardware setting. Activations have one scale a tensor everywhere.

    Attributes:
        name: what :func:`backend` finds it by.
        symmetric: zero is in the middle of a grid (or at the bottom of an unsigned one), for
            weights and activations; otherwise a whole zero point may stand anywhere.
        per_channel: weights have a scale for each output channel, otherwise one a tensor.
        power_of_two: scales are powers of two.
        folds_batch_norm: batch norm is folded into the layer before it
            (:func:`paddle_custom_quant.fold_batch_norm`).
        additions: how many operands of a residual addition are quantized: 0, 1 (the other is left
            to the convolution that it is fused into) or 2.
        others: operator types whose inputs are quantized beside those of layers and additions.
        integers: an engine is to run it; if not, methods stay as their papers have them.
    """

    name: str
    symmetric: bool
    per_channel: bool
    power_of_two: bool
    folds_batch_norm: bool
    additions: int
    others: tuple[str, ...] = ()
    integers: bool = True

    @property
    def op_types(self) -> list[str]:
        """PaddleSlim's ``quantize_op_types``."""
        additions = ["elementwise_add"] if self.additions else []
        return [*_LAYERS, *additions, *self.others]

    def reason_against(self, name: str) -> str:
        """Why this setting cannot take a method; empty if it can.

        Raises:
            ValueError: no method has this name.
        """
        held = method(name)
        if self.integers and held.without_grid:
            return f"{name} is not deployable on {self.name} because {held.without_grid}."
        if self.integers and self.symmetric and held.zero_point:
            return (
                f"{name} is not deployable on {self.name} because {held.zero_point}, and "
                f"{self.name} is symmetric."
            )
        return ""

    def arguments(
        self,
        name: str,
        bits: int,
        program: Any,
        *,
        activation_bits: int | None = None,
        ends_bits: int = 8,
    ) -> dict[str, Any]:
        """What :func:`paddle_custom_quant.quant_aware` is to be called with.

        The first and the last layer, with what they read, are measured (``AbsMax``,
        ``MovingAverageAbsMax``) and signed, whatever the method. Other activations are unsigned
        where the program cannot make them negative.

        Args:
            name: a method, such as ``"lsq"``: a key of ``paddle_custom_quant.qat.forms.METHODS``.
            bits: of weights, and of activations unless ``activation_bits`` says otherwise.
            program: the float test program, with batch norm folded if it is to be.
            activation_bits: of activations.
            ends_bits: of the first and the last layer.

        Returns:
            ``config``, ``weight_quantize_func`` and ``act_quantize_func``.

        Raises:
            TypeError: bits that are no integer.
            ValueError: no method has this name, the setting cannot take it, or it does not have
                these bits.
        """
        reason = self.reason_against(name)
        if reason:
            raise ValueError(reason)
        activation_bits = bits if activation_bits is None else activation_bits
        for count in (bits, ends_bits, activation_bits):
            check_bits(count)
        weight = weight_quantizer(name, bits, self)
        signed, unsigned = (
            activation_quantizer(name, activation_bits, sign, self) for sign in (True, False)
        )
        weight_end = formed(AbsMax(ends_bits, per_channel=self.per_channel), self)
        by_sign = _BySign(program, signed, unsigned)
        inner = FirstLast(formed(MovingAverageAbsMax(ends_bits), self), by_sign)
        return {
            "config": {"quantize_op_types": self.op_types},
            "weight_quantize_func": FirstLast(weight_end, weight),
            "act_quantize_func": _InNet(program, self.additions, inner),
        }


class _BySign(Rule):
    """One quantizer for tensors that can be negative, another for those that cannot."""

    def __init__(self, program: Any, signed: Quantizer, unsigned: Quantizer) -> None:
        self._program, self._signed, self._unsigned = program, signed, unsigned

    def choose(self, target: Target) -> Quantizer:
        """By what the program does before the tensor."""
        return self._unsigned if never_negative(self._program, target.name) else self._signed


class _InNet(Rule):
    """Another rule for what the net reads, but for operands fused into the convolution before.

    A training program also holds a loss, whose operators no engine runs.
    """

    def __init__(self, program: Any, additions: int, inner: Rule) -> None:
        self._net = {name for op in program.global_block().ops for name in op.output_arg_names}
        self._fused = fused_operands(program) if additions == 1 else {}
        self._inner = inner

    def choose(self, target: Target) -> Quantizer | None:
        """``None`` for a fused operand and outside the net."""
        reader = target.readers[0]
        fused = self._fused.get(reader.output) == reader.slot
        return self._inner.choose(target) if reader.output in self._net and not fused else None


# name: symmetric, per channel, power of two, folds batch norm, operands of additions, others
BACKENDS: dict[str, Backend] = {
    held.name: held
    for held in (
        Backend("academic", True, False, False, False, 0, (), integers=False),
        Backend("tensorrt", True, True, False, True, 1, _POOLING),
        Backend("acl", False, True, False, True, 0),
        Backend("tvm", True, False, True, True, 2, _EVERY),
        Backend("snpe", False, False, False, True, 2, _EVERY),
        Backend("fbgemm", False, True, False, True, 2, _EVERY),
        # As measured: what runs on integers there and gives the trained program's results. oneDNN
        # rounds what an average pool returns to the steps of what it reads; OpenVINO adds in the
        # convolution what is left to it; ONNX Runtime adds integers alone.
        Backend("onednn", True, True, False, True, 1),
        Backend("onnxruntime", True, True, False, True, 2, _POOLING),
        Backend("openvino", True, True, False, True, 1, _POOLING),
    )
}


def backend(name: str) -> Backend:
    """The hardware setting of this name.

    Names: academic, tensorrt, acl, tvm, snpe, fbgemm, onednn, onnxruntime, openvino. All but the
    last three are those of arXiv 2111.03759, section 3.

    Raises:
        ValueError: there is none; near names are offered.
    """
    return named("setting", name, BACKENDS)


__all__ = ["BACKENDS", "Backend", "backend"]
