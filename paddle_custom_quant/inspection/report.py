"""The layer report: what quantization costs, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable

import numpy as np
import paddle

from ..compat import legacy_static
from .errors import ErrorSum, TensorError, decibels
from .model import Model
from .program import as_model
from .scales import grid_of
from .summary import quantized_tensor
from .switching import Layer, layers_of, root, with_layers
from .table import columns

Feed = Mapping[str, np.ndarray]
Metric = Callable[[np.ndarray, Feed], float]


@dataclass(frozen=True)
class LayerFacts:
    """What quantization does to a layer.

    Attributes:
        layer: its weight's name, or that of its output.
        operator: its type.
        weight_bits: width of its weight, ``None`` where unknown or in float.
        activation_bits: width of its input.
        weight: error of the quantized weight.
        activation: error of the quantizer on its input, within the quantized program.
        output: its output in the quantized program against that in the float program: what all
            quantizers so far do together.
        score: the metric when only this layer is quantized.
        lost: the float program's metric minus ``score``.
    """

    layer: str
    operator: str
    weight_bits: int | None
    activation_bits: int | None
    weight: TensorError | None
    activation: TensorError | None
    output: TensorError
    score: float | None = None
    lost: float | None = None


@dataclass(frozen=True)
class LayerReport:
    """Every quantized layer of a program; ``str()`` gives a table.

    Attributes:
        layers: in program order.
        float_score: metric of the program with every layer in float.
        quantized_score: metric of the program as it is.
    """

    layers: tuple[LayerFacts, ...]
    float_score: float | None = None
    quantized_score: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; infinite ratios are ``None``."""
        return {
            "float_score": self.float_score,
            "quantized_score": self.quantized_score,
            "layers": [_finite(asdict(layer)) for layer in self.layers],
        }

    def __str__(self) -> str:
        heads = (
            "layer", "op", "bits", "weight SNR", "clipped", "levels", "input SNR", "clipped",
            "levels", "output SNR", "lost",
        )  # fmt: skip
        lines = columns([heads, *map(_row, self.layers)])
        if self.float_score is not None:
            lines.append(f"float {self.float_score:.2f}, quantized {self.quantized_score:.2f}")
        return "\n".join(lines)


def layer_report(
    program: Any,
    batches: Sequence[Feed],
    scope: Any = None,
    *,
    output: Any = None,
    label: str | None = None,
    metric: Metric | None = None,
    place: Any = None,
) -> LayerReport:
    """Measure every layer of a quantized test program on some batches.

    The float program that it is compared with is the same program over the same scope, with
    every layer reading the float tensors.

    Args:
        program: a quantized program for test (``for_test=True``), of the old kind.
        batches: what to feed, by input name; used several times.
        scope: holds the parameters; the global scope by default.
        output: variable (or its name) that the metric judges; without it no layer is measured
            alone.
        label: input that holds the classes: the metric is then top-1 in percent.
        metric: ``metric(output values, feed)``, more is better; its mean over batches is taken.
        place: where to run; the CPU by default.

    Raises:
        TypeError: ``program`` is no program of the old kind.
        ValueError: no batches, no quantized layer, a training program, or an output without a
            metric.
    """
    model = as_model(program, scope)
    layers = _checked(model, batches, output, label, metric)
    scope = scope or paddle.static.global_scope()
    if isinstance(program, paddle.static.CompiledProgram):
        program = program._program
    with legacy_static():
        runner = _Runner(scope, place or paddle.CPUPlace(), batches)
        bare = with_layers(program, model, ())
        facts = _errors(runner, program, bare, model, layers)
        if output is None:
            return LayerReport(tuple(facts))
        judge = metric or _top1(label or "")
        name = output if isinstance(output, str) else output.name
        start = runner.score(bare, name, judge)
        for i, layer in enumerate(layers):
            score = runner.score(with_layers(program, model, {layer.output}), name, judge)
            facts[i] = LayerFacts(**{**vars(facts[i]), "score": score, "lost": start - score})
        return LayerReport(tuple(facts), start, runner.score(program, name, judge))


def _checked(
    model: Model, batches: Sequence[Feed], output: Any, label: str | None, metric: Metric | None
) -> list[Layer]:
    if not batches:
        raise ValueError("the layer report needs at least one batch, got none.")
    if any(op.kind.endswith("_grad") for op in model.operators):
        raise ValueError(
            "this is a training program: pass the test program, quantized with for_test=True."
        )
    if output is not None and label is None and metric is None:
        raise ValueError(
            "an output needs a metric: pass label (the input that holds the classes) or metric."
        )
    layers = layers_of(model)
    if not layers:
        raise ValueError("this program has no quantized layer: pass what quant_aware returned.")
    return layers


class _Runner:
    """Runs programs over the same batches."""

    def __init__(self, scope: Any, place: Any, batches: Sequence[Feed]) -> None:
        self._scope, self._batches = scope, batches
        self._executor = paddle.static.Executor(place)

    def fetch(self, program: Any, feed: Feed, names: list[str]) -> dict[str, np.ndarray]:
        wanted = [program.global_block().var(name) for name in names]
        held = {k: v for k, v in feed.items() if program.global_block().has_var(k)}
        with paddle.static.scope_guard(self._scope):
            values = self._executor.run(
                program, feed=held, fetch_list=[v.name for v in wanted], use_prune=True
            )
        return dict(zip(names, values))

    def score(self, program: Any, output: str, metric: Metric) -> float:
        scores = [metric(self.fetch(program, f, [output])[output], f) for f in self._batches]
        return float(np.mean(scores))

    def __iter__(self) -> Any:
        return iter(self._batches)


def _errors(
    runner: _Runner, program: Any, bare: Any, model: Model, layers: list[Layer]
) -> list[LayerFacts]:
    copies = {one.copy: one for layer in layers for one in _inputs(layer)}
    grids = {name: grid_of(one, model) for name, one in copies.items()}
    sums = {name: ErrorSum(grid) for name, grid in grids.items()}
    outputs = {layer.output: ErrorSum() for layer in layers}
    weights = {layer.weight.copy for layer in layers if layer.weight}
    for i, feed in enumerate(runner):
        wanted = {c: one for c, one in copies.items() if not (i and c in weights)}
        names = [n for c, one in wanted.items() for n in (c, root(one, copies))]
        found = runner.fetch(program, feed, list(dict.fromkeys([*names, *outputs])))
        reference = runner.fetch(bare, feed, list(outputs))
        for copy, one in wanted.items():
            sums[copy].add(found[root(one, copies)], found[copy])
        for name, total in outputs.items():
            total.add(reference[name], found[name])
    totals = {name: held.total() for name, held in sums.items()}
    bits = {name: quantized_tensor(one, model, grids[name]).bits for name, one in copies.items()}
    return [
        LayerFacts(
            layer.name,
            layer.operator.kind,
            bits[layer.weight.copy] if layer.weight else None,
            bits[layer.activations[0].copy] if layer.activations else None,
            totals[layer.weight.copy] if layer.weight else None,
            totals[layer.activations[0].copy] if layer.activations else None,
            outputs[layer.output].total(),
        )
        for layer in layers
    ]


def _inputs(layer: Layer) -> list[Any]:
    return [*((layer.weight,) if layer.weight else ()), *layer.activations]


def _top1(label: str) -> Metric:
    def top1(values: np.ndarray, feed: Feed) -> float:
        if label not in feed:
            raise ValueError(f"the batches have no input {label!r}, only {sorted(feed)}.")
        right = values.argmax(axis=-1).ravel() == np.asarray(feed[label]).ravel()
        return 100 * float(right.mean())

    return top1


def _row(facts: LayerFacts) -> tuple[str, ...]:
    def error(e: TensorError | None) -> tuple[str, str, str]:
        if e is None:
            return "float", "-", "-"
        shares = (e.clipped, e.levels_used)
        clipped, used = ("?" if s is None else f"{s:.1%}" for s in shares)
        return decibels(e.snr), clipped, used

    widths = (facts.weight_bits, facts.activation_bits)
    bits = "/".join("-" if width is None else str(width) for width in widths)
    lost = "-" if facts.lost is None else f"{facts.lost:.2f}"
    return (
        facts.layer, facts.operator, bits, *error(facts.weight), *error(facts.activation),
        decibels(facts.output.snr), lost,
    )  # fmt: skip


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(held) for key, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


__all__ = ["LayerFacts", "LayerReport", "layer_report"]
