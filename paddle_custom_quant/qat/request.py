"""From ``quant_aware``'s arguments to the pass that carries them out, inside PaddleSlim."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from paddleslim.quant import quanter

from ..quantizers.base import check_bits
from .insertion import Environment
from .transform_pass import QuantizationTransformPass, QuantizationTransformPassV2


@dataclass(frozen=True)
class Functions:
    """What the caller wants in the place of PaddleSlim's types: functions, quantizers or rules."""

    weight: Any = None
    activation: Any = None
    weight_preprocess: Any = None
    activation_preprocess: Any = None
    gradient: Any = None


def build_pass(
    config: Mapping[str, Any], functions: Functions, environment: Environment, for_test: bool
) -> Any:
    """The pass for these settings, constructed as PaddleSlim does."""
    parsed = quanter._parse_configs(dict(config))
    chosen = parsed["quant_config"]
    kind = QuantizationTransformPassV2 if parsed["onnx_format"] else QuantizationTransformPass
    made = kind(
        scope=environment.scope,
        place=environment.place,
        weight_bits=parsed["weight_bits"],
        activation_bits=parsed["activation_bits"],
        activation_quantize_type=parsed["activation_quantize_type"],
        weight_quantize_type=parsed["weight_quantize_type"],
        window_size=parsed["window_size"],
        moving_rate=parsed["moving_rate"],
        quantizable_op_type=chosen.weight_quant_operation_types,
        skip_pattern=parsed["not_quant_pattern"],
        weight_quantize_func=functions.weight,
        act_quantize_func=functions.activation,
        weight_preprocess_func=functions.weight_preprocess,
        act_preprocess_func=functions.activation_preprocess,
        optimizer_func=environment.optimizer_func,
        executor=environment.executor,
        is_test=True if for_test else not parsed["scale_trainable"],
    )
    made.for_test = for_test
    made.grad_quantize_func = functions.gradient
    made.activation_op_types = tuple(chosen.activation_quant_operation_types)
    return made


def check_config(config: dict[str, Any] | None) -> dict[str, Any]:
    """PaddleSlim's settings with its defaults, checked with errors of the right type."""
    if config is not None and not isinstance(config, dict):
        raise TypeError(f"config must be a dict of PaddleSlim's settings, got {config!r}.")
    held = {**quanter._quant_config_default, **(config or {})}
    check_bits(held["weight_bits"])
    check_bits(held["activation_bits"])
    try:
        quanter._parse_configs(held)
    except AssertionError as error:
        raise ValueError(f"config: {' '.join(str(error).split())}") from None
    return held


@contextmanager
def installed(engine: Any, output_scales: bool) -> Iterator[None]:
    """Let PaddleSlim's function run ``engine`` where it builds passes of its own."""
    once = _Once(engine)
    replacements: dict[str, Any] = {
        "QuantizationTransformPass": once,
        "QuantizationTransformPassV2": once,
        "AddQuantDequantPass": once,
        "AddQuantDequantPassV2": once,
        "save_dict": keep_no_table,
    }
    if not output_scales:
        replacements["OutScaleForTrainingPass"] = NoPass
    with replaced(quanter, replacements), warnings_only():
        yield


@contextmanager
def warnings_only() -> Iterator[None]:
    """Leave out PaddleSlim's notices, a dump of all settings with every call; warnings stay."""
    log = logging.getLogger(quanter.__name__)
    before = log.level
    log.setLevel(max(before, logging.WARNING))
    try:
        yield
    finally:
        log.setLevel(before)


class _Once:
    """Answers for several passes of PaddleSlim: the engine does all their work in one go."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._done: list[Any] = []

    def __call__(self, **settings: Any) -> _Once:
        return self

    def apply(self, graph: Any) -> None:
        """Run the engine on a graph, the first time it is asked to."""
        if not any(graph is done for done in self._done):
            self._done.append(graph)
            self._engine.apply(graph)


def keep_no_table(table: Any) -> None:
    """Stands for PaddleSlim's function that writes a file into the current directory."""


class NoPass:
    """Stands where PaddleSlim expects a pass whose work is done elsewhere, or not at all."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        pass

    def apply(self, graph: Any) -> None:
        """Do nothing."""


@contextmanager
def replaced(module: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Set attributes of a module for the extent of a ``with`` block."""
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
