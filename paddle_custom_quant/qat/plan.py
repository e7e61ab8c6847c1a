"""What ``quant_aware`` would do to a program, as data, before anything is touched."""

from __future__ import annotations

from typing import Any

import paddle
from paddle.framework import IrGraph, core

from .. import compat
from .insertion import Environment
from .placement import Placement
from .request import Functions, build_pass, check_config


def placement(
    program: paddle.static.Program,
    config: dict[str, Any] | None = None,
    weight_quantize_func: Any = None,
    act_quantize_func: Any = None,
    weight_preprocess_func: Any = None,
    act_preprocess_func: Any = None,
) -> Placement:
    """List the tensors that :func:`paddle_custom_quant.quant_aware` would quantize, and with what.

    Arguments are those of ``quant_aware`` of the same names. The program is not changed and nothing
    is run.

    Returns:
        The placement; ``print`` it for a table of tensor, op, role, quantizer and bits.

    Raises:
        TypeError: a program of another kind, or a quantizer that is none.
        ValueError: wrong settings, or a rule that matches nothing.
    """
    compat.require_legacy_static(program)
    functions = Functions(
        weight_quantize_func, act_quantize_func, weight_preprocess_func, act_preprocess_func
    )
    environment = Environment(paddle.static.global_scope(), paddle.CPUPlace())
    engine = build_pass(check_config(config), functions, environment, for_test=False)
    return engine.placement(IrGraph(core.Graph(program.desc)))
