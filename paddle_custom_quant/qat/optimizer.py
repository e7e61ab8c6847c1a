"""One optimizer for all quantizer parameters of a program, beside the user's own."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import paddle
from paddle.optimizer.lr import LRScheduler

from .. import compat
from ..graph.editor import GraphEditor
from ..graph.roles import BACKWARD, OPTIMIZE, QUANTIZER_OPTIMIZER, ROLE
from ..graph.subgraph import TracedParameter
from ..graph.transplant import Transplant

NAMES = f"{QUANTIZER_OPTIMIZER}."


def insert_optimizer(
    editor: GraphEditor,
    parameters: dict[str, TracedParameter],
    gradients: dict[str, list[Any]],
    optimizer_func: Callable[[], Any],
    scope: Any,
    place: Any,
) -> LRScheduler | None:
    """Append the operators that update the learned parameters.

    Args:
        editor: the graph.
        parameters: all quantizer parameters by name.
        gradients: the gradient nodes of each learned one.
        optimizer_func: returns the optimizer; called once.
        scope: where the optimizer's state is created.
        place: where its start-up program runs.

    Returns:
        The optimizer's learning-rate schedule, if it has one.
    """
    main, startup = paddle.static.Program(), paddle.static.Program()
    guard = paddle.static.program_guard(main, startup)
    with guard, compat.prefixed_names(main, NAMES), compat.old_operators():
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
        optimizer_func().apply_gradients(pairs)
    transplant = Transplant(editor, main, _rename, QUANTIZER_OPTIMIZER)
    for name, nodes in gradients.items():
        transplant.nodes[f"{name}@GRAD"] = _total(editor, nodes)
    descs = [op.desc for op in main.global_block().ops]
    for desc in descs:
        if not desc.has_attr(ROLE) or not int(desc.attr(ROLE)) & OPTIMIZE:
            desc._set_attr(ROLE, OPTIMIZE)
    transplant.copy(descs)
    with paddle.static.scope_guard(scope):
        paddle.static.Executor(place).run(startup)
    return getattr(main, "lr_scheduler", None)


def _total(editor: GraphEditor, nodes: list[Any]) -> Any:
    if len(nodes) == 1:
        return nodes[0]
    total = editor.add_variable_like(f"{nodes[0].name()}@TOTAL", nodes[0])
    editor.add_operator("sum", BACKWARD, {"X": nodes}, {"Out": [total]})
    return total


def _rename(name: str) -> str:
    return name if name.startswith(NAMES) else NAMES + name


class JointSchedule(LRScheduler):
    """The user's schedule, which also sets the quantizer parameters' learning rate.

    An executor asks the one schedule of a program for its value before each run. This one answers
    for the user's and writes the other into the scope.
    """

    def __init__(self, user: LRScheduler, quantizers: LRScheduler, scope: Any, place: Any) -> None:
        self.__dict__.update(user=user, quantizers=quantizers, scope=scope, place=place)

    def __call__(self) -> float:
        """The user's learning rate now."""
        tensor = self.scope.var(self.quantizers._var_name).get_tensor()

        tensor.set(np.full([1], self.quantizers(), dtype="float32"), self.place)
        return self.user()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.user, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.user, name, value)

    def step(self, epoch: int | None = None) -> None:
        """Step the user's schedule."""
        self.user.step(epoch)
