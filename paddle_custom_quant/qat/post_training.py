"""Post-training quantization: a float net and a few batches, no training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle
from paddle import static

from .. import compat
from ..quantizers.base import UniformGrid
from ..scope import read, write
from .backends import Backend, backend
from .calibrate import calibrate
from .folding import fold_batch_norm
from .layers import QuantizedLayer, find_layers
from .observers import MinMax, Observer
from .quant_aware import quant_aware
from .rounding import learn_rounding


@dataclass(frozen=True)
class PostTraining:
    """What :func:`quantize_post_training` made.

    Attributes:
        program: the quantized test program, ready for ``pcq.export`` and ``pcq.deploy.compare``.
        scope: holds its values; the float net's scope stays as it was.
        rounded: weights whose rounding was learned, with the error of their layer's output
            afterwards as a part of that with rounding to nearest.
        corrected: parameters that took a correction of a layer's mean, with its largest value.
    """

    program: Any
    scope: Any
    rounded: dict[str, float] = field(default_factory=dict)
    corrected: dict[str, float] = field(default_factory=dict)


def quantize_post_training(
    program: paddle.static.Program,
    batches: Iterable[Mapping[str, np.ndarray]],
    setting: str | Backend = "onnxruntime",
    *,
    weights: int = 8,
    activations: int = 8,
    observer: Observer | None = None,
    round_weights: int = 0,
    correct_biases: bool = True,
    scope: Any = None,
    place: Any = None,
) -> PostTraining:
    """Quantize a trained float net without training.

    Batch norm is folded where the setting has it so. Weights have the range of their values,
    activations what ``observer`` sees in ``batches``.

    Args:
        program: the float test program, of the old kind.
        batches: feeds of it, such as ``[{"image": array}, ...]``.
        setting: a hardware setting, or its name (:func:`.backend`).
        weights: bits of weights, 2 to 16; those of the first and last layer are 8.
        activations: bits of activations.
        observer: chooses the ranges of activations; the extremes by default.
        round_weights: steps of AdaRound a layer (arXiv 2004.10568): whether each weight is rounded
            up or down is learned from the layer's output. 0 rounds to nearest. It matters below 8
            bits; 1,000 are usual.
        correct_biases: take the mean error that rounded weights give each channel off what is
            added behind the layer (arXiv 1906.04721, section 4.2.1).
        scope: holds the float net's values, which stay; the global scope by default.
        place: where programs run; the CPU by default.

    Returns:
        The quantized program with its own scope.

    Raises:
        TypeError: a program of another kind, or bits that are no integers.
        ValueError: no batches, a setting that is not known, bits that do not exist, or a program
            that trains or is quantized.
    """
    compat.require_legacy_static(program)
    held = backend(setting) if isinstance(setting, str) else setting
    if not isinstance(round_weights, int) or round_weights < 0:
        raise ValueError(
            f"round_weights must be a number of steps, 0 or more, got {round_weights!r}."
        )
    if any(op.type.endswith("_grad") for op in program.global_block().ops):
        raise ValueError("the program trains: pass the test program, clone(for_test=True).")
    one = isinstance(batches, Mapping)
    batches = [] if one else list(batches)
    if one or not all(isinstance(batch, Mapping) for batch in batches):
        raise TypeError("batches must be feeds of the program, such as [{'image': array}, ...].")
    place = place or paddle.CPUPlace()
    own = _copied(program, scope or static.global_scope(), place)
    net = program.clone(for_test=True)
    if held.folds_batch_norm and any(op.type == "batch_norm" for op in net.global_block().ops):
        fold_batch_norm(net, strategy=0).start(own, place)
    arguments = held.arguments("absmax", weights, net, activation_bits=activations)
    inner = held.arguments("lsq" if held.symmetric else "lsq+", weights, net,
                           activation_bits=activations)  # fmt: skip
    arguments["act_quantize_func"] = inner["act_quantize_func"]
    quantized = quant_aware(net, place, for_test=True, scope=own, **arguments)
    calibrate(net, quantized, batches, observer=observer or MinMax(), scope=own, place=place)
    layers = find_layers(quantized)
    floats = {layer.weight: read(own, layer.weight) for layer in layers}
    result = PostTraining(quantized, own)
    for layer in layers if round_weights else ():
        share = _round(quantized, layer, batches, round_weights, own, place)
        if share is not None:
            result.rounded[layer.weight] = share
    for layer in layers if correct_biases else ():
        moved = _correct(quantized, layer, floats[layer.weight], batches, own, place)
        if moved is not None:
            result.corrected[layer.shift] = moved
    return result


def _copied(program: Any, scope: Any, place: Any) -> Any:
    """A scope with the values that the program reads."""
    own = static.Scope()
    for variable in program.list_vars():
        value = read(scope, variable.name) if variable.persistable else None
        if value is not None:
            write(own, place, variable.name, value)
    return own


def _run(program: Any, names: list[str], batch: Any, scope: Any, place: Any) -> list[np.ndarray]:
    with static.scope_guard(scope):
        found: list[np.ndarray] = static.Executor(place).run(program, batch, fetch_list=names)
    return found


def _round(
    program: Any, layer: QuantizedLayer, batches: Any, steps: int, scope: Any, place: Any
) -> float | None:
    """Learn the rounding of one weight, on what its layer reads by now."""
    values, quantizer = read(scope, layer.weight), layer.placed.stages[-1]
    assert values is not None
    grid = quantizer.grid(layer.placed.target, values)
    if not isinstance(grid, UniformGrid):
        return None
    samples = [_run(program, [layer.input], batch, scope, place)[0] for batch in batches]
    rounded, share = learn_rounding(layer, values, grid, np.concatenate(samples), steps, place)
    write(scope, place, layer.weight, rounded)
    return share


def _correct(
    program: Any, layer: QuantizedLayer, floats: Any, batches: Any, scope: Any, place: Any
) -> float | None:
    """Take the mean error that the rounded weight gives each channel off what is added."""
    if not layer.shift:
        return None
    held = read(scope, layer.shift)
    assert held is not None
    main = static.Program()
    with static.program_guard(main, static.Program()):
        x = static.data("x", [-1, *layer.input_shape])
        weights = [static.data(name, list(floats.shape)) for name in ("float", "rounded")]
        outputs = [layer.append(x, weight).name for weight in weights]
    means = []
    for batch in batches:
        read_by, rounded = _run(program, [layer.input, layer.quantized], batch, scope, place)
        fed = {"x": read_by, "float": floats, "rounded": rounded}
        exact, got = _run(main, outputs, fed, static.Scope(), place)
        error = np.moveaxis((got - exact).astype("float64"), layer.channel_axis, -1)
        means.append(error.reshape(-1, error.shape[-1]).mean(axis=0))
    change = -layer.sign * np.mean(means, axis=0)
    if change.size != held.size:
        return None
    write(scope, place, layer.shift, (held + change.reshape(held.shape)).astype(held.dtype))
    return float(np.abs(change).max())


__all__ = ["PostTraining", "quantize_post_training"]
