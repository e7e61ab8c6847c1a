"""The passes that PaddleSlim runs, with the engine of this package inside."""

from __future__ import annotations

from typing import Any

from paddle.framework import IrGraph
from paddle.static.quantization import QuantizationTransformPass as UpstreamPass
from paddle.static.quantization import QuantizationTransformPassV2 as UpstreamPassV2

from .. import compat
from ..graph.editor import GraphEditor
from .built_in import BuiltIn, BuiltInRule
from .insertion import Environment, Inserted, insert
from .placement import Placement, Request, decide
from .rules import Rule, as_rule


class _Engine:
    """What both passes share: attributes that upstream's constructor set -> request -> graph."""

    onnx_format = False
    inserted: Inserted | None = None
    for_test: bool | None = None
    grad_quantize_func: Any = None
    activation_op_types: tuple[str, ...] = ()
    left_in_float: tuple[str, ...] = ()

    # Set by upstream's constructor.
    _scope: Any
    _place: Any
    _exe: Any
    _optimizer: Any
    _skip_pattern: Any
    _weight_quantize_func: Any
    _act_quantize_func: Any
    _weight_preprocess_func: Any
    _act_preprocess_func: Any
    _weight_quantize_type: str
    _activation_quantize_type: str
    _weight_bits: int
    _activation_bits: int
    _moving_rate: float
    _window_size: int
    _quantizable_ops: list[str]
    _is_test: Any

    def apply(self, graph: IrGraph) -> IrGraph:
        """Quantize the graph in place.

        Operators inside the blocks of ``while`` and ``cond`` are left alone, and listed in
        ``left_in_float``.

        Args:
            graph: of a training or test program.

        Returns:
            The same graph.

        Raises:
            TypeError: ``graph`` is no IrGraph.
            ValueError: as :func:`paddle_custom_quant.quant_aware`.
        """
        if not isinstance(graph, IrGraph):
            raise TypeError(f"graph must be an IrGraph, got {type(graph).__name__}.")
        compat.require_legacy_static()
        if self._is_test is None:
            self._is_test = graph.is_test()
        if self.for_test is None:  # PaddleSlim hands over graphs that do not know
            self.for_test = bool(self._is_test)
        vars(graph)["out_node_mapping_table"] = {}  # PaddleSlim expects one
        if any(node.graph_id() for node in graph.graph.nodes()):  # the global block's is 0
            self.left_in_float += tuple(self._quantizable(graph))
            return graph
        editor = GraphEditor(graph)
        environment = Environment(self._scope, self._place, self._exe, self._optimizer)
        self.inserted = insert(editor, self._request(graph), environment)
        return graph

    def placement(self, graph: IrGraph) -> Placement:
        """What :meth:`apply` would quantize; nothing is changed."""
        return decide(GraphEditor(graph), self._request(graph))

    def _request(self, graph: IrGraph) -> Request:
        skip = self._skip_pattern
        return Request(
            weight=self._rule(self._weight_quantize_func, self._weight_quantize_type, True),
            activation=self._rule(self._act_quantize_func, self._activation_quantize_type, False),
            weight_preprocess=_optional(self._weight_preprocess_func),
            activation_preprocess=_optional(self._act_preprocess_func),
            gradient=_optional(self.grad_quantize_func) if not self.for_test else None,
            weight_ops=tuple(self._quantizable_ops),
            activation_ops=tuple(self.activation_op_types),
            skip=(skip,) if isinstance(skip, str) else tuple(skip or ()),
            training=not self.for_test,
        )

    def _rule(self, function: Any, kind: str, weight: bool) -> Rule:
        if function is not None:
            return as_rule(function)
        return BuiltInRule(
            BuiltIn(
                kind=kind,
                bits=self._weight_bits if weight else self._activation_bits,
                onnx_format=self.onnx_format,
                update=not self._is_test,
                moving_rate=self._moving_rate,
                window=self._window_size,
            )
        )

    def _quantizable(self, graph: IrGraph) -> list[str]:
        kinds = {*self._quantizable_ops, *self.activation_op_types}
        return sorted(
            f"{op.name()} -> {op.output_arg_names()[0]}"
            for op in graph.all_op_nodes()
            if op.name() in kinds
        )


class QuantizationTransformPass(_Engine, UpstreamPass):
    """Paddle's ``QuantizationTransformPass`` (``onnx_format=False``) with the working engine.

    Constructor arguments are upstream's; quantizers and rules are accepted where functions are.
    """


class QuantizationTransformPassV2(_Engine, UpstreamPassV2):
    """Paddle's ``QuantizationTransformPassV2`` (``onnx_format=True``) with the working engine.

    Constructor arguments are upstream's; quantizers and rules are accepted where functions are.
    """

    onnx_format = True


def _optional(value: Any) -> Rule | None:
    return None if value is None else as_rule(value)
