"""Whether a trained cell can be deployed: shown by engines, not claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..deploy import compare, freeze, round_biases
from ..deploy.engines import ENGINES as INSTALLED
from ..deploy.report import Row
from ..qat.backends import backend

ENGINES = ("onnxruntime", "openvino")
AGREEMENT = 0.995


@dataclass(frozen=True)
class Proof:
    """What the engines gave.

    Attributes:
        deployable: the largest output of ONNX Runtime is that of the trained program on at least
            99.5 % of the images, and ``engine`` runs all layers on integers and agrees as often.
        engine: ONNX Runtime; OpenVINO where only that runs all layers on integers.
        reason: why not; empty if it is.
        top1_agreement: share of images with the same largest output, the lower one where two
            engines were asked; ``None`` if none was.
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
    engine: str = ENGINES[0]


def check_engines() -> None:
    """Raise ValueError unless the engines are installed."""
    missing = [name for name in ENGINES if not INSTALLED[name].installed]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} must show whether cells can be deployed, and is not "
            "installed: pip install paddle-custom-quant[bench]."
        )


def prove(program: Any, scope: Any, images: np.ndarray, setting: str) -> Proof:
    """Move biases onto what integer kernels add, then compare with the engines.

    Args:
        program: the trained test program, of the old kind.
        scope: holds its values; biases change.
        images: to compare on, float32 ``[N, channels, height, width]``.
        setting: the hardware setting.

    Raises:
        RuntimeError: an engine gave no result, which says nothing of the net.
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
        asked: list[Proof] = []
        for engine in ENGINES:
            row = compare(program, scope, images, frozen=frozen, engines=[engine]).row(engine)
            asked.append(_proof(row, layers))
            if asked[-1].deployable or (asked[0].top1_agreement or 0) < AGREEMENT:
                break
    except ValueError as error:
        return Proof(False, " ".join(str(error).split()))
    return _together(asked)


def _proof(row: Row, layers: int) -> Proof:
    """Of one engine alone."""
    if not row.ran:
        raise RuntimeError(f"{row.engine} gave no result: {row.failed or row.skipped}")
    reason, every = "", max(row.all_layers, layers)
    if row.integer_layers < every:
        such = f", such as {row.float_kernels[0]}" if row.float_kernels else ""
        reason = f"{row.engine} runs {every - row.integer_layers} of {every} layers in float{such}"
    elif row.top1_agreement < AGREEMENT:
        reason = f"{row.engine} agrees on {row.top1_agreement:.2%} of the images, less than 99.5 %"
    return Proof(
        not reason, reason, row.top1_agreement, row.samples, row.integer_layers, every, row.engine
    )


def _together(asked: Sequence[Proof]) -> Proof:
    """The last engine's proof, with the lower agreement; all their reasons if none will do."""
    last = asked[-1]
    agreements = [proof.top1_agreement for proof in asked if proof.top1_agreement is not None]
    lowest = min(agreements, default=None)
    if last.deployable:
        return replace(last, top1_agreement=lowest)
    reason = "; ".join(proof.reason for proof in asked)
    return replace(asked[0], reason=reason, top1_agreement=lowest)


__all__ = ["AGREEMENT", "ENGINES", "Proof", "check_engines", "prove"]
