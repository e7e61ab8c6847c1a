"""What commands answer when something is wrong: one line, and a code."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import typer

from .inspection.table import printable


@contextmanager
def one_line(debug: bool) -> Iterator[None]:
    """Turn an error into one line and exit code 2."""
    try:
        # Values from a damaged file overflow; that is no news to the reader.
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # whatever a file leads to, the user gets one line
        if debug:
            traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.filename:
            text = f"{error.filename}: {error.strerror}"
        typer.echo(printable(text), err=True)
        raise typer.Exit(2) from None


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Turn the lack of a package into an error that names the extra which brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        what = f"{name} needs {error.name}: pip install paddle-custom-quant[{name}]"
        raise ValueError(what) from None


__all__ = ["extra", "one_line"]
