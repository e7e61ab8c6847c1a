"""The operators that a frozen model can hold, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operator:
    """Slots and settings of one of Paddle's operators.

    Attributes:
        inputs: slots that are read, in order; ``"X*"`` holds a list, ``"Bias?"`` may be empty.
        outputs: slots that are written and used.
        attributes: settings, with the value that stands where a program gives none.
        unused: outputs that Paddle wants, and nothing reads.
    """

    inputs: tuple[str, ...] = ("X",)
    outputs: tuple[str, ...] = ("Out",)
    attributes: dict[str, Any] | None = None
    unused: tuple[str, ...] = ()


_CONV = {
    "strides": [1, 1],
    "paddings": [0, 0],
    "padding_algorithm": "EXPLICIT",
    "dilations": [1, 1],
    "groups": 1,
    "data_format": "NCHW",
}
_POOL = {
    "pooling_type": "max",
    "ksize": [1, 1],
    "strides": [1, 1],
    "paddings": [0, 0],
    "padding_algorithm": "EXPLICIT",
    "ceil_mode": False,
    "exclusive": True,
    "adaptive": False,
    "global_pooling": False,
    "data_format": "NCHW",
}
_BINARY = Operator(("X", "Y"), attributes={"axis": -1})
_UNARY = Operator()

OPERATORS: dict[str, Operator] = {
    "abs": _UNARY,
    "batch_norm": Operator(
        ("X", "Scale", "Bias", "Mean", "Variance"),
        ("Y",),
        {"epsilon": 1e-5, "data_layout": "NCHW"},
        ("MeanOut", "VarianceOut", "SavedMean", "SavedVariance"),
    ),
    "cast": Operator(attributes={"in_dtype": 5, "out_dtype": 5}),
    "clip": Operator(attributes={"min": 0.0, "max": 0.0}),
    "concat": Operator(("X*",), attributes={"axis": 0}),
    "conv2d": Operator(("Input", "Filter", "Bias?"), ("Output",), _CONV),
    "depthwise_conv2d": Operator(("Input", "Filter", "Bias?"), ("Output",), _CONV),
    "elementwise_add": _BINARY,
    "elementwise_div": _BINARY,
    "elementwise_mul": _BINARY,
    "elementwise_sub": _BINARY,
    "exp": _UNARY,
    "flatten_contiguous_range": Operator(
        attributes={"start_axis": 1, "stop_axis": -1}, unused=("XShape",)
    ),
    "gelu": Operator(attributes={"approximate": False}),
    "hard_sigmoid": Operator(attributes={"slope": 0.2, "offset": 0.5}),
    "hard_swish": Operator(attributes={"threshold": 6.0, "scale": 6.0, "offset": 3.0}),
    "layer_norm": Operator(
        ("X", "Scale?", "Bias?"),
        ("Y",),
        {"epsilon": 1e-5, "begin_norm_axis": 1},
        ("Mean", "Variance"),
    ),
    "leaky_relu": Operator(attributes={"alpha": 0.02}),
    "lookup_table_v2": Operator(("W", "Ids"), attributes={"padding_idx": -1}),
    "matmul_v2": Operator(("X", "Y"), attributes={"trans_x": False, "trans_y": False}),
    "pool2d": Operator(attributes=_POOL),
    "reduce_mean": Operator(attributes={"dim": [0], "keep_dim": False, "reduce_all": False}),
    "relu": _UNARY,
    "relu6": _UNARY,
    "reshape2": Operator(attributes={"shape": []}, unused=("XShape",)),
    "scale": Operator(attributes={"scale": 1.0, "bias": 0.0, "bias_after_scale": True}),
    "sigmoid": _UNARY,
    "silu": _UNARY,
    "slice": Operator(
        ("Input",), attributes={"axes": [], "starts": [], "ends": [], "decrease_axis": []}
    ),
    "softmax": Operator(attributes={"axis": -1}),
    "split": Operator(outputs=("Out*",), attributes={"num": 0, "sections": [], "axis": 0}),
    "sqrt": _UNARY,
    "square": _UNARY,
    "squeeze2": Operator(attributes={"axes": []}, unused=("XShape",)),
    "swish": Operator(attributes={"beta": 1.0}),
    "tanh": _UNARY,
    "transpose2": Operator(attributes={"axis": []}, unused=("XShape",)),
    "unsqueeze2": Operator(attributes={"axes": []}, unused=("XShape",)),
}
# Inputs that carry a setting as a tensor; a program that uses them cannot be frozen.
TENSOR_SETTINGS = {
    "clip": ("Min", "Max"),
    "concat": ("AxisTensor",),
    "reshape2": ("Shape", "ShapeTensor"),
    "scale": ("ScaleTensor",),
    "slice": (
        "StartsTensor",
        "EndsTensor",
        "StartsTensorList",
        "EndsTensorList",
    ),
    "split": ("AxisTensor", "SectionsTensorList"),
    "unsqueeze2": ("AxesTensor", "AxesTensorList"),
}
# Read as one of the above.
REWRITTEN = ("assign", "dropout", "matmul", "mul")


def supported() -> str:
    """The list for error messages."""
    return ", ".join(sorted((*OPERATORS, *REWRITTEN)))


__all__ = ["OPERATORS", "REWRITTEN", "TENSOR_SETTINGS", "Operator", "supported"]
