"""One optimizer for all quantizer parameters of a program, beside the user's own."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np
import paddle
from paddle.optimizer.lr import LRScheduler

from .. import compat
from ..graph.editor import GraphEditor
from ..graph.marks import QUANTIZER_OPTIMIZER
from ..graph.roles import BACKWARD, OPTIMIZE, ROLE
from ..graph.subgraph import TracedParameter
from ..graph.transplant import Transplant


def insert_optimizer(
    editor: GraphEditor,
    parameters: dict[str, TracedParameter],
    gradients: dict[str, list[Any]],
    optimizer_func: Callable[[], Any],
) -> AppendedOptimizer:
    """Append the operators that update the learned parameters.

    Args:
        editor: the graph.
        parameters: all quantizer parameters by name.
        gradients: the gradient nodes of each learned one.
        optimizer_func: returns the optimizer; called once.

    Returns:
        The start-up program of its state, and its learning-rate schedule, if it has one.

    Raises:
        TypeError: ``optimizer_func`` returns no optimizer.
    """
    main, startup = paddle.static.Program(), paddle.static.Program()
    guard = paddle.static.program_guard(main, startup)
    # Programs of other parameters, in the same scope, have a learning rate of their own; the same
    # program has the same names in every process.
    names = f"{QUANTIZER_OPTIMIZER}_{zlib.crc32(min(gradients).encode()):08x}."
    with guard, compat.prefixed_names(main, names), compat.old_operators():
        block = main.global_block()
        pairs = []
        for name in gradients:
            p = parameters[name]
            variable = block.create_parameter(
                name=name,
                shape=list(p.shape),
                dtype=p.dtype,
                trainable=True,
                regularizer=p.regularizer,
                optimize_attr={"learning_rate": p.learning_rate},
            )
            gradient = block.create_var(name=f"{name}@GRAD", shape=list(p.shape), dtype=p.dtype)
            pairs.append((variable, gradient))
        schedule = _apply(optimizer_func(), pairs)
    transplant = Transplant(editor, main, _rename, QUANTIZER_OPTIMIZER)
    for name, nodes in gradients.items():
        transplant.nodes[f"{name}@GRAD"] = _total(editor, nodes)
    descs = [op.desc for op in main.global_block().ops]
    for desc in descs:
        if not desc.has_attr(ROLE) or not int(desc.attr(ROLE)) & OPTIMIZE:
            desc._set_attr(ROLE, OPTIMIZE)
    transplant.copy(descs)
    return AppendedOptimizer(startup, schedule)


def _apply(optimizer: Any, pairs: list[tuple[Any, Any]]) -> Schedule | None:
    if not hasattr(optimizer, "apply_gradients"):
        raise TypeError(
            f"optimizer_func must return an optimizer, such as paddle.optimizer.Adam(1e-3), "
            f"got {optimizer!r}."
        )
    values = getattr(optimizer, "_learning_rate", None)
    if not isinstance(values, LRScheduler):
        optimizer.apply_gradients(pairs)
        return None
    # The caller may drive another optimizer with the same object, which knows one variable only.
    before = getattr(values, "_var_name", None)
    optimizer.apply_gradients(pairs)
    schedule = Schedule(values, str(values._var_name))
    values._var_name = before
    return schedule


def _total(editor: GraphEditor, nodes: list[Any]) -> Any:
    if len(nodes) == 1:
        return nodes[0]
    total = editor.add_variable_like(f"{nodes[0].name()}@TOTAL", nodes[0])
    editor.add_operator("sum", BACKWARD, {"X": nodes}, {"Out": [total]})
    return total


def _rename(name: str) -> str:
    return name if name.startswith(QUANTIZER_OPTIMIZER) else f"{QUANTIZER_OPTIMIZER}.{name}"


@dataclass(frozen=True)
class AppendedOptimizer:
    """What is left to do: run the start-up program, step the schedule."""

    startup: Any
    schedule: Schedule | None


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule and the variable that it drives."""

    values: LRScheduler
    variable: str


class ProgramSchedule(LRScheduler):
    """All learning-rate schedules of a program.

    An executor asks the one schedule of a program for its value before each run, for the variable
    that the schedule names. This one answers for the first and writes the others into the scopes:
    the one that the program was quantized in, and the current one. It has the first's attributes
    and methods.
    """

    def __init__(self, schedules: Sequence[Schedule], scope: Any, place: Any) -> None:
        first, *others = schedules
        self.__dict__.update(
            first=first.values, _var_name=first.variable, others=others, scope=scope, place=place
        )

    def __call__(self) -> float:
        """The first schedule's learning rate now."""
        for schedule in self.others:
            for scope in (self.scope, paddle.static.global_scope()):
                variable = scope.find_var(schedule.variable)
                if variable is not None:
                    tensor = variable.get_tensor()
                    value = np.full_like(np.array(tensor), schedule.values())
                    tensor.set(value, self.place)
        return float(self.first())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.first, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.first, name, value)

    def step(self, epoch: int | None = None) -> None:
        """Step the first schedule."""
        self.first.step(epoch)

    def state_dict(self) -> Any:
        """The first schedule's state."""
        return self.first.state_dict()

    def set_state_dict(self, state_dict: Any) -> None:
        """Restore the first schedule's state."""
        self.first.set_state_dict(state_dict)


def program_schedule(
    users: LRScheduler | None, own: Schedule | None, scope: Any, place: Any
) -> LRScheduler | None:
    """What drives the learning rates of a program: the user's and that of the quantizers."""
    if own is None:
        return users
    before = [] if users is None else [Schedule(users, str(users._var_name))]
    return ProgramSchedule([*before, own], scope, place)
