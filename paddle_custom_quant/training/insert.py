"""Quantizers in both programs of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Callable

from paddle import static

from ..qat.quant_aware import quant_aware
from .classifier import Classifier

LAYERS = ["conv2d", "depthwise_conv2d", "mul", "matmul", "matmul_v2"]


def insert_quantizers(
    classifier: Classifier,
    scope: Any,
    executor: Any,
    *,
    weight: Any,
    activation: Any,
    gradient: Any = None,
    op_types: Sequence[str] = LAYERS,
    optimizer: Callable[[], Any] | None = None,
) -> tuple[Any, Any]:
    """The training and the test program with quantizers.

    Args:
        classifier: the float programs; start-up has run in ``scope``.
        scope: holds the parameters, and those of the quantizers from then on.
        executor: says where to compute.
        weight: quantizer, function or rule for weights.
        activation: the same for what layers read.
        gradient: the same for the gradients that enter layers' backward.
        op_types: operators whose inputs are quantized.
        optimizer: returns the optimizer of the quantizers' parameters.
    """
    quantize = partial(
        quant_aware,
        place=executor.place,
        config={"quantize_op_types": list(op_types)},
        scope=scope,
        weight_quantize_func=weight,
        act_quantize_func=activation,
        optimizer_func=optimizer,
        executor=executor,
        return_program=True,
    )
    with static.scope_guard(scope):
        train = quantize(classifier.train, grad_quantize_func=gradient)
        return train, quantize(classifier.test, for_test=True)


__all__ = ["LAYERS", "insert_quantizers"]
