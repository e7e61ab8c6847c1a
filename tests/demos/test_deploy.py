"""The deployment demo: one run from training to the table of engines."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "demos" / "deploy.py"


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("deploy_demo", DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_run_writes_files_and_compares_engines(tmp_path):
    pytest.importorskip("onnx", reason="the demo writes ONNX too")
    done = subprocess.run(
        [sys.executable, str(DEMO), "--iterations", "40", "--output", "out/net"],
        cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["net.onednn.pdiparams", "net.onednn.pdmodel", "net.onnx", "net.pdiparams",
                       "net.pdmodel"]  # fmt: skip
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "100.00%" in rows["paddle"] and " 360 " in rows["paddle"]
    assert "5/5" in rows["paddle-onednn-int8"]
    for engine in ("onnxruntime", "openvino"):
        if importlib.util.find_spec(engine):
            assert "5/5" in rows[engine]


def test_existing_files_are_refused_before_training(demo, tmp_path, capsys):
    (tmp_path / "net.pdmodel").write_bytes(b"old")
    assert demo.main(["--output", str(tmp_path / "net")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "exists" in lines[0]
    assert (tmp_path / "net.pdmodel").read_bytes() == b"old"


def test_bad_bits_are_one_line(demo, tmp_path, capsys):
    assert demo.main(["--bits", "0", "--iterations", "1", "--output", str(tmp_path / "n")]) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("deploy.py: ")]
    assert len(lines) == 1 and "bits must be" in lines[0]
