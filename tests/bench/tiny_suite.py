"""A suite of seconds on digits, for tests."""

from __future__ import annotations

import yaml

from paddle_custom_quant.bench.suite import Suite
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


def held(**changes):
    """The suite as plain data with top-level parts replaced; ``None`` removes one."""
    parts = {**yaml.safe_load(TEXT), **changes}
    return {key: value for key, value in parts.items() if value is not None}


def suite(**changes):
    return validated(Suite, held(**changes))


def write(path, **changes):
    path.write_text(yaml.safe_dump(held(**changes)))
    return path
