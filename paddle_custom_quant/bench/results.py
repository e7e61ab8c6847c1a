"""Results of a suite: rows, one a cell, and groups of rows that differ in the seed alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .cells import PlannedCell
from .folder import SuiteFolder

FINISHED, FAILED, NOT_TRAINED, WAITING = "finished", "failed", "not trained", "waiting"


@dataclass(frozen=True)
class Row:
    """One cell.

    Attributes:
        name: of the cell, and of its files.
        group: the same without the seed.
        net, method, bits, setting, folding, seed: what it is.
        status: finished; failed; not trained, as the setting cannot take the method; or waiting.
        top1: percent of the test images, of the program that engines repeat.
        float_top1: that of the float net that it starts from.
        lost: float_top1 - top1.
        deployable: an engine proved it.
        engine: which one; empty if none did.
        top1_agreement: with ONNX Runtime and that engine, the lower one, from 0 to 1.
        reason: why it is not deployable.
        values: sha256 of all trained values.
    """

    name: str
    group: str
    net: str
    method: str
    bits: int
    setting: str
    folding: int | None
    seed: int
    status: str
    top1: float | None = None
    float_top1: float | None = None
    lost: float | None = None
    deployable: bool = False
    engine: str = ""
    top1_agreement: float | None = None
    reason: str = ""
    values: str = ""


def collect(
    folder: SuiteFolder, cells: Sequence[PlannedCell], failed: Mapping[str, str]
) -> list[Row]:
    """A row for each cell, in their order.

    Args:
        folder: of the suite's results.
        cells: of the suite.
        failed: why a process ended without a result, by cell.
    """
    return [_row(planned, folder.result(planned.name), failed) for planned in cells]


def _row(planned: PlannedCell, held: dict[str, Any] | None, failed: Mapping[str, str]) -> Row:
    cell = planned.cell
    what = {
        "name": planned.name, "group": planned.group, "net": str(cell.net), "method": cell.method,
        "bits": cell.bits, "setting": cell.setting, "folding": cell.folding, "seed": cell.seed,
    }  # fmt: skip
    if planned.recipe is None:
        return Row(**what, status=NOT_TRAINED, reason=planned.reason)
    if held is None:
        if planned.name in failed:
            return Row(**what, status=FAILED, reason=failed[planned.name])
        return Row(**what, status=WAITING, reason="it has not run yet")
    if held["status"] == FAILED:
        return Row(**what, status=FAILED, reason=held["reason"])
    proof = held["proof"]
    return Row(
        **what,
        status=FINISHED,
        top1=held["score"]["top1"],
        float_top1=held["float_top1"],
        lost=held["lost"],
        deployable=proof["deployable"],
        engine=proof["engine"] if proof["deployable"] else "",
        top1_agreement=proof["top1_agreement"],
        reason=proof["reason"],
        values=held["sha256"]["values"],
    )


@dataclass(frozen=True)
class Group:
    """Cells that differ in the seed alone."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        """For what they share."""
        return self.rows[0]

    @property
    def top1(self) -> list[float]:
        """Of those that finished."""
        return [row.top1 for row in self.rows if row.top1 is not None]

    @property
    def mean(self) -> float | None:
        """Mean top-1; ``None`` if none finished."""
        return sum(self.top1) / len(self.top1) if self.top1 else None

    @property
    def lost(self) -> float | None:
        """Mean of what was lost against the float net."""
        lost = [row.lost for row in self.rows if row.lost is not None]
        return sum(lost) / len(lost) if lost else None

    @property
    def deployable(self) -> bool:
        """All of them are."""
        return all(row.deployable for row in self.rows)

    @property
    def engines(self) -> list[str]:
        """Those that proved its cells."""
        return sorted({row.engine for row in self.rows if row.engine})

    @property
    def agreement(self) -> float | None:
        """The lowest agreement with an engine."""
        held = [row.top1_agreement for row in self.rows if row.top1_agreement is not None]
        return min(held) if held else None

    @property
    def reason(self) -> str:
        """The first reason against it."""
        return next((row.reason for row in self.rows if row.reason), "")


def groups(rows: Sequence[Row]) -> list[Group]:
    """The rows by what they share, in the order of their first."""
    held: dict[str, list[Row]] = {}
    for row in rows:
        held.setdefault(row.group, []).append(row)
    return [Group(tuple(of)) for of in held.values()]


COLUMNS = (
    "net", "method", "bits", "setting", "folding", "top-1 (%)", "lowest to highest", "seeds",
    "lost", "deployable", "engine", "agreement", "why not",
)  # fmt: skip


def cells_of(group: Group) -> list[str]:
    """A group as text, one a column."""
    first, top1 = group.first, group.top1
    number = [f"{group.mean:.2f}", f"{min(top1):.2f} to {max(top1):.2f}"] if top1 else ["-", "-"]
    return [
        first.net,
        first.method,
        str(first.bits),
        first.setting,
        "-" if first.folding is None else str(first.folding),
        *number,
        str(len(top1)),
        "-" if group.lost is None else f"{group.lost:.2f}",
        "yes" if group.deployable else "no",
        ", ".join(group.engines) or "-",
        "-" if group.agreement is None else f"{group.agreement:.2%}",
        group.reason,
    ]


def as_markdown(rows: Sequence[Row]) -> str:
    """One line a group: mean and range over seeds."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(cells_of, groups(rows))]
    escaped = ([text.replace("|", "\\|") for text in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def as_csv(rows: Sequence[Row]) -> str:
    """One line a cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def as_json(folder: SuiteFolder, suite: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """All there is: the suite, and for each cell its row, versions, seeds, files and hashes."""
    cells = [{**asdict(row), "cell": folder.result(row.name)} for row in rows]
    return json.dumps({"suite": suite, "cells": cells}, indent=2) + "\n"


__all__ = [
    "COLUMNS",
    "FAILED",
    "FINISHED",
    "NOT_TRAINED",
    "WAITING",
    "Group",
    "Row",
    "as_csv",
    "as_json",
    "as_markdown",
    "cells_of",
    "collect",
    "groups",
]
