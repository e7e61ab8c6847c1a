"""The C++ operators as functions, with the signatures of the composed formulas.

See ``quantizers/fused.py`` and ``quantizers/look_up.py`` for what they compute. They work on
float32 tensors on the CPU: of the dynamic graph, of old programs and of Paddle 3's new ones.

In an old program the gradient operator of a custom operator writes all of its gradients, or Paddle
refuses it. Inputs that have no gradient when the operator is appended are therefore copied; one
that loses its gradient only between that and ``append_backward`` (frozen, or in its
``no_grad_set``) makes the latter fail.
"""

from __future__ import annotations

from typing import Any

import paddle
from paddle.base import core
from paddle.base.layer_helper import LayerHelper

from ..compat import in_legacy_static

# The order of the enumeration in operator.h.
RULES = ("range", "clip", "lsq")


def fake_quantize(
    x: Any,
    step: float | Any,
    qmin: int,
    qmax: int,
    *,
    offset: Any | None = None,
    axis: int | None = None,
    rule: str = "range",
    gradient_scale: float = 1.0,
    unit: float = 1.0,
) -> Any:
    """Uniform fake quantization: ``step * round(clip((x - offset) / step, qmin, qmax)) + offset``.

    Of a step its size counts, times ``unit``.

    Raises:
        ValueError: the rule is none of :data:`RULES`.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}.")
    if not hasattr(step, "stop_gradient"):
        step, unit = paddle.full([1], float(step), "float32"), 1.0
    grid = {"qmin": qmin, "qmax": qmax, "axis": _axis(axis), "unit": float(unit)}
    _check_shape(x, axis, "step", step)
    if offset is not None:
        _check_shape(x, axis, "offset", offset, step)
    if rule == "range":
        inputs = {"X": x, "Step": step, "Offset": step if offset is None else offset}
        return _run("pcq_fake_quantize_fixed", inputs, {**grid, "has_offset": offset is not None})
    learning = {"rule": RULES.index(rule), "gradient_scale": float(gradient_scale)}
    if offset is None:
        x, step = _all_differentiable(x, step)
        return _run("pcq_fake_quantize_step", {"X": x, "Step": step}, {**grid, **learning})
    x, step, offset = _all_differentiable(x, step, offset)
    inputs = {"X": x, "Step": step, "Offset": offset}
    return _run("pcq_fake_quantize_step_offset", inputs, {**grid, **learning})


def dorefa_weight(
    w: Any,
    bits: int,
    *,
    detach_max: bool = False,
    rescale: bool = False,
    axis: int | None = None,
) -> Any:
    """DoReFa's weights: ``2 quantize_k(tanh(w) / (2 max|tanh w|) + 1/2) - 1``."""
    attributes = {
        "bits": bits,
        "axis": _axis(axis),
        "detach_max": bool(detach_max),
        "rescale": bool(rescale),
    }
    return _run("pcq_dorefa_weight", {"X": w}, attributes, spare=("Size",))


def dsq(x: Any, low: Any, high: Any, alpha: Any, bits: int, *, axis: int | None = None) -> Any:
    """Differentiable soft quantization on [low, high]."""
    _check_shape(x, axis, "low", low)
    _check_shape(x, axis, "high", high, low)
    x, low, high, alpha = _all_differentiable(x, low, high, alpha)
    inputs = {"X": x, "Low": low, "High": high, "Alpha": alpha}
    return _run("pcq_dsq", inputs, {"bits": bits, "axis": _axis(axis)})


def nearest_level(
    x: Any,
    levels: Any,
    thresholds: Any,
    *,
    scale: Any | None = None,
    axis: int | None = None,
    rule: str = "range",
    gradient_scale: float = 1.0,
) -> Any:
    """Look-up: ``scale * levels[i]``, i the number of thresholds below x / scale."""
    levels, thresholds = (
        v if hasattr(v, "stop_gradient") else paddle.assign(v) for v in (levels, thresholds)
    )
    inputs = {"X": x, "Levels": levels, "Thresholds": thresholds}
    attributes: dict[str, Any] = {"axis": _axis(axis), "below": rule == "below"}
    if scale is None:
        return _run("pcq_nearest_level", inputs, attributes)
    _check_shape(x, axis, "scale", scale)
    x, scale = _all_differentiable(x, scale)
    inputs = {**inputs, "X": x, "Scale": scale}
    attributes["gradient_scale"] = float(gradient_scale)
    return _run("pcq_nearest_level_scaled", inputs, attributes)


def _check_shape(
    x: Any, axis: int | None, name: str, parameter: Any, like: Any | None = None
) -> None:
    """Check that there is one value, or one for each channel; and as many as in ``like``."""
    count, dims = parameter.shape[0] if parameter.shape else 1, len(x.shape)
    channels = x.shape[axis] if axis is not None and 0 <= axis < dims else 1
    if len(parameter.shape) > 1 or (count not in (1, channels) and -1 not in (count, channels)):
        raise ValueError(
            f"{name} must hold one value or one for each of the {channels} channels of x "
            f"{list(x.shape)} along axis {axis}, got shape {list(parameter.shape)}."
        )
    if like is not None and len(like.shape) == 1 and count not in (like.shape[0], -1):
        raise ValueError(
            f"{name} must have the shape {list(like.shape)} of its counterpart, "
            f"got {list(parameter.shape)}."
        )


def _axis(axis: int | None) -> int:
    return -1 if axis is None else axis


def _all_differentiable(*tensors: Any) -> tuple[Any, ...]:
    """The tensors, in an old program all with a gradient if one of them has one."""
    if not in_legacy_static() or all(t.stop_gradient for t in tensors):
        return tensors
    return tuple(_differentiable_copy(t) if t.stop_gradient else t for t in tensors)


def _differentiable_copy(tensor: Any) -> Any:
    copy = paddle.assign(tensor)
    copy.stop_gradient = False
    return copy


def _run(
    kind: str, inputs: dict[str, Any], attributes: dict[str, Any], spare: tuple[str, ...] = ()
) -> Any:
    """Call the operator, or append it to the program; its output ``Out``."""
    if in_legacy_static():
        helper = LayerHelper(kind)
        dtype = inputs["X"].dtype
        outputs = {
            slot: helper.create_variable_for_type_inference(dtype) for slot in ("Out", *spare)
        }
        helper.append_op(type=kind, inputs=inputs, outputs=outputs, attrs=attributes)
        return outputs["Out"]
    # Only the one in paddle._C_ops, which Paddle 2.6 lacks, also writes new programs.
    run = getattr(paddle._C_ops, "_run_custom_op", None) or core.eager._run_custom_op
    out = run(kind, *inputs.values(), *attributes.values())
    return out[0] if isinstance(out, (list, tuple)) else out


__all__ = ["RULES", "dorefa_weight", "dsq", "fake_quantize", "nearest_level"]
