"""The commands ``export`` and ``compare``.

Both leave with code 2 and one line on what is wrong where a model or input cannot be used; the
model is tried in another process first, because Paddle may end the one that runs a damaged program.
``compare`` leaves with code 1 if an engine could not run what it was given.
"""

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..command_errors import one_line

_MODEL = "A trained, quantized test program as paddle.static.save wrote it (.pdmodel, .pdparams)."
ModelPath = Annotated[Path, typer.Argument(help=_MODEL, show_default=False)]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]
Formats = Annotated[
    str,
    typer.Option(
        "--formats", help="Of paddle, paddle-onednn, paddle-float, onnx, onnx-int4, by commas."
    ),
]


def export_command(
    model: ModelPath,
    output: Annotated[Path, typer.Argument(help="Files to write, without suffix.")],
    formats: Formats = "paddle,onnx",
    result: Annotated[
        Optional[list[str]], typer.Option(help="Name of an output; what nothing reads if left out.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    debug: Debug = False,
) -> None:
    """Turn a trained program into integers, for Paddle Inference, ONNX Runtime and OpenVINO."""
    from ..compat import legacy_static
    from .export import export
    from .formats import files_of
    from .probe import probe
    from .saved import load_program

    with one_line(debug), legacy_static():
        names = [name.strip() for name in formats.split(",") if name.strip()]
        if output.resolve() == model.resolve():
            raise ValueError(f"{output} is the trained program itself: name another output.")
        probe(model, outputs=result)
        program, scope = load_program(model)
        frozen = export(program, scope, output, names, overwrite=overwrite, outputs=result or None)
        layers, integer = frozen.weighted_layers(), frozen.integer_layers()
        typer.echo(f"{len(integer)} of {len(layers)} layers are integers.")
        for note in frozen.notes:
            typer.echo(f"note: {note.tensor}: {note.text}")
        for name in names:
            for file in files_of(output, name):
                typer.echo(f"{file}  {file.stat().st_size / 1000:.1f} kB")


def compare_command(
    model: ModelPath,
    inputs: Annotated[Path, typer.Option(help="Inputs, .npy or .npz, samples first.")],
    exported: Annotated[
        Optional[Path], typer.Option(help="Files that export wrote; made anew if left out.")
    ] = None,
    engine: Annotated[Optional[list[str]], typer.Option(help="Only this engine.")] = None,
    result: Annotated[
        Optional[list[str]], typer.Option(help="Name of an output; what nothing reads if left out.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Layer by layer as well.")] = False,
    timed: Annotated[bool, typer.Option("--timed", help="Time batches of 1 and 32.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of an engine.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Samples that run together.")] = 100,
    json_file: Annotated[
        Optional[Path], typer.Option("--json", help="Also write the result here.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Run a trained program and its deployed forms on the same inputs, engine by engine."""
    from ..compat import legacy_static
    from .formats import files_of
    from .parity import compare
    from .probe import probe
    from .saved import load_inputs, load_program
    from .storage import write_files

    with one_line(debug), legacy_static():
        held = load_inputs(inputs)
        probe(model, inputs, result)
        program, scope = load_program(model)
        models: dict[str, Path] = {}
        if exported is not None:
            for kind in ("paddle", "paddle-onednn", "paddle-float"):
                if files_of(exported, kind)[0].exists():
                    models[kind] = exported
            if files_of(exported, "onnx")[0].exists():
                models["onnx"] = files_of(exported, "onnx")[0]
            if not models:
                raise ValueError(
                    f"{exported}: there is no {exported.name}.pdmodel, .onednn.pdmodel, "
                    f".float.pdmodel or .onnx."
                )
        compared = compare(
            program,
            scope,
            held,
            models=models,
            engines=engine or None,
            outputs=result or None,
            batch_size=batch_size,
            threads=threads,
            timed=(1, 32) if timed else (),
            layers=layers,
        )
        typer.echo(str(compared))
        if json_file is not None:
            write_files({json_file: compared.to_json().encode()}, overwrite=True)
    if any(row.failed for row in compared.rows):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("export")(export_command)
    app.command("compare")(compare_command)


__all__ = ["register"]
