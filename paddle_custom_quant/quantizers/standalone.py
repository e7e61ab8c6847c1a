"""A quantizer on one tensor, outside the engine.

For trying a method out, for a dynamic-graph layer, and for a program written by hand.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import paddle

from ..compat import old_operators
from ..target import ACTIVATION, WEIGHT, Target
from .base import Quantizer, Sample


def target_of(x: Any, channel_axis: int | None = None) -> Target:
    """Describe ``x``: a parameter is a weight, everything else an activation.

    Args:
        x: a tensor of the dynamic graph, or a variable of an old or a new program.
        channel_axis: output-channel axis, for a quantizer that is per channel.
    """
    role = WEIGHT if getattr(x, "persistable", False) else ACTIVATION
    dtype = str(x.dtype).rsplit(".", 1)[-1].lower()
    return Target(x.name, tuple(x.shape), dtype, role, channel_axis=channel_axis)


def create_parameters(
    quantizer: Quantizer, target: Target, sample: Sample | None = None
) -> dict[str, Any]:
    """Create the quantizer's parameters for ``target`` in the current mode and program.

    Each is called ``<tensor>.<method>.<name>`` (in the dynamic graph, where every call makes new
    ones, with a number); a running state is a parameter that is not trainable.
    """
    created = {}
    for name, parameter in quantizer.parameters(target, sample).items():
        value = np.asarray(parameter.value, dtype="float32")
        decay = parameter.weight_decay
        full_name = parameter.name or f"{target.name}.{quantizer.method}.{name}"
        if paddle.in_dynamic_mode():
            full_name = paddle.utils.unique_name.generate(full_name)
        attr = paddle.ParamAttr(
            name=full_name,
            initializer=paddle.nn.initializer.Assign(value),
            learning_rate=parameter.learning_rate,
            regularizer=paddle.regularizer.L2Decay(decay) if decay else None,
            trainable=parameter.trainable,
        )
        created[name] = paddle.create_parameter(list(value.shape), "float32", attr=attr)
    return created


def apply(quantizer: Quantizer, x: Any, *, channel_axis: int | None = None) -> Any:
    """Quantize ``x`` with parameters created in place.

    In the dynamic graph the parameters start from the values of ``x``; in a program, whose values
    are not known, from the method's defaults.

    Args:
        quantizer: what to apply.
        x: the tensor.
        channel_axis: output-channel axis, for a quantizer that is per channel.

    Returns:
        The quantized tensor, shape and dtype of x.

    Raises:
        ValueError: in a program, a quantizer that replaces the gradient (EWGS).
    """
    target = target_of(x, channel_axis)
    dynamic = paddle.in_dynamic_mode()
    if quantizer.replaces_gradient and not dynamic:
        raise ValueError(
            f"{quantizer!r} replaces the gradient, which a function call in a program cannot: "
            f"give it to quant_aware."
        )
    owned = create_parameters(quantizer, target, Sample(x.numpy()) if dynamic else None)
    with nullcontext() if dynamic else old_operators():
        y = quantizer.quantize(x, target, **owned)
    if quantizer.replaces_gradient and not y.stop_gradient:
        fixed = x.detach(), y.detach(), target
        y.register_hook(lambda gradient: quantizer.incoming_gradient(gradient, *fixed, **owned))
    return y


__all__ = ["apply", "create_parameters", "target_of"]
