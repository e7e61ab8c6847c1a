"""The command ``train``: carry out a recipe.

Leaves with code 0, with 1 where training diverged or a file could not be written, and with 2 and
one line on what is wrong where recipe, data or folder cannot be used.
"""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..command_errors import extra, one_line

Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]


def train_command(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, such as those in recipes/.")],
    output: Annotated[
        Optional[Path], typer.Option(help="Folder for the results; output/<name> if left out.")
    ] = None,
    data: Annotated[
        Optional[Path], typer.Option(help="CIFAR-10's archive or folder, MNIST's folder.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Let Paddle fetch the images.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what the folder holds.")
    ] = False,
    reuse: Annotated[
        Optional[Path],
        typer.Option(help="Folder of another run: stages that are the same are taken from it."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that prepare images.", min=0)] = 1,
    checkpoint_every: Annotated[
        Optional[int],
        typer.Option(help="Steps between checkpoints, beside one an epoch.", min=1),
    ] = None,
    debug: Debug = False,
) -> None:
    """Train what a recipe describes, stage by stage; a run that was ended can go on."""
    failure: Exception | None = None
    with one_line(debug):
        with extra("train"):
            from ..distributed import process_group
            from ..keep_memory import keep_memory
            from .data import load_images
            from .how import How
            from .progress import ImageBars
            from .recipe_file import load_recipe
            from .recipe_run import run_recipe
        held = load_recipe(recipe)
        group = process_group()
        if download and group.size > 1:
            raise ValueError(
                "several processes cannot download: fetch it first, name it by --data."
            )
        images = load_images(held.data.name, data, download)
        folder = output or Path("output", held.title)
        keep_memory()
        bars = ImageBars()
        how = How(workers, checkpoint_every, bars, lambda line: typer.echo(line, err=True), group)
        try:
            result = run_recipe(held, images, folder, how, resume=resume, reuse=reuse)
            if group.is_first:
                typer.echo(f"{held.title} on {images.name}\n\n{result.table()}\n")
                typer.echo(f"Results in {folder}")
        except (FloatingPointError, OSError) as error:
            failure = error
            if debug:
                raise
        finally:
            bars.close()
    if failure is not None:
        typer.echo(" ".join(str(failure).split()), err=True)
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("train")(train_command)


__all__ = ["register", "train_command"]
