"""``convert``: a trained, quantized test program -> a program for inference."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import paddle
from paddleslim.quant import quanter

from .. import compat
from ..graph.constants import constant_without_inputs
from ..graph.quantizable import quantizable_inputs
from ..scope import write
from .evaluate import evaluate
from .lower import lowered
from .onednn import use_onednn
from .request import NoPass, check_config, replaced, warnings_only

_upstream_convert = quanter.convert  # also where this package stands in its place

QUANTIZED = "quantization_type"  # of an operator whose inputs are quantized
BUILT_IN = (".quantized.dequantized", ".quant_dequant")
OBSERVER = "moving_average_abs_max_scale"
OBSERVER_PASSES = ("AddQuantDequantForInferencePass", "OutScaleForInferencePass")
FAKE_QUANTIZE = (
    "fake_quantize_abs_max",
    "fake_quantize_range_abs_max",
    "fake_quantize_moving_average_abs_max",
    "fake_channel_wise_quantize_abs_max",
)


def convert(
    program: paddle.static.Program,
    place: Any,
    config: dict[str, Any] | None = None,
    scope: Any = None,
    save_int8: bool = False,
) -> Any:
    """Turn a trained test program into one for ``paddle.static.save_inference_model``.

    Arguments and meaning are those of ``paddleslim.quant.convert`` 2.6.0. A program with custom
    quantizers, which PaddleSlim cannot convert, gets their quantized weights stored in the place
    of the float ones; activations keep their quantizers, in Paddle's own operators. Its int8
    program is the one that ``deploy.write_paddle`` writes, for Paddle Inference's oneDNN int8 mode.

    Args:
        program: test program that :func:`paddle_custom_quant.quant_aware` returned.
        place: where values are computed and stored.
        config: the settings that ``quant_aware`` was given.
        scope: holds the trained values; the global scope by default. What the results read is
            added to it, of the int8 program of custom quantizers with names that begin with
            ``int8.``.
        save_int8: also return a program with int8 weights.

    Returns:
        The program, or ``(program, int8_program)`` with ``save_int8``.

    Raises:
        TypeError: ``program`` is no program of the old kind.
        ValueError: the program trains, is not quantized, or, with ``save_int8``, cannot be frozen
            (:func:`.deploy.freeze`); the message says why.
    """
    compat.require_legacy_static(program)
    ops = program.global_block().ops
    if not any(op.has_attr(QUANTIZED) for op in ops):
        raise ValueError("this program is not quantized: pass what quant_aware returned.")
    if any(op.type.endswith("_grad") for op in ops):
        raise ValueError(
            "this is a training program: pass the test program, quantized with for_test=True."
        )
    program = lowered(program)
    ops = program.global_block().ops
    quantized = [op for op in ops if op.has_attr(QUANTIZED)]
    scope = scope or paddle.static.global_scope()
    sources = {op.output("Out")[0]: op.input("X")[0] for op in ops if op.type in FAKE_QUANTIZE}
    if all(_is_built_in(op, sources) for op in quantized):
        return _convert_built_in(program, place, config, scope, save_int8)
    baked, values = bake(program, place, scope)
    if save_int8:
        from ..deploy.int8_program import int8_program  # which needs this module

        integers = int8_program(program, place, scope)
    for name, value in values.items():
        write(scope, place, name, value)
    return (baked, integers) if save_int8 else baked


def _is_built_in(op: Any, sources: dict[str, str]) -> bool:
    """Whether PaddleSlim's ``convert`` understands the quantizers in front of this operator."""
    for _, _, name in quantizable_inputs(op.desc):
        if not name.endswith(BUILT_IN):
            return False
        # PaddleSlim finds the older operators' scales by the name of the tensor they read.
        quantized = name[: -len(".dequantized")]
        stem = quantized[: -len(".quantized")]
        if sources.get(quantized, stem) != stem:
            return False
    return True


def _convert_built_in(
    program: Any, place: Any, config: dict[str, Any] | None, scope: Any, save_int8: bool
) -> Any:
    observed = any(op.type == OBSERVER for op in program.global_block().ops)
    passes = {} if observed else dict.fromkeys(OBSERVER_PASSES, NoPass)
    source = program.clone(for_test=False)
    use_onednn(source, enabled=False)  # an inference engine chooses its kernels itself
    with replaced(quanter, passes), warnings_only():
        return _upstream_convert(source, place, check_config(config), scope, save_int8)


def bake(program: Any, place: Any, scope: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Compute what weights alone determine, once: quantized weights become parameters.

    Args:
        program: a quantized test program without C++ operators; it stays as it is.
        place: where values are computed.
        scope: holds the trained values; nothing is written to it.

    Returns:
        A copy that reads the results as parameters, and the results by name.
    """
    makers = _constant_operators(program)
    quantized = [op for op in program.global_block().ops if op.has_attr(QUANTIZED)]
    targets = sorted({n for op in quantized for n in op.input_arg_names if n in makers})
    values = evaluate(program, targets, place, scope)
    baked = program.clone(for_test=False)
    use_onednn(baked, enabled=False)  # an inference engine chooses its kernels itself
    block = baked.global_block()
    for name in targets:
        block.var(name).persistable = True
        block.var(name).stop_gradient = True
    _remove(block, set(targets), set(makers))
    return baked, values


def _constant_operators(program: Any) -> dict[str, Any]:
    """Variables that parameters alone determine -> the operator that computes them."""
    block = program.global_block()
    written = {name for op in block.ops for name in op.output_arg_names}
    known = {v.name for v in block.vars.values() if v.persistable and v.name not in written}
    makers: dict[str, Any] = {}
    for op in block.ops:
        names = [name for name in op.input_arg_names if name]
        constant = bool(names) or constant_without_inputs(op.type)
        if constant and all(name in known or name in makers for name in names):
            makers.update(dict.fromkeys(op.output_arg_names, op))
        else:
            for name in op.output_arg_names:
                makers.pop(name, None)
    return makers


def _remove(block: Any, targets: set[str], constants: set[str]) -> None:
    """Remove the operators that made the targets, and those that only these needed."""
    readers = Counter(name for op in block.ops for name in op.input_arg_names)
    freed = set(targets)
    for index in reversed(range(len(block.ops))):
        op = block.ops[index]
        outputs = set(op.output_arg_names)
        if not (outputs <= constants and outputs & freed):
            continue
        if outputs & targets or not any(readers[name] for name in outputs):
            readers.subtract(op.input_arg_names)
            freed.update(op.input_arg_names)
            block._remove_op(index)


__all__ = ["bake", "convert"]
