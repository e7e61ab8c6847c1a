"""Fast convolutions on a CPU: oneDNN's, one operator at a time."""

from __future__ import annotations

from typing import Any

import paddle
from paddle.base.data_feeder import convert_dtype

from .. import compat

CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "conv2d_grad", "depthwise_conv2d_grad")
SWITCH = "use_mkldnn"


def use_onednn(program: paddle.static.Program, enabled: bool = True) -> int:
    """Let a program's convolutions and their gradients run on oneDNN, or no longer.

    Only float32 convolutions with NCHW layout are switched: on batch norm, activations and
    additions the change of layout costs more than it gains. Losses agree to about 1e-6.

    Args:
        program: a program of the old kind; it is changed in place.
        enabled: on or off.

    Returns:
        How many operators were switched; 0 where Paddle has no oneDNN.

    Raises:
        TypeError: ``program`` is no program of the old kind.
    """
    compat.require_legacy_static(program)
    if enabled and not compat.has_onednn():
        return 0
    block = program.global_block()
    found = [op for op in block.ops if op.type in CONVOLUTIONS and _fits(op, block)]
    for op in found:
        op._set_attr(SWITCH, enabled)
        if enabled:
            # Told that it is a test, oneDNN keeps its first copy of the weights for ever.
            op._set_attr("is_test", False)
    return len(found)


def is_cpu(place: Any) -> bool:
    """Whether a place, or its name, is the CPU."""
    return isinstance(place, paddle.CPUPlace) or str(place).lower() == "cpu"


def _fits(op: Any, block: Any) -> bool:
    layout = op.attr("data_format") if op.has_attr("data_format") else "NCHW"
    weight = block.var(op.input("Filter")[0])
    return layout in ("NCHW", "AnyLayout") and convert_dtype(weight.dtype) == "float32"


__all__ = ["is_cpu", "use_onednn"]
