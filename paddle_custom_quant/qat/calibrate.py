"""Start values of quantizer parameters, from data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import paddle

from .. import compat
from ..distributed import ProcessGroup
from ..quantizers.base import Sample
from ..scope import write
from ..target import ACTIVATION
from .observers import Observer
from .placement import Placed, Placement
from .weights import Weights

KEPT = 65536  # values kept of a tensor and batch: start values are statistics


def calibrate(
    program: paddle.static.Program,
    quantizers: Placement | paddle.static.Program,
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    observer: Observer | None = None,
    scope: Any = None,
    place: Any = None,
    group: ProcessGroup | None = None,
) -> dict[str, Sample]:
    """Run a few batches through the float program and set start values of quantizer parameters.

    Call it after ``quant_aware`` (which sets start values without data) and before training.
    Values of weights come from the weights as they are now.

    Args:
        program: the float test program that ``quant_aware`` was given.
        quantizers: the quantized program, or its placement.
        batches: feeds of the program, such as ``[{"image": array}, ...]``.
        observer: chooses each activation's range; by default the method chooses from the values.
        scope: holds the parameters; the global scope by default.
        place: where the program runs; the CPU by default.
        group: where several processes train together, each with its own part of each batch: all
            choose from what all have seen, as one process does that has the whole batches. Call
            ``data_parallel`` before, which gives all the same weights.

    Returns:
        What was seen of each tensor, by name.

    Raises:
        TypeError: ``program`` is no program of the old kind, or nothing says what is placed.
        ValueError: there are no batches, a batch is empty, or a quantized tensor saw no data.
    """
    compat.require_legacy_static(program)
    scope, place = scope or paddle.static.global_scope(), place or paddle.CPUPlace()
    group = group or ProcessGroup()
    placement = _placement(quantizers)
    activations = [p for p in placement if p.target.role == ACTIVATION]
    seen = _run(
        program,
        [p.target.name for p in activations],
        batches,
        scope,
        place,
        group,
    )
    weights = Weights(lambda name: program, scope, place)
    samples: dict[str, Sample] = {}
    for placed in placement:
        if placed.target.role == ACTIVATION:
            sample = _activation_sample(placed, seen[placed.target.name], observer)
        else:
            held = weights.sample(placed)
            if held is None:
                continue
            sample = held
        samples[placed.target.name] = sample
        for quantizer, label in zip(placed.stages, placed.labels):
            for key, parameter in quantizer.parameters(placed.target, sample).items():
                value = group.first(parameter.value)
                write(scope, place, parameter.name or f"{label}.{key}", value)
    return samples


def _placement(quantizers: Any) -> Placement:
    if isinstance(quantizers, Placement):
        return quantizers
    held = getattr(quantizers, "quantization", None)
    if held is None:
        raise TypeError(
            "quantizers must be a placement, or the program that quant_aware returned "
            f"(return_program=True), got {type(quantizers).__name__} without a placement."
        )
    placement: Placement = held.placement
    return placement


def _run(
    program: Any,
    names: list[str],
    batches: Iterable[Any],
    scope: Any,
    place: Any,
    group: ProcessGroup,
) -> dict[str, list[np.ndarray]]:
    """A thinned copy of each batch's values of each tensor."""
    names = list(dict.fromkeys(names))
    seen: dict[str, list[np.ndarray]] = defaultdict(list)
    absent = [name for name in names if not program.global_block().has_var(name)]
    if absent:
        raise ValueError(
            f"the float program has no tensor {absent[0]!r}: give the one that was quantized."
        )
    executor, count = paddle.static.Executor(place), 0
    with paddle.static.scope_guard(scope):
        for batch in batches:
            count += 1
            empty = [key for key, array in batch.items() if not np.size(array)]
            if empty:
                raise ValueError(f"calibration batch {count} is empty: {empty[0]!r} has no values.")
            for name, value in zip(names, executor.run(program, feed=batch, fetch_list=names)):
                if value.size:
                    seen[name].append(_thinned(value, group))
    if not count:
        raise ValueError("calibration needs at least one batch, got none.")
    for name in names:
        if not seen[name]:
            raise ValueError(f"no data reached {name!r}: every batch left it empty.")
    return seen


def _thinned(values: np.ndarray, group: ProcessGroup) -> np.ndarray:
    """Every n-th value of the whole batch, of which ``values`` is this process's part."""
    flat = values.reshape(-1)
    sizes = [int(size[0]) for size in group.gather(np.array([flat.size]))]
    step = -(-sum(sizes) // KEPT)
    kept = group.gather(flat[-sum(sizes[: group.rank]) % step :: step])
    # The extremes are kept: a range that is taken from the rest would clip them.
    extremes = np.stack(group.gather(np.array([flat.min(), flat.max()])))
    ends = [extremes[:, 0].min(), extremes[:, 1].max()]
    return np.concatenate([*kept, ends]).astype("float32")


def _activation_sample(
    placed: Placed, batches: list[np.ndarray], observer: Observer | None
) -> Sample:
    for values in batches:
        if not np.isfinite(values).all():
            raise ValueError(
                f"{placed.target.name!r} holds NaN or infinity in calibration: "
                f"check the data and the float parameters."
            )
    found = observer.range(batches, placed.quantizer) if observer else None
    return Sample(np.concatenate(batches), found)


__all__ = ["calibrate"]
