"""Run a quantizer in a temporary program and keep its operators, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
import paddle
from paddle.base.data_feeder import convert_dtype

from .. import compat
from ..target import GRADIENT, Target
from .roles import BACKWARD, FORWARD, ROLE

if TYPE_CHECKING:
    from ..quantizers.base import Parameter, Quantizer


@dataclass(frozen=True)
class TracedParameter:
    """A parameter or running state that a quantizer owns.

    Attributes:
        name: variable name, the same in the temporary and in the main program.
        shape: its shape.
        trainable: learned, or a state.
        dtype: its dtype; floating values have their tensor's.
        value: start value; ``None`` if a start-up program computes it.
        gradient: name of its gradient in the temporary program, ``None`` without one.
        regularizer: penalty on it, or ``None``.
        learning_rate: factor on the optimizer's learning rate.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool
    dtype: str = "float32"
    value: np.ndarray | None = None
    gradient: str | None = None
    regularizer: Any = None
    learning_rate: float = 1.0


@dataclass(frozen=True)
class Subgraph:
    """The operators of one quantizer on one tensor.

    ``forward`` turns variable ``input`` into ``output``; ``backward`` turns ``output_gradient``
    into ``input_gradient`` and the parameters' gradients. ``backward`` is empty and
    ``input_gradient`` equals ``output_gradient`` where the gradient passes unchanged.
    """

    program: paddle.static.Program
    startup: paddle.static.Program
    forward: list[Any]
    backward: list[Any]
    input: str
    output: str
    output_gradient: str
    input_gradient: str
    parameters: tuple[TracedParameter, ...] = field(default=())

    @property
    def learns(self) -> bool:
        """It owns a parameter that gets a gradient."""
        return any(p.gradient for p in self.parameters)

    @property
    def changes_gradient(self) -> bool:
        """The gradient of its output is not simply that of its input."""
        return self.output_gradient != self.input_gradient

    def backward_of(self, outputs: list[str]) -> list[Any]:
        """The backward operators that these variables depend on, in order."""
        wanted, kept = set(outputs), []
        for desc in reversed(self.backward):
            if wanted.intersection(desc.output_arg_names()):
                kept.append(desc)
                wanted.update(desc.input_arg_names())
        return kept[::-1]


def prefix(target: Target, quantizer: Quantizer) -> str:
    """What the names of all that this quantizer adds for this tensor start with."""
    return f"{target.name}.{quantizer.method}"


def trace(
    quantizer: Quantizer,
    target: Target,
    start: dict[str, Parameter] | None = None,
    label: str | None = None,
) -> Subgraph:
    """Record ``quantizer`` on ``target``.

    Args:
        quantizer: what to record.
        target: the tensor it is for.
        start: its parameters with start values; by default ``quantizer.parameters(target)``.
        label: what the names of all that is made start with; by default :func:`prefix`.

    Raises:
        TypeError: the function returns no tensor.
        ValueError: the function returns another shape or dtype, does not use its input, or holds
            control flow.
    """
    start = quantizer.parameters(target) if start is None else start
    main, startup = paddle.static.Program(), paddle.static.Program()
    name = label or prefix(target, quantizer)
    with paddle.static.program_guard(main, startup), compat.prefixed_names(main, f"{name}."):
        block = main.global_block()
        x = block.create_var(
            name=target.name, shape=list(target.shape), dtype=target.dtype, stop_gradient=False
        )
        names = {key: value.name or f"{name}.{key}" for key, value in start.items()}
        values = {names[key]: _in_dtype(value.value, target) for key, value in start.items()}
        owned = {key: _create(block, name, values[name], start[key]) for key, name in names.items()}
        with compat.old_operators():
            y = quantizer.quantize(x, target, **owned)
            _check(x, y, quantizer, target)
            if y is x or y.persistable:
                y = paddle.assign(y)
            split = len(block.ops)
            learned = {p.name: p for p in main.all_parameters() if p.trainable}
            dy, gradients = (
                (y.name, {x.name: y.name})
                if quantizer.passes_gradient or target.role == GRADIENT
                else _differentiate(
                    block,
                    x,
                    y,
                    list(learned.values()),
                    lambda dy: quantizer.incoming_gradient(dy, x, y, target, **owned),
                )
            )
            if quantizer.adds_gradient:
                own = quantizer.added_gradient(x, y, target, **owned)
                gradients[x.name] = (block.var(gradients[x.name]) + own).name
    _check_blocks(main, quantizer, target)
    forward = [op.desc for op in block.ops[:split]]
    backward = [op.desc for op in block.ops[split:]]
    run_in = BACKWARD if target.role == GRADIENT else FORWARD
    for descs, role in ((forward, run_in), (backward, BACKWARD)):
        for desc in descs:
            desc._set_attr(ROLE, role)
    return Subgraph(
        program=main,
        startup=startup,
        forward=forward,
        backward=backward,
        input=x.name,
        output=y.name,
        output_gradient=dy,
        input_gradient=gradients[x.name],
        parameters=tuple(
            TracedParameter(
                name=v.name,
                shape=tuple(v.shape),
                trainable=v.name in learned,
                dtype=convert_dtype(v.dtype),
                value=values.get(v.name),
                gradient=gradients.get(v.name),
                regularizer=getattr(v, "regularizer", None),
                learning_rate=getattr(v, "optimize_attr", {}).get("learning_rate", 1.0),
            )
            for v in block.vars.values()
            if v.persistable
        ),
    )


def _in_dtype(value: Any, target: Target) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(target.dtype) if array.dtype.kind == "f" else array


def _create(block: Any, name: str, value: np.ndarray, parameter: Parameter) -> Any:
    shape, dtype = list(value.shape), str(value.dtype)
    if not parameter.trainable:
        return block.create_var(
            name=name, shape=shape, dtype=dtype, persistable=True, stop_gradient=True
        )
    decay = parameter.weight_decay
    return block.create_parameter(
        name=name,
        shape=shape,
        dtype=dtype,
        trainable=True,
        regularizer=paddle.regularizer.L2Decay(decay) if decay else None,
        optimize_attr={"learning_rate": parameter.learning_rate},
    )


def _check(x: Any, y: Any, quantizer: Quantizer, target: Target) -> None:
    who = f"{quantizer.method}, called on {target.role} {target.name!r},"
    if y is None or not hasattr(y, "desc"):
        raise TypeError(f"{who} must return the quantized tensor, but returned {y!r}.")
    if len(y.shape) != len(x.shape) or any(
        a != b and -1 not in (a, b) for a, b in zip(x.shape, y.shape)
    ):
        raise ValueError(
            f"{who} must return the shape of its input {list(x.shape)}, got {list(y.shape)}."
        )
    if y.dtype != x.dtype:
        raise ValueError(f"{who} must return the dtype of its input {x.dtype}, got {y.dtype}.")
    reached = {x.name}
    for op in x.block.ops:
        if reached.intersection(op.input_arg_names):
            reached.update(op.output_arg_names)
    if y.name not in reached:
        raise ValueError(f"{who} does not use its input: its result does not depend on it.")


def _check_blocks(program: paddle.static.Program, quantizer: Quantizer, target: Target) -> None:
    if program.num_blocks > 1:
        raise ValueError(
            f"{quantizer.method}, called on {target.role} {target.name!r}, uses control flow "
            f"(cond or while), which a quantizer cannot; use paddle.where instead."
        )


def _differentiate(
    block: Any, x: Any, y: Any, learned: list[Any], incoming: Callable[[Any], Any]
) -> tuple[str, dict[str, str]]:
    dy = block.create_var(name=f"{y.name}@SEED", shape=list(y.shape), dtype=y.dtype)
    dy.stop_gradient = False
    inputs = [x, *learned]
    gradients = paddle.static.gradients([y], inputs, target_gradients=[incoming(dy)])
    named = {v.name: g.name for v, g in zip(inputs, gradients) if g is not None}
    if x.name not in named:
        named[x.name] = paddle.zeros_like(x).name
    return dy.name, named
