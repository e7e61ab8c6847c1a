"""What to say of a quantized stage that starts badly."""

from __future__ import annotations

import numpy as np

from ..inspection.report import layer_report
from .batch_norm import largest_ratio
from .recipe import Quantized, Recipe
from .stage_programs import StagePrograms

# A first loss above this multiple of the float one, plus a constant for nets that know it all.
_JUMP, _MARGIN = 2.0, 0.5
_LARGE_RATIO = 100.0
_NOISY = 3.0  # dB


def start_report(
    loss: float, before: float, programs: StagePrograms, stage: Quantized, recipe: Recipe
) -> str:
    """A sentence where the first loss is far above the float one, else an empty text.

    Args:
        loss: of the first step, before its update.
        before: training loss at the end of the stage before.
        programs: of the stage.
        stage: of the recipe.
        recipe: that it belongs to.
    """
    if loss <= _JUMP * before + _MARGIN:
        return ""
    return (
        f"the quantized stage starts with a loss of {loss:.3f}, the float net had {before:.3f}. "
        f"Likely causes: {'; '.join(_causes(programs, stage, recipe))}."
    )


def collapse_report(
    top1: float,
    before: float,
    step: int,
    programs: StagePrograms,
    stage: Quantized,
    images: np.ndarray,
) -> str:
    """What to say of a net that has lost what it knew, with the layer where that begins.

    Args:
        top1: percent now.
        before: percent in float.
        step: how many have been done.
        programs: of the stage.
        stage: of the recipe.
        images: network inputs to measure the layers on.
    """
    ratio, layer = largest_ratio(programs.train, programs.scope)
    if ratio > _LARGE_RATIO:
        cause = f"the batch-norm ratio gamma / sigma of {ratio:.3g} in {layer}"
    else:
        cause = f"the learning rate {stage.learning_rate:g}, or too few bits"
    return (
        f"the accuracy collapsed: after {step} steps with quantizers {top1:.1f} % of the training "
        f"images are right, the float net had {before:.1f} %; it begins in "
        f"{_worst(programs, images)}. "
        f"Likely cause: {cause}. The float net is kept."
    )


def _causes(programs: StagePrograms, stage: Quantized, recipe: Recipe) -> list[str]:
    found = []
    ratio, layer = largest_ratio(programs.train, programs.scope)
    if ratio > _LARGE_RATIO:
        found.append(f"a batch-norm ratio gamma / sigma of {ratio:.3g} in {layer}")
    tenth = recipe.float_stage.learning_rate / 10
    if stage.learning_rate > 1.0001 * tenth:
        found.append(f"a learning rate of {stage.learning_rate:g}, above a tenth of float's")
    methods, bits = _methods_and_bits(recipe)
    if "dorefa" in methods:
        found.append("DoReFa changes the scale of weights and activations, which training mends")
    if bits <= 3:
        found.append("few bits")
    return found or ["start values of the quantizers: use more calibration batches"]


def _methods_and_bits(recipe: Recipe) -> tuple[set[str], int]:
    """What quantizes, and the fewest bits."""
    if recipe.hardware is not None:
        return {recipe.hardware.method}, recipe.hardware.bits
    held = recipe.quantizers
    assert held is not None
    methods = {held.weights.method, held.activations.method}
    return methods, min(held.weights.bits, held.activations.bits)


def _worst(programs: StagePrograms, images: np.ndarray) -> str:
    """The first layer whose output is mostly error, as against the same net in float."""
    feeds = [{programs.classifier.image: images}]
    report = layer_report(programs.test, feeds, programs.scope)
    noisy = [facts.layer for facts in report.layers if not facts.output.snr > _NOISY]
    return f"layer {noisy[0]}" if noisy else "no single layer: the float weights are bad too"


__all__ = ["collapse_report", "start_report"]
