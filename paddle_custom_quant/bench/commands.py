"""The command ``bench``: run a suite.

Leaves with code 0, with 1 where a cell failed, and with 2 and one line on what is wrong where
suite, data, folder or float net cannot be used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..command_errors import extra, one_line


def bench_command(
    suite: Annotated[Path, typer.Argument(help="A YAML file, such as those in suites/.")],
    output: Annotated[
        Optional[Path], typer.Option(help="Folder for the results; output/<suite> if left out.")
    ] = None,
    data: Annotated[
        Optional[Path], typer.Option(help="CIFAR-10's archive or folder, MNIST's folder.")
    ] = None,
    reuse: Annotated[
        Optional[Path], typer.Option(help="Folder of a run that the float net is taken from.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes at a time.", min=1)] = 1,
    threads: Annotated[int, typer.Option(help="Threads of each.", min=1)] = 1,
    yes: Annotated[bool, typer.Option("--yes", help="So many cells are meant.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Train a grid of cells from one float net; what is finished is kept, the rest goes on."""
    failed = 0
    with one_line(debug):
        with extra("bench"):
            from ..training.data import load_images
            from .cells import planned_cells
            from .page import summary
            from .results import FAILED
            from .run import Where, run_suite
            from .suite import load_suite
        held = load_suite(suite)
        cells = planned_cells(held, yes)
        images = load_images(held.recipe.data.name, data)
        folder = output or Path("output", suite.stem)
        rows = run_suite(
            held,
            cells,
            images,
            folder,
            Where(jobs, threads, data),
            lambda line: typer.echo(line, err=True),
            title=suite.stem,
            reuse=reuse,
        )
        failed = sum(row.status == FAILED for row in rows)
        typer.echo(f"{summary(rows)}\nResults in {folder}: results.html, .md, .csv, .json")
    if failed:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("bench")(bench_command)


__all__ = ["bench_command", "register"]
