from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from paddle_custom_quant.training.recipe_file import load_recipe, parse_recipe, recipe_as_data

RECIPES = sorted(Path(__file__).parents[2].joinpath("recipes").glob("*.yaml"))
GOOD = """
net: ResNet-8
float: {epochs: 2, learning_rate: 0.1, schedule: {kind: step, at: [1, 1.5]}}
quantized: {epochs: 1, learning_rate: 0.01}
quantizers:
  weights: {method: lsq, bits: 4}
  activations: {method: pact, bits: 3}
  gradients: 8
  rules: {"conv2d_3": {weight_bits: 8}}
"""


def changed(where, value):
    held = yaml.safe_load(GOOD)
    *outer, last = where.split(".")
    part = held
    for key in outer:
        part = part.setdefault(key, {})
    if value is None:
        del part[last]
    else:
        part[last] = value
    return held


def test_defaults_and_values(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(GOOD)
    recipe = load_recipe(path)
    assert (recipe.data.name, recipe.data.pad, recipe.batch_size, recipe.seeds) == (
        "cifar10",
        4,
        128,
        [0],
    )
    assert recipe.float_stage.schedule.at == [1.0, 1.5]
    assert recipe.quantizers.rules["conv2d_3"].weight_bits == 8
    assert recipe.quantizers.activations.signed == "auto"
    assert parse_recipe(recipe_as_data(recipe)) == recipe


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("nett", 1, r"unknown key 'nett': did you mean 'net'\?"),
        ("float.learning_rat", 1, "unknown key .*: did you mean 'float.learning_rate'"),
        ("float.schedule.warm_up", 1, "did you mean 'float.schedule.warmup'"),
        ("quantizers.weights.bit", 1, "did you mean 'quantizers.weights.bits'"),
        ("quantized.zzz", 1, "unknown key 'quantized.zzz'; known ones are epochs, learning_rate"),
        ("net", "ResNet-9", "net must be 'LeNet', .*'ResNet-8'.*, got 'ResNet-9'"),
        ("float", None, "float is missing"),
        ("float.epochs", "many", "float.epochs must be a valid number, got 'many'"),
        ("float.learning_rate", "5e-4", r"YAML reads 5e-4 as text: write 0.0005"),
        ("batch_size", 12.5, "batch_size must be a valid integer, .*got 12.5"),
        ("batch_size", True, "batch_size must be a valid integer, got True"),
        ("float.learning_rate", -1, "float.learning_rate must be greater than 0, got -1"),
        ("float.learning_rate", float("nan"), "float.learning_rate must be .*finite.*got nan"),
        ("quantizers.weights.bits", 17, "must be less than or equal to 16, got 17"),
        ("quantizers.weights.method", "x", "quantizers.weights.method must be 'dorefa'"),
        ("quantized", None, "quantizers.gradients is set without a stage that trains"),
        ("quantized.epochs", 0, "quantizers.gradients is set without a stage that trains"),
        ("quantizers", None, "quantized and quantizers belong together"),
        ("seeds", [1, 1], r"seeds must be different .* got \[1, 1\]"),
        ("float.schedule.warmup", 3, "float: warmup takes 3.0 epochs of a stage of 2.0"),
        ("float.schedule.kind", "cosine", "schedule of kind 'cosine' with at = "),
        ("optimizer", {"nesterov": True, "momentum": 0}, "nesterov needs a momentum above 0"),
    ],
)
def test_refused(tmp_path, where, value, message):
    held = changed(where, value)
    with pytest.raises(ValueError, match=message):
        parse_recipe(held)


def test_control_needs_something_to_compare_with():
    held = yaml.safe_load(GOOD)
    del held["quantized"], held["quantizers"]
    with pytest.raises(ValueError, match="control trains as long as quantized does"):
        parse_recipe({**held, "control": True})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net: [", r"a.yaml: no YAML \(.*line"),
        ("net: a\nnet: b", "key 'net' stands twice"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
        ("", "a recipe is a mapping of keys such as net and float, got None"),
        ("- 1", r"got \[1\]"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(path)
    with pytest.raises(ValueError, match=r"b.yaml: No such file"):
        load_recipe(tmp_path / "b.yaml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_name_of_a_recipe_says_what_is_in_it(path):
    assert load_recipe(path).title == path.stem


def test_there_are_recipes():
    assert len(RECIPES) >= 6
