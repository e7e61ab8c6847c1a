from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

DEMO = Path(__file__).parents[2] / "demos" / "cifar10.py"
RECIPE = """
net: LeNetBN
batch_size: 64
float: {epochs: 2, learning_rate: 0.05}
quantized: {epochs: 1, learning_rate: 0.005}
quantizers:
  weights: {method: lsq, bits: 4}
  activations: {method: lsq, bits: 4}
"""


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("cifar10_demo", DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run without CIFAR-10, in a folder of its own."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "a.yaml").write_text(RECIPE)
    options = ["--recipe", "a.yaml", "--output", "out", "--visualdl", "logs"]
    done = subprocess.run(
        [sys.executable, str(DEMO), *options],
        cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_says_which_images_it_trains_on(finished):
    assert "This is not CIFAR-10 but 1,797 digits in colour" in finished[1]
    assert "lenetbn_digits_lsq_w4a4 on scikit-learn digits in colour: 1437" in finished[1]


def test_table_picture_and_logs(finished):
    folder, output = finished
    scores = json.loads((folder / "out" / "result.json").read_text())["scores"]["0"]
    for stage in ("float", "quantized"):
        assert scores[stage]["top1"] > 60
        assert f"{scores[stage]['top1']:.2f} %" in output
    assert cv2.imread(str(folder / "out" / "training.png")) is not None
    assert list((folder / "logs").iterdir())


def test_a_finished_run_is_not_repeated(finished, demo, monkeypatch, capfd):
    folder, output = finished
    monkeypatch.chdir(folder)
    monkeypatch.setattr("paddle_custom_quant.keep_memory", lambda: True)
    assert demo.main(["--recipe", "a.yaml", "--output", "out", "--resume"]) == 0
    assert capfd.readouterr().out.splitlines()[-5:] == output.splitlines()[-5:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "absent"], "absent does not exist"),
        (["--recipe", "absent"], "absent: No such file"),
        (["--data", "x", "--download"], "not allowed with argument"),
        (["--epochs", "0"], "float.epochs must be greater than 0"),
        (["--workers", "-1"], "--workers must be 0 or more, got -1"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_code_2(demo, tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    try:
        code = demo.main(["--output", "out", *arguments])
    except SystemExit as stop:
        code = stop.code
    lines = capfd.readouterr().err.splitlines()
    assert code == 2
    assert len(lines) == 1 and lines[0].startswith("cifar10.py: ") and message in lines[0]
    assert list(tmp_path.iterdir()) == []
