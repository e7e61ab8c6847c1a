from __future__ import annotations

import gzip
import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

DEMO = Path(__file__).parents[2] / "demos" / "mnist.py"
FORMS = ["float", "quantized", "frozen"]


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("mnist_demo", DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMO), *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run with default methods, in a folder of its own."""
    folder = tmp_path_factory.mktemp("demo")
    done = call(folder, "--iterations", "60", "--output", "out")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_all_results_are_there_and_nothing_else(finished):
    folder, _ = finished
    assert [path.name for path in folder.iterdir()] == ["out"]
    assert sorted(str(p.relative_to(folder / "out")) for p in (folder / "out").rglob("*.*")) == [
        "checkpoint.npz",
        "float/model.pdiparams",
        "float/model.pdmodel",
        "frozen/model.pdiparams",
        "frozen/model.pdmodel",
        "metrics.json",
        "training.png",
    ]
    assert cv2.imread(str(folder / "out" / "training.png")) is not None


def test_table_and_metrics_say_the_same(finished):
    folder, done = finished
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    rows = [line.split() for line in done.stdout.splitlines()]
    for form in FORMS:
        score = metrics["scores"][form]
        shown = [
            form,
            *(f"{score['top1']:.2f}", "%", f"{score['top5']:.2f}", "%", f"{score['loss']:.4f}"),
            *(f"{metrics['bytes'][form] / 1000:.1f}", "kB"),
        ]
        assert shown in rows
    assert metrics["settings"]["weight_bits"] == 4
    assert metrics["data"] == {
        "name": "scikit-learn digits",
        "training_images": 1437,
        "test_images": 360,
    }


def test_net_learns_and_the_reloaded_model_agrees(finished):
    folder, done = finished
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    assert metrics["scores"]["float"]["top1"] > 85
    assert metrics["scores"]["quantized"]["top1"] > 85
    assert metrics["scores"]["frozen"]["top1"] == metrics["scores"]["quantized"]["top1"]
    assert metrics["reloaded_differs"] == 0
    assert "the same top-1 on all 360 test images" in done.stdout


def test_second_run_gives_identical_numbers(finished):
    folder, _ = finished
    again = call(folder, "--iterations", "60", "--output", "again")
    assert again.returncode == 0, again.stderr
    first, second = ((folder / name / "metrics.json").read_text() for name in ("out", "again"))
    assert first == second


def test_plain_lenet_from_scratch(tmp_path):
    done = call(
        tmp_path,
        *("--net", "LeNet", "--weight", "dorefa-rescale", "--activation", "dorefa"),
        *("--from-scratch", "--epochs", "1", "--output", "."),
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["settings"]["iterations"] == 23  # 1437 images in batches of 64
    assert metrics["reloaded_differs"] == 0


def make_not_mnist(folder: Path) -> None:
    from paddle_custom_quant.training.data.mnist import NAMES

    for name in NAMES:
        (folder / name).write_bytes(gzip.compress(b"something else, but long enough"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weight-bits", "0"], "weights: bits must be between 1 and 16, got 0"),
        (["--activation-bits", "17"], "activations: bits must be between 1 and 16, got 17"),
        (["--first-last-bits", "1"], "first and last layer: bits must be between 2 and 16, got 1"),
        (["--weight-bits", "4.5"], "--weight-bits: invalid int value: '4.5'"),
        (["--net", "ResNet"], "--net: invalid choice: 'ResNet'"),
        (["--weight", "nothing"], "--weight: invalid choice"),
        (["--data", "absent"], "absent is not a folder"),
        (["--data", "empty"], "empty lacks train-images"),
        (["--data", "other"], "is not an IDX file"),
        (["--data", "other", "--download"], "not allowed with argument"),
        (["--iterations", "0"], "iterations must be at least 1, got 0"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--epochs", "2", "--iterations", "3"], "not allowed with argument"),
        (["--batch-size", "0"], "batch_size must be at least 1, got 0"),
        (["--batch-size", "1438"], "at most the 1437 training images"),
        (["--seed", "-3"], "seed must be between 0 and"),
        (["--output", "file/sub"], "cannot write results into file/sub"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_code_2(demo, tmp_path, monkeypatch, capfd, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    make_not_mnist(tmp_path / "other")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    try:
        code = demo.main(["--output", "out", *arguments])
    except SystemExit as stop:
        code = stop.code
    lines = capfd.readouterr().err.splitlines()
    assert code == 2
    assert len(lines) == 1 and lines[0].startswith("mnist.py: ") and message in lines[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_interrupt_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(DEMO), "--iterations", "1000000", "--output", "a/b"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Background jobs of a shell are born deaf to interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        assert "1000000 batches" in process.stdout.readline()
        while not list(tmp_path.glob("a/b/.unfinished-*")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.splitlines() == ["mnist.py: interrupted; nothing was written."]
    assert list(tmp_path.iterdir()) == []
