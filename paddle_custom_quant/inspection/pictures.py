"""The layer report as pictures: sensitivity bars, histograms with the grid drawn in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from .errors import TensorError
from .report import LayerReport

_FLOAT, _GRID, _LOST = "#4c78a8", "#b23a8e", "#d95f02"
COLUMNS = 4


def write_pictures(report: LayerReport, folder: str | Path) -> list[Path]:
    """Draw a report: ``sensitivity.png``, ``weights.png``, ``activations.png``.

    Needs matplotlib (``pip install paddle-custom-quant[inspect]``).

    Args:
        report: what to draw; without scores there is no picture of sensitivity.
        folder: is created where it is missing.

    Returns:
        The files, in this order.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if report.float_score is not None:
        written.append(_sensitivity(report, folder / "sensitivity.png"))
    for kind in ("weight", "activation"):
        drawn = [(f.layer, e) for f in report.layers if (e := getattr(f, kind)) is not None]
        if drawn:
            path = folder / f"{'weights' if kind == 'weight' else 'activations'}.png"
            written.append(_histograms(f"{kind}s and their grids", drawn, path))
    return written


def _sensitivity(report: LayerReport, path: Path) -> Path:
    count = len(report.layers)
    figure = _figure(8, 1.3 + 0.26 * count)
    axes = figure.subplots()
    places = np.arange(count)
    lost = [facts.lost or 0.0 for facts in report.layers]
    axes.barh(places, lost, color=_LOST, height=0.7)
    axes.set_yticks(places, [_plain(facts.layer) for facts in report.layers], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("lost when only this layer is quantized")
    axes.set_title(
        f"float {report.float_score:.2f}, all layers quantized {report.quantized_score:.2f}",
        fontsize=10,
    )
    figure.savefig(path)
    return path


def _histograms(title: str, drawn: list[tuple[str, TensorError]], path: Path) -> Path:
    columns = min(COLUMNS, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    figure = _figure(2.9 * columns, 0.5 + 1.9 * rows)
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid[len(drawn) :]:
        axes.set_visible(False)
    for axes, (name, error) in zip(grid, drawn):
        histogram = error.histogram
        if histogram is None:
            continue
        edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
        axes.stairs(histogram.counts, edges, fill=True, color=_FLOAT, alpha=0.8)
        for level in histogram.levels:
            axes.axvline(level, color=_GRID, linewidth=0.7, alpha=0.6, zorder=0)
        facts = [f"{error.snr:.1f} dB"]
        if error.clipped is not None:
            facts.append(f"{error.clipped:.1%} clipped")
        axes.set_title(f"{_plain(name)}\n{', '.join(facts)}", fontsize=8)
        axes.set_yticks([])
        if histogram.in_steps:
            axes.set_xlabel("steps of the channel", fontsize=7)
        axes.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)
    return path


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, min(height, 100)), dpi=110, layout="constrained")


def _plain(name: str) -> str:
    """A name from a model as a label: matplotlib reads formulas between dollar signs."""
    name = name if len(name) <= 32 else f"{name[:15]}...{name[-14:]}"
    return name.replace("$", r"\$")


__all__ = ["write_pictures"]
