"""The old operators behind the functions of Paddle 3 that refuse variables of old programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from paddle.base import framework
from paddle.tensor.math import _get_reduce_axis_with_tensor

Arguments = dict[str, Any]


def _as_given(arguments: Arguments) -> Arguments:
    return {}


def _over_axes(arguments: Arguments) -> Arguments:
    reduce_all, axis = _get_reduce_axis_with_tensor(arguments["axis"], arguments["x"])
    return {"axis": axis, "reduce_all": reduce_all}


def _over_axes_in_type(arguments: Arguments) -> Arguments:
    if arguments["dtype"] is None:
        return _over_axes(arguments)
    dtype = framework.convert_np_dtype_to_dtype_(arguments["dtype"])
    return {"dtype": dtype, "in_dtype": arguments["x"].dtype, **_over_axes(arguments)}


def _over_one_axis(arguments: Arguments) -> Arguments:
    axis, dtype = arguments["axis"], framework.convert_np_dtype_to_dtype_(arguments["dtype"])
    return {"axis": 0 if axis is None else axis, "flatten": axis is None, "dtype": dtype}


def _to_shape_of_y(arguments: Arguments) -> Arguments:
    return {"shape": list(arguments["y"].shape)}


def _with_tolerances(arguments: Arguments) -> Arguments:
    return {name: str(arguments[name]) for name in ("rtol", "atol")}


def _by_shifts(arguments: Arguments) -> Arguments:
    axis, shifts = arguments["axis"], arguments["shifts"]
    axis = [] if axis is None else [axis] if isinstance(axis, int) else list(axis)
    if isinstance(shifts, framework.Variable):
        return {"axis": axis, "shifts": None, "shifts_tensor": shifts}
    return {"axis": axis, "shifts": [shifts] if isinstance(shifts, int) else list(shifts)}


def _below(arguments: Arguments) -> Arguments:
    return {"lower": True}


def _above(arguments: Arguments) -> Arguments:
    return {"lower": False}


_X = {"x": "X"}
_XY = {"x": "X", "y": "Y"}
_REDUCE = {"axis": "dim", "keepdim": "keep_dim", "reduce_all": "reduce_all"}


@dataclass(frozen=True)
class OldOperator:
    """How a call of a Paddle function is written as an operator of an old program.

    Attributes:
        type: operator type.
        inputs: input slot of each tensor argument.
        attrs: attribute of each other argument; an argument that is ``None`` is left out.
        output: output slot.
        dtype: of the output, where it is neither the argument ``dtype`` nor that of ``x``.
        adapt: arguments to replace or add before they are written.
    """

    type: str
    inputs: Mapping[str, str] = field(default_factory=lambda: _X)
    attrs: Mapping[str, str] = field(default_factory=dict)
    output: str = "Out"
    dtype: Optional[str] = None
    adapt: Callable[[Arguments], Arguments] = _as_given


def _unary(*names: str) -> dict[str, OldOperator]:
    return {name: OldOperator(name) for name in names}


def _logical(*names: str) -> dict[str, OldOperator]:
    return {name: OldOperator(name, _XY, dtype="bool") for name in names}


def _reduction(dtype: Optional[str] = None, **types: str) -> dict[str, OldOperator]:
    return {
        name: OldOperator(type_, _X, _REDUCE, dtype=dtype, adapt=_over_axes)
        for name, type_ in types.items()
    }


def _arg_reduction(**types: str) -> dict[str, OldOperator]:
    attrs = {"axis": "axis", "keepdim": "keepdims", "flatten": "flatten", "dtype": "dtype"}
    return {
        name: OldOperator(type_, _X, attrs, adapt=_over_one_axis) for name, type_ in types.items()
    }


_INDEX_PUT = OldOperator(
    "index_put",
    {"x": "x", "indices": "indices", "value": "value"},
    {"accumulate": "accumulate"},
    output="out",
)

OLD_OPERATORS: Mapping[str, OldOperator] = {
    **_unary("abs", "acos", "acosh", "asin", "atanh", "ceil", "cos", "cosh", "exp", "expm1"),
    **_unary("floor", "log", "log10", "log1p", "log2", "rsqrt", "sigmoid", "sign", "sin", "sinh"),
    **_unary("sqrt", "tanh"),
    "round": OldOperator("round", _X, {"decimals": "decimals"}),
    "gelu": OldOperator("gelu", _X, {"approximate": "approximate"}),
    "softplus": OldOperator("softplus", _X, {"beta": "beta", "threshold": "threshold"}),
    "maximum": OldOperator("elementwise_max", _XY),
    "minimum": OldOperator("elementwise_min", _XY),
    "multiply": OldOperator("elementwise_mul", _XY),
    "matmul": OldOperator(
        "matmul_v2", _XY, {"transpose_x": "trans_x", "transpose_y": "trans_y"}
    ),
    "bmm": OldOperator("bmm", _XY),
    "dot": OldOperator("dot", _XY),
    **_logical("logical_and", "logical_or", "logical_xor", "greater_than"),
    "logical_not": OldOperator("logical_not", dtype="bool"),
    "isnan": OldOperator("isnan_v2", dtype="bool"),
    "isinf": OldOperator("isinf_v2", dtype="bool"),
    "isfinite": OldOperator("isfinite_v2", dtype="bool"),
    "isclose": OldOperator(
        "isclose",
        {"x": "Input", "y": "Other"},
        {"rtol": "rtol", "atol": "atol", "equal_nan": "equal_nan"},
        dtype="bool",
        adapt=_with_tolerances,
    ),
    **_reduction(amax="reduce_amax", amin="reduce_amin"),
    **_reduction("bool", all="reduce_all", any="reduce_any"),
    **_arg_reduction(argmax="arg_max", argmin="arg_min"),
    "sum": OldOperator(
        "reduce_sum",
        _X,
        {**_REDUCE, "in_dtype": "in_dtype", "dtype": "out_dtype"},
        adapt=_over_axes_in_type,
    ),
    "logsumexp": OldOperator(
        "logsumexp",
        _X,
        {"axis": "axis", "keepdim": "keepdim", "reduce_all": "reduce_all"},
        adapt=_over_axes,
    ),
    "expand_as": OldOperator("expand_as_v2", _XY, {"shape": "target_shape"}, adapt=_to_shape_of_y),
    "roll": OldOperator(
        "roll",
        {"x": "X", "shifts_tensor": "ShiftsTensor"},
        {"shifts": "shifts", "axis": "axis"},
        adapt=_by_shifts,
    ),
    "tril": OldOperator(
        "tril_triu", _X, {"diagonal": "diagonal", "lower": "lower"}, adapt=_below
    ),
    "triu": OldOperator(
        "tril_triu", _X, {"diagonal": "diagonal", "lower": "lower"}, adapt=_above
    ),
    "diagonal": OldOperator(
        "diagonal", {"x": "Input"}, {"offset": "offset", "axis1": "axis1", "axis2": "axis2"}
    ),
    "index_put": _INDEX_PUT,
    "index_put_": _INDEX_PUT,
    "grid_sample": OldOperator(
        "grid_sampler",
        {"x": "X", "grid": "Grid"},
        {"mode": "mode", "padding_mode": "padding_mode", "align_corners": "align_corners"},
        output="Output",
    ),
}

__all__ = ["OLD_OPERATORS", "OldOperator"]
