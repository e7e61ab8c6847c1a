"""The warning about weights that grow where nothing normalises."""

from __future__ import annotations

import logging

import paddle
import pytest
from paddle import nn, static

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import DoReFaWeight

CPU = paddle.CPUPlace()


def warned(legacy, caplog, normalise, quantizer):
    hidden = nn.Linear(256, 32)(static.data("image", [None, 256]))
    if normalise:
        hidden = nn.BatchNorm1D(32)(hidden)
    paddle.mean(nn.functional.relu(hidden))
    legacy.run(static.default_startup_program())
    caplog.clear()
    with caplog.at_level(logging.WARNING, "paddle_custom_quant"):
        pcq.quant_aware(
            static.default_main_program(), CPU, {"quantize_op_types": ["matmul_v2"]},
            weight_quantize_func=quantizer,
        )  # fmt: skip
    return [r.getMessage() for r in caplog.records if r.name == "paddle_custom_quant"]


@pytest.mark.parametrize("as_function", [False, True])
def test_textbook_dorefa_without_normalisation_is_named_once(legacy, caplog, as_function):
    quantizer = DoReFaWeight(4)
    function = (lambda w: quantizer(w)) if as_function else quantizer
    messages = warned(legacy, caplog, False, function)
    assert len(messages) == 1
    assert "linear_0.w_0 (" in messages[0]
    assert "rescale=True" in messages[0]


@pytest.mark.parametrize(
    ("normalise", "quantizer"),
    [(True, DoReFaWeight(4)), (False, DoReFaWeight(4, rescale=True)), (True, lambda w: 9 * w)],
)
def test_no_warning_with_normalisation_or_the_floats_scale(legacy, caplog, normalise, quantizer):
    assert warned(legacy, caplog, normalise, quantizer) == []
