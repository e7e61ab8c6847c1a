"""A training of some seconds with every kind of stage, for tests."""

from __future__ import annotations

import yaml

from paddle_custom_quant.training.data import Dataset, Images, load_coloured_digits
from paddle_custom_quant.training.recipe_file import parse_recipe

TEXT = """
net: LeNetBN
data: {name: digits, pad: 2, flip: false, cutout: 4}
batch_size: 16
label_smoothing: 0.1
optimizer: {momentum: 0.9, nesterov: true, weight_decay: 1.0e-4}
float: {epochs: 2, learning_rate: 0.02, schedule: {kind: cosine, warmup: 0.5}}
quantized: {epochs: 1, learning_rate: 0.01, schedule: {kind: plateau}, freeze_bn: 0.5}
quantizers:
  weights: {method: dorefa, bits: 4}
  activations: {method: pact, bits: 4}
  gradients: 8
"""


def recipe(**changes):
    """The recipe with top-level parts replaced; ``None`` removes one."""
    held = {**yaml.safe_load(TEXT), **changes}
    return parse_recipe({key: value for key, value in held.items() if value is not None})


def some_digits(train=160, test=40):
    """Few enough for a step to be fast."""
    whole = load_coloured_digits()
    parts = [(whole.train, train), (whole.test, test)]
    return Dataset(whole.name, *(Images(p.pixels[:n], p.labels[:n]) for p, n in parts))
