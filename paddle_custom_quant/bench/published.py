"""Check a folder of results: every number has its recipe, log and hash, and they agree."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..training.recipe_file import load_recipe
from .cell_run import LOG, RECIPE
from .cells import PlannedCell, planned_cells
from .folder import SuiteFolder
from .overview import as_document
from .page import figure, lines_of
from .proof import AGREEMENT
from .results import FINISHED, Row, as_csv, as_json, collect
from .suite import load_suite, suite_as_data

# Points of top-1 that rounded biases may cost or give.
ROUNDED = 1.0
_TOLD = ("seeds", "versions", "data", "commit", "threads")


def problems(root: Path) -> list[str]:
    """What is wrong with a folder of results; nothing if the list is empty.

    Args:
        root: folder that ``paddle-custom-quant bench`` wrote; ``work/`` may be left out.
    """
    folder = SuiteFolder(root)
    try:
        suite = load_suite(folder.suite)
        cells = planned_cells(suite, yes=True)
    except ValueError as error:
        return [str(error)]
    found = []
    for planned in cells:
        if planned.recipe is not None:
            found += [f"{planned.name}: {told}" for told in _of_cell(folder, planned)]
    if found:
        return found
    names = {planned.name for planned in cells if planned.recipe is not None}
    kept = root / "cells"
    others = {path.name for path in kept.iterdir()} - names if kept.is_dir() else set()
    found += [f"cells/{name} is of no cell of the suite" for name in sorted(others)]
    rows = collect(folder, cells, {})
    expected = {
        "results.csv": as_csv(rows),
        "results.md": as_document(rows),
        "results.json": as_json(folder, suite_as_data(suite), rows),
    }
    for name, text in expected.items():
        path = root / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.read_text(encoding="utf-8") != text:
            found.append(f"{name} does not agree with the cells")
    return [*found, *_of_page(root, rows)]


def _of_page(root: Path, rows: list[Row]) -> list[str]:
    """Whether the page shows the rows, and the pictures that stand beside it."""
    try:
        page = (root / "results.html").read_text(encoding="utf-8")
    except OSError:
        return ["results.html is missing"]
    shown = sorted((root / "pictures").glob("*.png"))
    parts = [lines_of(rows), *(figure(path.name, path.read_bytes()) for path in shown)]
    found = [] if all(part in page for part in parts) else ["results.html does not agree"]
    if page.count("<figure>") != len(shown):
        found.append(f"results.html has {page.count('<figure>')} pictures, pictures/ {len(shown)}")
    return found


def _of_cell(folder: SuiteFolder, planned: PlannedCell) -> list[str]:
    held = folder.result(planned.name)
    if held is None:
        return ["there is no result"]
    place = folder.cell(planned.name)
    found = []
    for name in (RECIPE, LOG):
        path = place / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != held["sha256"][name]:
            found.append(f"{name} has another hash than the result says")
    if found:
        return found
    found += [f"the result does not say its {key}" for key in _TOLD if key not in held]
    if held["name"] != planned.name or held["cell"] != planned.cell.model_dump(mode="json"):
        found.append("the result is of another cell than its name says")
    try:
        if load_recipe(place / RECIPE) != planned.recipe:
            found.append("the recipe is not that of the suite")
    except ValueError as error:
        found.append(str(error))
    return [*found, *(_of_log(place / LOG, held) if held["status"] == FINISHED else [])]


def _of_log(path: Path, held: dict[str, Any]) -> list[str]:
    """Whether the log leads to the numbers."""
    last = {row["stage"]: row for row in map(json.loads, path.read_text().splitlines())}
    found = []
    if "float" not in last or last["float"]["test_top1"] != held["float_top1"]:
        found.append("the log's float top-1 is not that of the result")
    if abs(held["float_top1"] - held["score"]["top1"] - held["lost"]) > 1e-9:
        found.append("what was lost is not the difference of the two top-1")
    # Where an engine is to run it, biases are rounded after the log's last row.
    if "quantized" in last:
        moved = abs(last["quantized"]["test_top1"] - held["score"]["top1"])
        if moved > (0 if held["cell"]["setting"] == "academic" else ROUNDED):
            found.append("the log's quantized top-1 is not that of the result")
    proof = held["proof"]
    if proof["deployable"] and not (proof["top1_agreement"] or 0) >= AGREEMENT:
        found.append("it is called deployable with too low an agreement")
    if not proof["deployable"] and not proof["reason"]:
        found.append("it is called not deployable without a reason")
    return found


__all__ = ["problems"]
