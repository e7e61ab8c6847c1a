"""The command ``paddle-custom-quant``: each room adds its own subcommands."""

from __future__ import annotations

import typer

from .bench import commands as bench
from .deploy import commands as deploy
from .inspection import commands as inspection
from .training import commands as training

app = typer.Typer(
    help="Train, inspect, compare, check, deploy and benchmark quantized models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
inspection.register(app)
deploy.register(app)
training.register(app)
bench.register(app)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
