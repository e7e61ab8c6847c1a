"""``quant_aware`` as PaddleSlim has it, on an engine that works."""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Union

import paddle
from paddleslim.quant import quanter

from .. import compat
from . import saturation
from .insertion import Environment, Inserted
from .onednn import is_cpu, use_onednn
from .optimizer import program_schedule
from .request import Functions, build_pass, check_config, installed

log = logging.getLogger("paddle_custom_quant")
_lock = threading.RLock()
_upstream_quant_aware = quanter.quant_aware

PlaceLike = Union[str, Any]


def quant_aware(
    program: paddle.static.Program,
    place: PlaceLike,
    config: dict[str, Any] | None = None,
    scope: Any = None,
    for_test: bool = False,
    weight_quantize_func: Any = None,
    act_quantize_func: Any = None,
    weight_preprocess_func: Any = None,
    act_preprocess_func: Any = None,
    optimizer_func: Callable[[], Any] | None = None,
    executor: Any = None,
    return_program: bool = False,
    calib_config: dict[str, Any] | None = None,
    draw_graph: bool = False,
    return_scale_dict: bool = False,
    scale_dict: dict[str, Any] | None = None,
    model_type: str | None = None,
    pattern_ops: dict[str, Any] | None = None,
    *,
    grad_quantize_func: Any = None,
    output_scales: bool = False,
    onednn: bool = True,
) -> Any:
    """Insert quantizers into a program, for training or for test.

    Arguments and meaning are those of ``paddleslim.quant.quant_aware`` 2.6.0. Where it takes a
    function, a function ``f(x) -> y``, a quantizer of :mod:`paddle_custom_quant.quantizers` or a
    rule (``FirstLast``, ``PerLayer``) can be given.

    Args:
        program: program of the old kind, with or without its backward pass. It is not changed.
        place: where start values are computed, such as ``paddle.CPUPlace()``.
        config: PaddleSlim's settings, such as ``{"weight_bits": 4, "quantize_op_types": [...]}``.
        scope: holds the parameters; the global scope by default.
        for_test: ``program`` is a test program (``program.clone(for_test=True)``). Quantizer
            parameters that the scope holds already are kept.
        weight_quantize_func: quantizes weights; PaddleSlim's ``weight_quantize_type`` by default.
        act_quantize_func: quantizes activations; ``activation_quantize_type`` by default.
        weight_preprocess_func: runs in front of the weight quantizer.
        act_preprocess_func: runs in front of the activation quantizer.
        optimizer_func: returns the optimizer of the quantizers' parameters. Needed when a program
            with a backward pass is quantized by something that learns.
        executor: needed when a function creates parameters with a start-up program.
        return_program: return a ``Program`` for training too, not a ``CompiledProgram``.
        calib_config: as PaddleSlim.
        draw_graph: as PaddleSlim.
        return_scale_dict: return ``(program, scale_dict, model_type, pattern_ops)``.
        scale_dict: as PaddleSlim.
        model_type: as PaddleSlim.
        pattern_ops: as PaddleSlim.
        grad_quantize_func: quantizes the gradient that enters each quantized layer's backward, such
            as ``DoReFaGradient(8)``; the forward is untouched, test programs too.
        output_scales: also insert PaddleSlim's observers of operator outputs, which cost time in
            every step and which int8 engines take for quantizers.

        onednn: on a CPU, let convolutions run on oneDNN (:func:`paddle_custom_quant.use_onednn`),
            several times faster and equal to about 1e-6; ``False`` keeps Paddle's plain kernels.

    Returns:
        The quantized program (see ``return_program`` and ``return_scale_dict``).

    Raises:
        TypeError: a program of another kind, a quantizer that is none, bits that are no integer, a
            function that returns no tensor.
        ValueError: dynamic mode or Paddle 3's new program kind; bits outside 1 to 16; a function
            that returns another shape or dtype or ignores its input; a program that is quantized
            already; no ``optimizer_func`` or ``executor`` where one is needed; weights that a
            quantizer starts from and that are not in the scope; a rule that matches nothing.
    """
    compat.require_legacy_static(program)
    config = check_config(config)
    _refuse_quantized(program)
    scope = scope or paddle.static.global_scope()
    functions = Functions(
        weight_quantize_func,
        act_quantize_func,
        weight_preprocess_func,
        act_preprocess_func,
        grad_quantize_func,
    )
    environment = Environment(scope, place, executor, optimizer_func)
    engine = build_pass(config, functions, environment, for_test)
    with _lock, installed(engine, output_scales):
        # PaddleSlim marks operators of a transformer in the program it is given.
        given = program.clone() if model_type == "transformer" else program
        result = _upstream_quant_aware(
            given, place, config, scope, for_test, weight_quantize_func, act_quantize_func,
            weight_preprocess_func, act_preprocess_func, optimizer_func, executor, True,
            calib_config or {}, draw_graph, True, scale_dict, model_type, pattern_ops,
        )  # fmt: skip
    quantized, *extra = result
    inserted = engine.inserted
    if engine.left_in_float:
        log.warning(
            "operators inside a while or cond block are left in float: %s",
            ", ".join(engine.left_in_float),
        )
    if inserted is not None:
        _finish(program, quantized, inserted, scope, place)
        if not for_test:
            saturation.warn(quantized, inserted, scope, place)
    if onednn and is_cpu(place):
        use_onednn(quantized)
    if not (for_test or return_program):
        quantized = paddle.static.CompiledProgram(quantized)
    return (quantized, *extra) if return_scale_dict else quantized


def _refuse_quantized(program: paddle.static.Program) -> None:
    for op in program.global_block().ops:
        if op.has_attr("quantization_type"):
            raise ValueError(
                f"this program is quantized already (operator {op.type} -> "
                f"{op.output_arg_names[0]}): pass the float program that quant_aware was given."
            )


def _finish(
    original: Any,
    quantized: Any,
    inserted: Inserted,
    scope: Any,
    place: Any,
) -> None:
    """Give the new program what a graph does not hold: parameters' settings and schedules."""
    quantized._copy_param_info_from(original)
    quantized._copy_param_info_from(_parameter_program(inserted))
    for made, source in zip(quantized.blocks, original.blocks):
        made._set_forward_block_idx(source.forward_block_idx)
    quantized.random_seed = original.random_seed
    users = getattr(original, "lr_scheduler", None)
    schedule = program_schedule(users, inserted.schedule, scope, place)
    if schedule is not None:
        quantized.lr_scheduler = schedule
    quantized.quantization = inserted


def _parameter_program(inserted: Inserted) -> paddle.static.Program:
    program = paddle.static.Program()
    for p in inserted.parameters.values():
        if p.trainable:
            program.global_block().create_parameter(
                name=p.name,
                shape=list(p.shape),
                dtype=p.dtype,
                trainable=True,
                regularizer=p.regularizer,
                optimize_attr={"learning_rate": p.learning_rate},
            )
    return program
