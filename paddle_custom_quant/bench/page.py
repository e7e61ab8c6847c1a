"""Results of a suite as one HTML page that needs nothing else, not even a network."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from importlib import resources

from ..inspection.offline_page import filled, policy
from .results import COLUMNS, FINISHED, NOT_TRAINED, Group, Row, cells_of, groups

_NUMBERS = ("bits", "folding", "top-1 (%)", "lowest to highest", "seeds", "lost", "agreement")
_DEPLOYABLE = COLUMNS.index("deployable")


def render(title: str, rows: Sequence[Row], pictures: Mapping[str, bytes]) -> str:
    """The page: a table that sorts, one line a group of seeds, and the pictures.

    Args:
        title: name of the suite.
        rows: of its cells.
        pictures: PNG files by name.
    """
    script, style = _asset("sort.js"), _asset("page.css")
    slots = {
        "policy": policy(script, style, "img-src data:"),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "summary": html.escape(summary(rows)),
        "head": "".join(_head(name) for name in COLUMNS),
        "rows": lines_of(rows),
        "pictures": "\n".join(figure(name, content) for name, content in pictures.items()),
    }
    return filled(_asset("page.html"), slots)


def summary(rows: Sequence[Row]) -> str:
    """How many cells came to what."""
    trained = sum(row.status == FINISHED for row in rows)
    without = sum(row.status == NOT_TRAINED for row in rows)
    told = (
        f"{len(rows)} cells: {trained} trained, {sum(row.deployable for row in rows)} of them "
        f"deployable; {without} not trained, as their setting cannot take the method"
    )
    other = len(rows) - trained - without
    return f"{told}; {other} failed or waiting." if other else f"{told}."


def lines_of(rows: Sequence[Row]) -> str:
    """The table's body."""
    return "\n".join(_line(group) for group in groups(rows))


def _head(name: str) -> str:
    kind = "number" if name in _NUMBERS else "text"
    return f'<th scope="col" data-kind="{kind}"><button>{html.escape(name)}</button></th>'


def _line(group: Group) -> str:
    numbers: dict[str, float | None] = {
        "bits": group.first.bits,
        "folding": group.first.folding,
        "top-1 (%)": group.mean,
        "lowest to highest": max(group.top1) - min(group.top1) if group.top1 else None,
        "seeds": len(group.top1),
        "lost": group.lost,
        "agreement": group.agreement,
    }
    cells = []
    for name, text in zip(COLUMNS, cells_of(group)):
        kind = text if name == COLUMNS[_DEPLOYABLE] else ""
        key = text
        if name in numbers:
            kind, value = "number", numbers[name]
            key = "" if value is None else repr(value)
        cells.append(f'<td class="{kind}" data-key="{html.escape(key)}">{html.escape(text)}</td>')
    return f'<tr id="{html.escape(group.first.group)}">{"".join(cells)}</tr>'


def figure(name: str, content: bytes) -> str:
    """A picture with its name."""
    data = base64.b64encode(content).decode()
    told = html.escape(name.rsplit(".", 1)[0])
    image = f'<img alt="{told}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{told}</figcaption></figure>"


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


__all__ = ["figure", "lines_of", "render", "summary"]
