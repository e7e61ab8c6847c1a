"""Carry a placement out on a graph: trace everything, then splice, then set start values."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable

import paddle

from .. import kernels
from ..graph.editor import GraphEditor
from ..graph.marks import DESCRIPTION, QUANTIZED
from ..graph.splice import Splicer
from ..graph.subgraph import Subgraph, TracedParameter, trace
from ..graph.verify import Finding, verify
from ..quantizers.base import FunctionQuantizer, Quantizer
from ..quantizers.description import describe
from ..scope import read, write
from ..target import GRADIENT
from .optimizer import insert_optimizer
from .placement import Placed, Placement, Request, decide
from .weights import Weights, computing


@dataclass
class Environment:
    """Where programs run: scope, place, executor, and the quantizer parameters' optimizer."""

    scope: Any
    place: Any
    executor: Any = None
    optimizer_func: Callable[[], Any] | None = None


@dataclass
class Inserted:
    """What was done to a graph."""

    placement: Placement
    parameters: dict[str, TracedParameter] = field(default_factory=dict)
    schedule: Any = None


def insert(editor: GraphEditor, request: Request, environment: Environment) -> Inserted:
    """Quantize a graph as requested.

    Nothing of the graph is changed before every quantizer has been recorded.

    Raises:
        ValueError: a quantizer cannot serve its tensor, a parameter's name is taken, weights that
            a quantizer starts from are not in the scope, an optimizer or executor is missing, or
            the program holds gradients of gradients.
    """
    placement = decide(editor, request)
    _refuse_second_gradients(editor, placement)
    before = verify(editor.graph)
    differentiated = any(op.name().endswith("_grad") for op in editor.ops)
    # What does not train may be saved, to run where the C++ operators are not; and autodiff, where
    # it is still to come, may leave out a gradient, which they cannot.
    with kernels.in_programs(request.training and differentiated):
        weights = Weights(partial(computing, editor), environment.scope, environment.place)
        traced = [(placed, _record(placed, weights)) for placed in placement]
    parameters = _distinct_parameters(traced, editor)
    if not request.training:
        _refuse_other_shapes(parameters.values(), environment.scope)
    learns = any(p.trainable for p in parameters.values())
    trains = request.training and differentiated
    if trains and learns and environment.optimizer_func is None:
        name = next(p.name for p in parameters.values() if p.trainable)
        raise ValueError(
            f"the quantizers have parameters to learn ({name}, ...): pass optimizer_func, a "
            f"function that returns their optimizer, as in "
            f"optimizer_func=lambda: paddle.optimizer.Adam(1e-3)."
        )
    startups = [s.startup for _, subs in traced for s in subs if s.startup.global_block().ops]
    if startups and environment.executor is None:
        raise ValueError(
            "a quantization function creates parameters with a start-up program: pass executor, "
            "as in executor=paddle.static.Executor(place)."
        )
    gradients: dict[str, list[Any]] = defaultdict(list)
    splicer = Splicer(editor)
    for placed, subgraphs in traced:
        for quantizer, label, subgraph in zip(placed.stages, placed.labels, subgraphs):
            made = splicer.splice(subgraph, label, placed.sockets)
            made.quantized.inputs[0].op()._set_attr(DESCRIPTION, _description(placed, quantizer))
            for name, nodes in made.gradients.items():
                gradients[name] += nodes
        _mark(placed)
    optimizer = None
    if gradients and trains:
        assert environment.optimizer_func is not None
        optimizer = insert_optimizer(editor, parameters, gradients, environment.optimizer_func)
    known = {(finding.kind, finding.node) for finding in before}
    _refuse_unsound([f for f in verify(editor.graph) if (f.kind, f.node) not in known])
    if optimizer:
        with paddle.static.scope_guard(environment.scope):
            paddle.static.Executor(environment.place).run(optimizer.startup)
    _start(parameters.values(), startups, request.training, environment)
    return Inserted(placement, parameters, optimizer.schedule if optimizer else None)


def _refuse_second_gradients(editor: GraphEditor, placement: Placement) -> None:
    """A gradient's own gradient does not pass through a quantizer: it would be wrong unsaid."""
    kinds = {reader.op_type for placed in placement for reader in placed.target.readers}
    for op in editor.ops:
        for suffix in ("_grad_grad", "_double_grad", "_triple_grad"):
            if op.name().endswith(suffix) and op.name()[: -len(suffix)] in kinds:
                raise ValueError(
                    f"the program differentiates a gradient ({op.name()}), which a quantizer is "
                    f"not made for: leave {op.name()[: -len(suffix)]} out of quantize_op_types."
                )


def _refuse_unsound(findings: list[Finding]) -> None:
    if findings:
        listed = "; ".join(sorted(map(str, findings))[:5])
        raise ValueError(
            f"quantizing would leave the graph unsound ({len(findings)} findings): {listed}"
        )


def _record(placed: Placed, weights: Weights) -> list[Subgraph]:
    sample = weights.sample(placed)
    subgraphs = []
    for quantizer, label in zip(placed.stages, placed.labels):
        try:
            start = quantizer.parameters(placed.target, sample)
            subgraphs.append(trace(quantizer, placed.target, start, label))
        except Exception as error:
            if _is_the_users(quantizer):
                text = error.args[0] if error.args else error
                where = f"{placed.target.role} {placed.target.name!r} with {quantizer.method}"
                error.args = (f"{text} (while quantizing {where})", *error.args[1:])
            raise
    return subgraphs


def _is_the_users(quantizer: Quantizer) -> bool:
    """Its errors do not name the tensor."""
    package = __name__.partition(".")[0]
    return isinstance(quantizer, FunctionQuantizer) or (
        type(quantizer).__module__.partition(".")[0] != package
    )


def _distinct_parameters(
    traced: list[tuple[Placed, list[Subgraph]]], editor: GraphEditor
) -> dict[str, TracedParameter]:
    found: dict[str, TracedParameter] = {}
    for placed, subgraphs in traced:
        for parameter in (p for s in subgraphs for p in s.parameters):
            if parameter.name in editor.versions:
                raise ValueError(
                    f"quantizing {placed.target.name!r} creates a parameter {parameter.name!r}, "
                    f"but the program has one of that name; derive the name from the tensor's "
                    f"(x.name)."
                )
            taken = found.setdefault(parameter.name, parameter)
            if taken.shape != parameter.shape:
                raise ValueError(
                    f"quantizing {placed.target.name!r} creates a parameter {parameter.name!r} of "
                    f"shape {list(parameter.shape)}, but that name is taken with shape "
                    f"{list(taken.shape)}; derive the name from the tensor's (x.name)."
                )
    return found


def _refuse_other_shapes(parameters: Iterable[TracedParameter], scope: Any) -> None:
    for parameter in parameters:
        held = read(scope, parameter.name)
        if held is not None and held.shape != parameter.shape:
            raise ValueError(
                f"the scope holds {parameter.name!r} in shape {list(held.shape)}, but the test "
                f"program's quantizer has {list(parameter.shape)}: pass the quantizers that the "
                f"training program was given."
            )


def _description(placed: Placed, quantizer: Quantizer) -> str:
    target = placed.target
    return json.dumps(
        {
            "tensor": target.name,
            "role": target.role,
            "channel_axis": target.channel_axis,
            "quantizer": json.loads(describe(quantizer)),
        }
    )


def _mark(placed: Placed) -> None:
    kind = "qat_with_weight" if placed.target.readers[0].weight else "qat_without_weight"
    if placed.target.role == GRADIENT:
        return
    for socket in placed.sockets:
        desc = socket.op.op()
        desc._set_attr("quantization_type", kind)
        desc._set_attr("with_quant_attr", True)
        held = list(desc.attr(QUANTIZED)) if desc.has_attr(QUANTIZED) else []
        desc._set_attr(QUANTIZED, [*held, f"{socket.slot}:{socket.index}"])


def _start(parameters: Any, startups: list[Any], fresh: bool, environment: Environment) -> None:
    """Set start values: all of them for training, only the missing ones for a test program."""
    missing = set()
    for parameter in parameters:
        held = read(environment.scope, parameter.name)
        if fresh or held is None:
            missing.add(parameter.name)
            if parameter.value is not None:
                write(environment.scope, environment.place, parameter.name, parameter.value)
    needed = [
        s
        for s in startups
        if missing.intersection(name for op in s.global_block().ops for name in op.output_arg_names)
    ]
    if needed:
        with paddle.static.scope_guard(environment.scope):
            environment.executor.run(_merged(needed))


def _merged(programs: list[Any]) -> Any:
    merged = paddle.static.Program()
    block = merged.global_block()
    done: set[str] = set()
    for program in programs:
        source = program.global_block()
        for variable in source.vars.values():
            if not block.has_var(variable.name):
                block._clone_variable(variable)
        for op in source.ops:
            names = set(op.output_arg_names)
            if not names <= done:
                block.desc.append_op().copy_from(op.desc)
                done |= names
    merged._sync_with_cpp()
    return merged
