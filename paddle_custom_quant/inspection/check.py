"""``verify`` for saved programs: the same checks, on plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..graph.verify import Finding, verify
from ..graph.view import OpView, View
from .model import CHECKPOINT, Model, ModelError, Operator, Variable
from .quantized import find_quantized


@dataclass(frozen=True)
class _OperatorDesc:
    """What the checks ask of Paddle's OpDesc."""

    operator: Operator

    def has_attr(self, name: str) -> bool:
        return name in self.operator.attributes

    def attr(self, name: str) -> Any:
        return self.operator.attributes[name]

    def attr_names(self) -> list[str]:
        return list(self.operator.attributes)


@dataclass(frozen=True)
class _VariableDesc:
    """What the checks ask of Paddle's VarDesc."""

    variable: Variable

    def shape(self) -> list[int]:
        return list(self.variable.shape or ())

    def dtype(self) -> str:
        return self.variable.dtype

    def persistable(self) -> bool:
        return self.variable.persistable

    def is_parameter(self) -> bool:
        return self.variable.parameter

    def stop_gradient(self) -> bool:
        return self.variable.stop_gradient

    def need_check_feed(self) -> bool:
        return self.variable.fed


def check(model: Model) -> list[Finding]:
    """What is wrong with a model; empty if it is sound.

    Raises:
        ModelError: it is a checkpoint, which has no operators to check.

    A value that the model does not hold is no finding: a model with a file of parameters that
    lacks one cannot be read in the first place.
    """
    if model.kind == CHECKPOINT:
        raise ModelError(f"{model.source}: a checkpoint holds values only, no graph to check.")
    ops = [
        OpView(op.kind, op.inputs, op.outputs, _OperatorDesc(op))
        for op in model.operators
        if not op.block
    ]
    variables = {name: _VariableDesc(v) for name, v in model.variables.items()}
    stored = {one.copy for one in find_quantized(model) if one.stored}
    found = verify(View(ops, variables))
    return [f for f in found if f.kind != "float reader" or f.node not in stored]


__all__ = ["check"]
