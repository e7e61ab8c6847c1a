"""A suite of seconds on digits, for tests."""

from __future__ import annotations

import csv
import subprocess
import sys

import yaml
from typer.testing import CliRunner

from paddle_custom_quant.bench.suite import Suite
from paddle_custom_quant.cli import app
from paddle_custom_quant.training.recipe_file import validated

TEXT = """
recipe:
  net: LeNetBN
  data: {name: digits, pad: 2, flip: false}
  batch_size: 16
  optimizer: {momentum: 0.9, weight_decay: 1.0e-4}
  float: {epochs: 0.5, learning_rate: 0.02}
quantized: {epochs: 0.1, learning_rate: 0.01}
grid:
  method: [lsq, apot]
  bits: [4, 2]
  setting: [academic, tensorrt]
"""

PROVEN, ACADEMIC = (
    f"lenetbn_digits_lsq_w4a4_{name}_seed0" for name in ("tensorrt_fold4", "academic")
)
REFUSED = "lenetbn_digits_apot_w4a4_tensorrt_fold4_seed0"
CELLS = [
    {"method": "lsq", "bits": 4, "setting": "tensorrt"},
    {"method": "lsq", "bits": 4, "setting": "academic"},
    {"method": "apot", "bits": 4, "setting": "tensorrt"},
]


def held(**changes):
    """The suite as plain data with top-level parts replaced; ``None`` removes one."""
    parts = {**yaml.safe_load(TEXT), **changes}
    return {key: value for key, value in parts.items() if value is not None}


def suite(**changes):
    return validated(Suite, held(**changes))


def write(path, **changes):
    path.write_text(yaml.safe_dump(held(**changes)))
    return path


def arguments(folder, options, changes):
    path = write(folder / "a.yaml", **{"grid": None, "cells": CELLS, **changes})
    return ["bench", str(path), "--output", str(folder / "out"), *options]


def start(folder, *options):
    """The three cells in a process of its own."""
    command = [sys.executable, "-m", "paddle_custom_quant.cli", *arguments(folder, options, {})]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def run(folder, *options, code=0, **changes):
    """The three cells; what the command said."""
    done = CliRunner().invoke(app, arguments(folder, options, changes))
    assert done.exit_code == code, done.output
    return done.output


def table(folder):
    return (folder / "results.csv").read_text()


def rows(folder):
    return {row["name"]: row for row in csv.DictReader(table(folder).splitlines())}
