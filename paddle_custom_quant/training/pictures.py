"""Training as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .metrics import Score
from .trainer import Curve

_COLOURS = ("#1f77b4", "#d95f02", "#2ca02c", "#7b3294")


def training_picture(
    path: str | Path,
    title: str,
    curves: Mapping[str, Curve],
    scores: Mapping[str, Score],
    unit: str = "iteration",
) -> None:
    """Draw loss and top-1 over a training, one line for each stage, as a PNG file.

    The faint line is each value, the strong one its running mean; the dot at the end of a stage is
    its result on the test images.

    Args:
        path: of the file.
        title: heading.
        curves: by stage name.
        scores: results on the test images, by stage name.
        unit: what a value of a curve stands for.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), dpi=120, layout="constrained")
    loss_axes, top1_axes = figure.subplots(2, 1, sharex=True)
    for order, ((name, curve), colour) in enumerate(zip(curves.items(), _COLOURS)):
        for axes, values, result, text in (
            (loss_axes, curve.loss, scores[name].loss, f"{scores[name].loss:.3f}"),
            (top1_axes, curve.top1, scores[name].top1, f"{scores[name].top1:.2f} %"),
        ):
            steps = np.arange(1, len(values) + 1)
            axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.7)
            axes.plot(steps, _running_mean(values), color=colour, label=f"{name} (test {text})")
            # Results of different stages can coincide: the later is the smaller dot on top.
            axes.plot(steps[-1], result, "o", color=colour, markersize=10 - 3 * order, zorder=3)
    loss_axes.set_ylabel("cross entropy")
    loss_axes.set_yscale("log")
    top1_axes.set_ylabel("top-1 (%)")
    top1_axes.set_ylim(0, 101)
    top1_axes.set_xlabel(f"{unit} of the stage")
    for axes in (loss_axes, top1_axes):
        axes.grid(alpha=0.3)
        axes.legend(loc="best")
    figure.suptitle(title)
    figure.savefig(path)


def _running_mean(values: list[float]) -> np.ndarray:
    """Exponentially weighted mean up to each value, over about a fiftieth of them all."""
    keep = 1 - 1 / max(1.0, len(values) / 50)
    sums, weight, total = [], 0.0, 0.0
    for value in values:
        weight, total = keep * weight + 1, keep * total + value
        sums.append(total / weight)
    return np.array(sums)
