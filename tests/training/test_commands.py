from __future__ import annotations

import sys

import pytest
import yaml
from typer.testing import CliRunner

from paddle_custom_quant.cli import app
from paddle_custom_quant.training.recipe_file import recipe_as_data
from tests.training.tiny_recipe import recipe


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PCQ_DATA", raising=False)
    # It acts on the whole process: not in one that other tests run in.
    module = sys.modules["paddle_custom_quant.keep_memory"]
    monkeypatch.setattr(module, "keep_memory", lambda: True)

    def run(held, *options):
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(held))
        return CliRunner().invoke(app, ["train", "a.yaml", "--workers", "0", *options])

    return run


def short(**changes):
    stage = {"epochs": 0.1, "learning_rate": 0.01}
    return recipe_as_data(recipe(float=stage, quantized=stage, **changes))


def test_prints_the_table_and_where_results_are(call, tmp_path):
    done = call(short())
    assert done.exit_code == 0, done.output
    folder = "output/lenetbn_digits_pact-dorefa_w4a4g8"
    assert f"Results in {folder}" in done.output
    assert (tmp_path / folder / "result.txt").read_text() in done.output
    again = call(short())
    assert again.exit_code == 2 and "holds a training: go on with --resume" in again.output
    assert call(short(), "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("held", "options", "message"),
    [
        ({"nett": "LeNet"}, (), "a.yaml: "),
        ({**short(), "batchsize": 8}, (), "did you mean 'batch_size'?"),
        (short(data={"name": "cifar10"}), (), "name its archive or folder with --data"),
        (short(data={"name": "cifar10"}), ("--data", "no"), "no does not exist"),
        (short(), ("--download",), "the recipe is for digits"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(call, tmp_path, held, options, message):
    done = call(held, *options)
    assert done.exit_code == 2 and message in done.output
    assert len(done.output.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_divergence_is_code_1(call):
    held = short()
    held["float"]["learning_rate"] = 1e30
    done = call(held)
    assert done.exit_code == 1 and "learning rate" in done.output
    assert "Traceback" not in done.output
