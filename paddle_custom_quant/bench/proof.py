"""Whether a trained cell can be deployed: shown by an engine, not claimed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..deploy import compare, freeze, round_biases
from ..qat.backends import backend

ENGINE = "onnxruntime"
AGREEMENT = 0.995


@dataclass(frozen=True)
class Proof:
    """What the engine gave.

    Attributes:
        deployable: all layers run on integers, and the largest output is that of the trained
            program on at least 99.5 % of the images.
        reason: why not; empty if it is.
        top1_agreement: share of images with the same largest output; ``None`` if it did not run.
        images: how many there were.
        integer_layers: layers that the engine ran on integers.
        all_layers: convolutions and linear layers.
    """

    deployable: bool
    reason: str = ""
    top1_agreement: float | None = None
    images: int = 0
    integer_layers: int = 0
    all_layers: int = 0


def prove(program: Any, scope: Any, images: np.ndarray, setting: str) -> Proof:
    """Move biases onto what integer kernels add, then compare with ONNX Runtime.

    Args:
        program: the trained test program, of the old kind.
        scope: holds its values; biases change.
        images: to compare on, float32 ``[N, channels, height, width]``.
        setting: the hardware setting.
    """
    if not backend(setting).integers:
        return Proof(False, f"the {setting} setting is of papers, not of an engine")
    try:
        round_biases(program, scope)
        frozen = freeze(program, scope)
        layers, integer = len(frozen.weighted_layers()), len(frozen.integer_layers())
        if integer < layers:
            notes = "; ".join(f"{note.tensor}: {note.text}" for note in frozen.notes)
            return Proof(
                False,
                f"{layers - integer} of {layers} layers have no integer form ({notes})",
                integer_layers=integer,
                all_layers=layers,
            )
        row = compare(program, scope, images, frozen=frozen, engines=[ENGINE]).row(ENGINE)
    except ValueError as error:
        return Proof(False, " ".join(str(error).split()))
    if not row.ran:
        return Proof(False, row.failed or f"not shown: {row.skipped}", all_layers=layers)
    reason = ""
    if row.integer_layers < row.all_layers:
        reason = (
            f"{ENGINE} runs {row.all_layers - row.integer_layers} of {row.all_layers} layers in "
            f"float, such as {row.float_kernels[0]}"
        )
    elif row.top1_agreement < AGREEMENT:
        reason = f"{ENGINE} agrees on {row.top1_agreement:.2%} of the images, less than 99.5 %"
    return Proof(
        not reason, reason, row.top1_agreement, row.samples, row.integer_layers, row.all_layers
    )


__all__ = ["AGREEMENT", "ENGINE", "Proof", "prove"]
