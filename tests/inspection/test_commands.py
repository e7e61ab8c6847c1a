"""The commands: text, data, pages, exit codes, one line for what cannot be read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from inspect import signature

import numpy as np
import pytest
from typer.testing import CliRunner

import paddle_custom_quant as pcq
from paddle_custom_quant.cli import app

# Before click 8.2 the two outputs are apart only if asked for.
SEPARATE = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}


def run(*arguments):
    return CliRunner(**SEPARATE).invoke(app, [str(a) for a in arguments])


def test_inspect(saved, tmp_path):
    page = tmp_path / "page.html"
    result = run("inspect", saved / "train", "--html", page)
    assert result.exit_code == 0 and "conv2d_0.w_0" in result.output
    assert page.read_text().startswith("<!doctype html>")


def test_inspect_as_data(saved):
    told = json.loads(run("inspect", saved / "train", "--json").output)
    assert told == json.loads(json.dumps(pcq.inspect(saved / "train").as_dict()))


def test_diff(saved, tmp_path):
    page = tmp_path / "page.html"
    result = run("diff", saved / "test", saved / "converted", "--html", page)
    assert result.exit_code == 0 and "- parameters: conv2d_0.w_0, conv2d_0.w_0.lsq" in result.output
    assert '"removed"' in page.read_text()
    told = json.loads(run("diff", saved / "test", saved / "converted", "--json").output)
    # Paddle 2.6 numbers what it adds to a saved model.
    assert {c["tensor"] for c in told["changes"]} - {""} == {"conv2d_0.w_0", "linear_0.w_0"}


def test_check(saved, tmp_path):
    assert run("check", saved / "train").exit_code == 0
    content = (saved / "test.pdmodel").read_bytes()
    for suffix in (".pdmodel", ".pdiparams"):
        shutil.copy(saved / f"test{suffix}", tmp_path / f"test{suffix}")
    # Another name of the same length in the one place where the result is read.
    at = content.rindex(b"relu_0.tmp_0")
    spoilt = content[:at] + b"relu_9.tmp_0" + content[at + 12 :]
    (tmp_path / "test.pdmodel").write_bytes(spoilt)
    result = run("check", tmp_path / "test")
    assert result.exit_code == 1 and "relu_9.tmp_0" in result.output
    assert json.loads(run("check", tmp_path / "test", "--json").output)[0]["node"]


@pytest.mark.parametrize("command", [["inspect"], ["check"], ["diff", "nowhere"]], ids=" ".join)
def test_what_cannot_be_read_is_one_line(command, tmp_path):
    (tmp_path / "notes.pdmodel").write_text("notes\n" * 50)
    result = run(*command, tmp_path / "notes.pdmodel")
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1 and result.stdout == ""
    assert "Traceback" in run(*command, tmp_path / "notes.pdmodel", "--debug").stderr


def test_checkpoint_has_no_graph(saved, tmp_path):
    file = tmp_path / "checkpoint.npz"
    np.savez(file, **{"a.w_0": np.zeros([3, 2], "float32")})
    assert run("inspect", file).exit_code == run("diff", file, file).exit_code == 0
    test = saved / "test"
    for command in (["check", file], ["diff", test, file], ["diff", file, test]):
        result = run(*command)
        assert result.exit_code == 2 and "a checkpoint holds values only" in result.stderr


def test_interrupt_is_no_traceback(saved, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("paddle_custom_quant.inspection.commands.read_model", interrupted)
    result = run("inspect", saved / "test")
    assert result.exit_code not in (0, 2) and "Traceback" not in result.output


def test_page_that_cannot_be_written(saved, tmp_path):
    result = run("inspect", saved / "test", "--html", tmp_path / "no" / "page.html")
    assert result.exit_code == 2 and "page.html: No such file or directory" in result.stderr


def test_nothing_else_is_printed(tmp_path):
    """In a new process: no report of Paddle's, no traceback."""
    command = [sys.executable, "-m", "paddle_custom_quant.cli", "inspect", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
