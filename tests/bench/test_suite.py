from __future__ import annotations

import pytest
import yaml

from paddle_custom_quant.bench.suite import check_same_suite, load_suite, suite_as_text
from tests.bench.tiny_suite import held, suite, write


def test_defaults(tmp_path):
    read = load_suite(write(tmp_path / "a.yaml"))
    assert (read.grid.folding, read.grid.seed, read.cells) == ([4], [0], [])
    again = tmp_path / "b.yaml"
    again.write_text(suite_as_text(read))
    assert load_suite(again) == read


GRID = held()["grid"]
CELL = {"method": "lsq", "bits": 4, "setting": "tvm"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {**GRID, "method": ["lqs"]}}, r"grid.method.0 .*'lqs': did you mean 'lsq'\?$"),
        ({"grid": {**GRID, "setting": ["tensorflow"]}}, "did you mean 'tensorrt'"),
        ({"grid": {**GRID, "net": ["ResNet-9"]}}, r"grid.net.0 .*did you mean 'ResNet-\d+'"),
        ({"grid": {**GRID, "method": ["qil", "xyz"]}}, r"grid.method.1 must be 'absmax', .*'xyz'"),
        ({"grid": {**GRID, "bit": [4]}}, r"unknown key 'grid.bit': did you mean 'grid.bits'\?"),
        ({"grids": GRID}, r"unknown key 'grids': did you mean 'grid'\?"),
        ({"cells": [{**CELL, "fold": 1}]}, r"unknown key 'cells.0.fold': did you mean 'cells.0.fo"),
        ({"cells": [{**CELL, "folding": 5}]}, "cells.0.folding must be less than or equal to 4"),
        ({"cells": [{**CELL, "method": "apott"}]}, "did you mean 'apot'"),
        ({"grid": {**GRID, "bits": [1]}}, "grid: bits must be from 2 to 16, got 1"),
        ({"grid": {**GRID, "folding": [7]}}, "folding must be from 0 to 4, got 7"),
        ({"grid": {**GRID, "bits": []}}, "grid.bits"),
        ({"grid": None}, "nothing to run: give grid, cells or both"),
        ({"quantized": None}, "quantized is missing"),
        ({"recipe": {**held()["recipe"], "seeds": [1]}}, r"recipe.seeds is \[1\]"),
        ({"recipe": {**held()["recipe"], "nett": "LeNet"}}, "did you mean 'recipe.net'"),
    ],
)
def test_refused_with_the_nearest_name(tmp_path, changes, message):
    path = write(tmp_path / "a.yaml", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_suite(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_quantized_already(tmp_path):
    stage = held()["quantized"]
    form = {"setting": "tvm", "method": "lsq", "bits": 4}
    recipe = {**held()["recipe"], "quantized": stage, "hardware": form}
    with pytest.raises(ValueError, match="recipe is the float training alone"):
        load_suite(write(tmp_path / "a.yaml", recipe=recipe))


@pytest.mark.parametrize(
    ("text", "message"), [("[1]", "a suite is a mapping"), ("a: [", "no YAML")]
)
def test_files_that_are_no_suite(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_suite(path)


def test_results_of_another_suite_are_left_alone(tmp_path):
    path = tmp_path / "suite.yaml"
    check_same_suite(suite(), path)
    path.write_text(suite_as_text(suite()))
    more = {**GRID, "seed": [0, 1], "method": ["dsq"]}
    check_same_suite(suite(grid=more), path)
    longer = {**held()["quantized"], "epochs": 3}
    with pytest.raises(ValueError, match=r"another suite: quantized.epochs was 0.1 there and is 3"):
        check_same_suite(suite(quantized=longer), path)
    assert load_suite(path) == suite()
    assert yaml.safe_load(path.read_text())["quantized"]["epochs"] == 0.1
