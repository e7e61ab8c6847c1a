"""The command ``bench``: run a suite.

Leaves with code 0, with 1 where a cell failed, and with 2 and one line on what is wrong where
suite, data, folder or float net cannot be used.
"""

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperCommand

from ..command_errors import extra, one_line
from . import THIS_MACHINE


class _OptionalAddress(TyperCommand):
    """``--ray`` may stand without its address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give it the address that stands for this machine's cluster."""
        alone = [
            i for i, word in enumerate(args)
            if word == "--ray" and (i + 1 == len(args) or _is_no_address(args[i + 1]))
        ]  # fmt: skip
        return super().parse_args(
            ctx, [f"--ray={THIS_MACHINE}" if i in alone else word for i, word in enumerate(args)]
        )


def _is_no_address(word: str) -> bool:
    return word.startswith("-") or word.endswith((".yaml", ".yml"))


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
    jobs: Annotated[
        Optional[int], typer.Option(help="Processes at a time; 1 if left out.", min=1)
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each.", min=1)] = 1,
    ray: Annotated[
        Optional[str],
        typer.Option(
            metavar="[ADDRESS]",
            help="Run on a Ray cluster: HOST:PORT, or that of this machine if left out.",
        ),
    ] = None,
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
        if ray is not None:
            with extra("ray"):
                import ray as _ray  # noqa: F401
            if jobs is not None:
                raise ValueError("--jobs is of this machine: a Ray cluster runs what fits on it.")
        held = load_suite(suite)
        cells = planned_cells(held, yes)
        images = load_images(held.recipe.data.name, data)
        folder = output or Path("output", suite.stem)
        rows = run_suite(
            held,
            cells,
            images,
            folder,
            Where(jobs or 1, threads, data, ray),
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
    app.command("bench", cls=_OptionalAddress)(bench_command)


__all__ = ["bench_command", "register"]
