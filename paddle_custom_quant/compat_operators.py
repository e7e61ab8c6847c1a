"""How Paddle 3's functions that fail on old programs are written as the operators of old."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

import paddle
from paddle.base import framework
from paddle.base.layer_helper import LayerHelper
from paddle.tensor.math import _get_reduce_axis_with_tensor

Arguments = dict[str, Any]


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
        outputs: output slots.
        adapt: arguments to replace or add before they are written.
    """

    type: str
    inputs: Mapping[str, str] = field(default_factory=lambda: _X)
    attrs: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("Out",)
    adapt: Callable[[Arguments], Arguments] = lambda arguments: {}

    def append(self, arguments: Arguments) -> Any:
        """Append the operator to the current program.

        Args:
            arguments: those of the call, by name; ``out``, if given, receives the first output.

        Returns:
            The output, or the list of outputs where there are several.
        """
        values = {**arguments, **self.adapt(arguments)}
        helper = LayerHelper(self.type, name=arguments.get("name"))
        # Shape inference, which runs as the operator is appended, corrects the type.
        results = [
            helper.create_variable_for_type_inference(values["x"].dtype) for _ in self.outputs
        ]
        if arguments.get("out") is not None:
            results[0] = arguments["out"]
        helper.append_op(
            type=self.type,
            inputs=_by_slot(self.inputs, values),
            outputs=dict(zip(self.outputs, results)),
            attrs=_by_slot(self.attrs, values),
        )
        for result in results:
            if not paddle.is_floating_point(result) and not paddle.is_complex(result):
                result.stop_gradient = True
        return results if len(results) > 1 else results[0]


def _by_slot(slots: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {slot: values[name] for name, slot in slots.items() if values.get(name) is not None}


def _unary(*names: str, **types: str) -> dict[str, OldOperator]:
    types = {**dict(zip(names, names)), **types}
    return {name: OldOperator(type_) for name, type_ in types.items()}


def _binary(*names: str, **types: str) -> dict[str, OldOperator]:
    types = {**dict(zip(names, names)), **types}
    return {name: OldOperator(type_, _XY) for name, type_ in types.items()}


def _reduction(**types: str) -> dict[str, OldOperator]:
    return {
        name: OldOperator(type_, _X, _REDUCE, adapt=_over_axes) for name, type_ in types.items()
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
    outputs=("out",),
)

# By name in paddle._C_ops: built-ins that take nothing but values of the new kind of program.
OLD_OPERATORS: Mapping[str, OldOperator] = {
    **_unary("abs", "acos", "acosh", "asin", "atanh", "ceil", "cos", "cosh", "exp", "expm1"),
    **_unary("floor", "log", "log10", "log1p", "log2", "rsqrt", "sigmoid", "sign", "sin", "sinh"),
    **_unary("sqrt", "tanh", "logical_not"),
    **_unary(isnan="isnan_v2", isinf="isinf_v2", isfinite="isfinite_v2"),
    **_binary("bmm", "dot", "logical_and", "logical_or", "logical_xor", "greater_than"),
    **_binary(maximum="elementwise_max", minimum="elementwise_min", multiply="elementwise_mul"),
    "round": OldOperator("round", _X, {"decimals": "decimals"}),
    "gelu": OldOperator("gelu", _X, {"approximate": "approximate"}),
    "softplus": OldOperator("softplus", _X, {"beta": "beta", "threshold": "threshold"}),
    "matmul": OldOperator("matmul_v2", _XY, {"transpose_x": "trans_x", "transpose_y": "trans_y"}),
    "isclose": OldOperator(
        "isclose",
        {"x": "Input", "y": "Other"},
        {"rtol": "rtol", "atol": "atol", "equal_nan": "equal_nan"},
        adapt=_with_tolerances,
    ),
    **_reduction(amax="reduce_amax", amin="reduce_amin", all="reduce_all", any="reduce_any"),
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
    "median": OldOperator(
        "median",
        {"x": "x"},
        {"axis": "axis", "keepdim": "keepdim", "mode": "mode"},
        outputs=("out", "medians"),
    ),
    "expand_as": OldOperator("expand_as_v2", _XY, {"shape": "target_shape"}, adapt=_to_shape_of_y),
    "roll": OldOperator(
        "roll",
        {"x": "X", "shifts_tensor": "ShiftsTensor"},
        {"shifts": "shifts", "axis": "axis"},
        adapt=_by_shifts,
    ),
    "tril": OldOperator("tril_triu", _X, {"diagonal": "diagonal", "lower": "lower"}, adapt=_below),
    "triu": OldOperator("tril_triu", _X, {"diagonal": "diagonal", "lower": "lower"}, adapt=_above),
    "diagonal": OldOperator(
        "diagonal", {"x": "Input"}, {"offset": "offset", "axis1": "axis1", "axis2": "axis2"}
    ),
    "index_put": _INDEX_PUT,
    "index_put_": _INDEX_PUT,
    "grid_sample": OldOperator(
        "grid_sampler",
        {"x": "X", "grid": "Grid"},
        {"mode": "mode", "padding_mode": "padding_mode", "align_corners": "align_corners"},
        outputs=("Output",),
    ),
}


def _left_only(arguments: Arguments) -> Arguments:
    if not arguments["left"]:
        raise ValueError("left=False has no operator in old programs: transpose x, y and result.")
    return {}


def _weight_as_variable(arguments: Arguments) -> Arguments:
    weight, dtype = arguments["weight"], arguments["x"].dtype
    return (
        {} if isinstance(weight, framework.Variable) else {"weight": paddle.full([], weight, dtype)}
    )


def _normalize(
    x: Any,
    p: float = 2,
    axis: int = 1,
    epsilon: float = 1e-12,
    out: Any = None,
    name: str | None = None,
) -> Any:
    norm = paddle.norm(x, p=float(p), axis=axis, keepdim=True)
    result = paddle.divide(x, paddle.maximum(norm, paddle.full([1], epsilon, x.dtype)), name=name)
    return result if out is None else paddle.assign(result, out)


def _remainder(x: Any, y: Any, name: str | None = None, *, out: Any = None) -> Any:
    result = OldOperator("elementwise_mod", _XY).append({"x": x, "y": y, "name": name})
    result = with_remainder_gradient(result, x, y)
    return result if out is None else paddle.assign(result, out)


def with_remainder_gradient(result: Any, x: Any, y: Any) -> Any:
    """``result``, the remainder of x by y, with the gradient that Paddle 3 has no operator for."""
    result.stop_gradient = True
    if not paddle.is_floating_point(result):
        return result
    quotient: Any = paddle.floor(x / y) if isinstance(y, framework.Variable) else 0.0
    exact = x - y * quotient
    return result + (exact - exact.detach())


# By name in paddle: functions in Python that fail before they reach an operator, or whose
# operator has lost its gradient.
OLD_FUNCTIONS: Mapping[str, OldOperator | Callable[..., Any]] = {
    "lerp": OldOperator(
        "lerp", {"x": "X", "y": "Y", "weight": "Weight"}, adapt=_weight_as_variable
    ),
    "linalg.solve": OldOperator("solve", _XY, adapt=_left_only),
    "masked_select": OldOperator("masked_select", {"x": "X", "mask": "Mask"}, outputs=("Y",)),
    "nn.functional.normalize": _normalize,
    "remainder": _remainder,
    "mod": _remainder,
    "floor_mod": _remainder,
}

__all__ = ["OLD_FUNCTIONS", "OLD_OPERATORS", "OldOperator", "with_remainder_gradient"]
