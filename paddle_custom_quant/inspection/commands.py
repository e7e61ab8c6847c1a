"""The commands ``inspect``, ``diff`` and ``check``.

Each leaves with code 0, with 1 where ``check`` found something, and with 2 and one line on what is
wrong where a model cannot be read.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from ..command_errors import one_line
from .check import check as check_model
from .difference import compare
from .page import write_page
from .reading import read_model
from .summary import summarize
from .table import printable, summary_table

_MODEL = "A .pdmodel file (its suffix can be left out), a folder that holds one, or a checkpoint."
ModelPath = Annotated[Path, typer.Argument(help=_MODEL, show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print data instead of text.")]
PageFile = Annotated[
    Optional[Path], typer.Option("--html", help="Draw the graph into this file.", metavar="FILE")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]
All = Annotated[bool, typer.Option("--all", help="List every quantized tensor.")]


def inspect_command(
    path: ModelPath,
    as_json: AsJson = False,
    html: PageFile = None,
    every: All = False,
    debug: Debug = False,
) -> None:
    """Sum a saved model up: operators, parameters, quantized tensors."""
    with one_line(debug):
        model = read_model(path)
        summary = summarize(model) if html is None else write_page(html, model)
        _print(summary.as_dict() if as_json else summary_table(summary, None if every else 10))


def diff_command(
    before: ModelPath,
    after: ModelPath,
    as_json: AsJson = False,
    html: PageFile = None,
    debug: Debug = False,
) -> None:
    """Say what quantization added, removed and rewired."""
    with one_line(debug):
        first, second = read_model(before), read_model(after)
        difference = compare(first, second)
        if html is not None:
            write_page(html, second, difference)
        _print(difference.as_dict() if as_json else str(difference))


def check_command(path: ModelPath, as_json: AsJson = False, debug: Debug = False) -> None:
    """Check that a saved program is sound; leave with code 1 if it is not."""
    with one_line(debug):
        model = read_model(path)
        findings = check_model(model)
        if as_json:
            _print([asdict(finding) for finding in findings])
        else:
            told = f"{len(findings)} findings" if findings else "sound"
            head = f"{model.source}: {len(model.operators)} operators, {told}"
            _print(printable("\n".join([head, *map(str, findings)])))
    if findings:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command("inspect")(inspect_command)
    app.command("diff")(diff_command)
    app.command("check")(check_command)


def _print(content: Any) -> None:
    typer.echo(content if isinstance(content, str) else json.dumps(content, indent=2))


__all__ = ["check_command", "diff_command", "inspect_command", "register"]
