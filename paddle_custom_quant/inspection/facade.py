"""The functions that people call: :func:`inspect` and :func:`diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .difference import Difference, compare
from .page import write_page
from .program import Inspectable, as_model
from .summary import Summary, summarize


def inspect(program: Inspectable, scope: Any = None, *, html: str | Path | None = None) -> Summary:
    """Facts about a program or a saved model: ``print`` them, or take them as data.

    Args:
        program: a static program of the old kind, or the path of a saved model.
        scope: holds a program's values; the global scope by default.
        html: file to draw the graph into, as a page that needs no network.

    Returns:
        Counts of operators and parameters, and each quantized tensor with its grid.

    Raises:
        TypeError: neither a program nor a path.
        ModelError: nothing that can be read is saved there (a ``ValueError``).
        OSError: the page cannot be written.
    """
    model = as_model(program, scope)
    return summarize(model) if html is None else write_page(html, model)


def diff(
    before: Inspectable, after: Inspectable, scope: Any = None, *, html: str | Path | None = None
) -> Difference:
    """What quantization added, removed and rewired, tensor by tensor.

    Args:
        before: a program or the path of a saved model.
        after: the same, after quantization.
        scope: holds the programs' values; the global scope by default.
        html: file to draw the second graph into, with the differences marked.

    Returns:
        The differences; false where there are none.

    Raises:
        TypeError: neither a program nor a path.
        ModelError: nothing that can be read is saved there (a ``ValueError``).
        OSError: the page cannot be written.
    """
    first, second = as_model(before, scope), as_model(after, scope)
    found = compare(first, second)
    if html is not None:
        write_page(html, second, found)
    return found


__all__ = ["diff", "inspect"]
