"""A model as one HTML page that needs nothing else, not even a network.

Everything that comes from a model is data: it reaches the page as JSON in which no tag can begin,
its script shows it as text, and the page's policy lets no other script run.
"""

from __future__ import annotations

import html
import json
from importlib import resources
from pathlib import Path
from typing import Any

from .difference import Difference
from .model import Model
from .offline_page import filled, policy
from .page_data import page_data
from .summary import Summary

_SCRIPTS = (
    "data.js", "cells.js", "layout.js", "canvas.js", "histogram.js", "panel.js",
    "actions.js", "search.js", "input.js", "main.js",
)  # fmt: skip


def write_page(path: str | Path, model: Model, difference: Difference | None = None) -> Summary:
    """Write the page; return the summary that stands in it.

    Args:
        path: of the HTML file.
        model: what to draw.
        difference: what to mark in it.

    Raises:
        OSError: the file cannot be written.
    """
    data, summary = page_data(model, difference)
    Path(path).write_text(_page(model, data), encoding="utf-8")
    return summary


def render(model: Model, difference: Difference | None = None) -> str:
    """The page as text."""
    return _page(model, page_data(model, difference)[0])


def _page(model: Model, content: dict[str, Any]) -> str:
    data = json.dumps(content, separators=(",", ":"), allow_nan=False)
    style = _asset("page.css")
    licence = _asset("dagre.LICENSE").replace("*/", "")
    parts = [f"/*! dagre\n{licence}*/", _asset("dagre.min.js")]
    script = "\n".join([*parts, "(() => {", '"use strict";', *map(_asset, _SCRIPTS), "})();"])
    slots = {
        "policy": policy(script, style),
        "title": html.escape(f"{Path(model.source).name} - {model.kind}"),
        "style": style,
        "data": data.replace("<", "\\u003c").replace(">", "\\u003e"),
        "script": script,
    }
    return filled(_asset("page.html"), slots)


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


__all__ = ["render", "write_page"]
