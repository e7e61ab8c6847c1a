"""Suites in processes of their own: one that nothing disturbs, and others that something does."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from paddle_custom_quant.bench.cell_run import LOG, RECIPE, RESULT
from paddle_custom_quant.bench.published import problems
from paddle_custom_quant.training.tensor_file import read_tensors, write_tensors
from tests.bench.tiny_suite import ACADEMIC, CELLS, PROVEN, REFUSED, rows, run, start, table

# PCQ_KILLS=10 is the long form.
KILLS = int(os.environ.get("PCQ_KILLS") or 1)


def test_rows_say_what_came_of_each_cell(whole):
    held = rows(whole)
    assert list(held) == [PROVEN, ACADEMIC, REFUSED]
    assert [row["status"] for row in held.values()] == ["finished", "finished", "not trained"]
    assert held[PROVEN]["deployable"] == "True" and not held[PROVEN]["reason"]
    assert held[PROVEN]["engine"] == "onnxruntime"
    assert float(held[PROVEN]["top1_agreement"]) >= 0.995
    assert "of papers" in held[ACADEMIC]["reason"]
    assert "sums of powers of two" in held[REFUSED]["reason"]
    assert {row["float_top1"] for row in held.values() if row["float_top1"]} == {
        held[PROVEN]["float_top1"]
    }
    assert problems(whole) == []


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (f"cells/{PROVEN}/{RECIPE}", lambda t: t.replace("bits: 4", "bits: 2"), "another hash"),
        (f"cells/{PROVEN}/{LOG}", lambda t: t.replace("float", "flaot"), "another hash"),
        (f"cells/{PROVEN}/{RESULT}", lambda t: t.replace('"top1": ', '"top1": 1'), "lost"),
        (f"cells/{PROVEN}/{RESULT}", lambda t: t.replace(PROVEN, ACADEMIC), "another cell"),
        (f"cells/{ACADEMIC}/{LOG}", None, "log.jsonl is missing"),
        ("results.csv", lambda t: t.replace("finished", "done"), "does not agree"),
        (f"cells/{PROVEN}/{RESULT}", lambda t: t.replace('"versions"', '"v"'), "say its versions"),
        ("results.md", None, "results.md is missing"),
        ("results.html", None, "results.html is missing"),
        ("results.html", lambda t: t.replace("<td", "<th"), "results.html does not agree"),
        ("suite.yaml", lambda t: t.replace("bits: 4", "bits: 3"), "there is no result"),
    ],
)
def test_results_that_do_not_agree_are_found(whole, tmp_path, name, change, told):
    shutil.copytree(whole, tmp_path / "copy", ignore=shutil.ignore_patterns("work"))
    assert problems(tmp_path / "copy") == []
    path = tmp_path / "copy" / name
    if change is None:
        path.unlink()
    else:
        changed = change(path.read_text())
        assert changed != path.read_text()
        path.write_text(changed)
    assert told in " ".join(problems(tmp_path / "copy"))


def test_a_cell_run_again_is_the_same_bit_for_bit_and_finished_ones_are_skipped(whole, tmp_path):
    copy = tmp_path / "out"
    shutil.copytree(whole, copy)
    kept = (copy / "cells" / ACADEMIC / RESULT).stat().st_mtime_ns
    shutil.rmtree(copy / "cells" / PROVEN)
    shutil.rmtree(copy / "work" / PROVEN)
    told = run(tmp_path)
    assert f"1 of 1: {PROVEN}" in told and "1 of 1: float_LeNetBN" in told
    assert table(copy) == table(whole)  # with the hash of all values
    for name in (RECIPE, LOG):
        ours, theirs = ((f / "cells" / PROVEN / name).read_bytes() for f in (copy, whole))
        assert ours == theirs
    assert (copy / "cells" / ACADEMIC / RESULT).stat().st_mtime_ns == kept


def test_killed_and_continued_gives_the_table_of_an_uninterrupted_run(whole, tmp_path, rng):
    for _ in range(KILLS):
        process = start(tmp_path, "--jobs", "2")
        if rng.random() < 0.5:  # while it begins, or trains the float net
            time.sleep(float(rng.uniform(0, 12)))
        else:
            work = tmp_path / "out" / "work"
            moment = f"{rng.choice([PROVEN, ACADEMIC])}/seed-0/quantized-*"
            while process.poll() is None and not list(work.glob(moment)):
                time.sleep(0.01)
            time.sleep(float(rng.uniform(0, 3)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(tmp_path)
    assert table(tmp_path / "out") == table(whole)
    assert problems(tmp_path / "out") == []


def test_a_cell_that_fails_is_a_row_with_its_reason(whole, tmp_path):
    wide = {"method": "dorefa", "bits": 4, "setting": "academic"}
    stage = {"epochs": 0.1, "learning_rate": 1e30}
    told = run(tmp_path, "--reuse", str(whole / "work" / "float_LeNetBN"), code=1,
               cells=[wide], quantized=stage)  # fmt: skip
    (row,) = rows(tmp_path / "out").values()
    assert row["status"] == "failed" and "diverged" in row["reason"] and "failed" in told
    assert problems(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"quantized": {"epochs": 0.2, "learning_rate": 0.01}}, (), "results of another suite"),
        ({}, ("--data", "x"), "need no --data"),
        ({"cells": [{**CELLS[0], "method": "lqs"}]}, (), "did you mean 'lsq'?"),
    ],
)
def test_wrong_input_is_one_line(whole, tmp_path, changes, options, message):
    shutil.copytree(whole, tmp_path / "out", ignore=shutil.ignore_patterns("work"))
    told = run(tmp_path, *options, code=2, **changes)
    assert message in told and len(told.strip().splitlines()) == 1
    assert table(tmp_path / "out") == table(whole)


def test_a_float_net_that_does_not_fit(whole, tmp_path):
    other = {**CELLS[1], "net": "LeNet"}
    folder = str(whole / "work" / "float_LeNetBN")
    told = run(tmp_path, "--reuse", folder, code=2, cells=[other])
    assert "net was 'LeNetBN' there and is 'LeNet' here" in told
    told = run(tmp_path, "--reuse", str(tmp_path), code=2)
    assert "holds no finished float training" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda held: held.pop("conv2d_0.w_0"), "'conv2d_0.w_0' is missing"),
        (
            lambda held: held.update({"conv2d_0.w_0": held["conv2d_0.w_0"][:3]}),
            "'conv2d_0.w_0' has shape [3, ",
        ),
    ],
)
def test_a_float_net_of_the_right_name_with_other_tensors(whole, tmp_path, change, message):
    shutil.copytree(whole / "work" / "float_LeNetBN", tmp_path / "float")
    path = tmp_path / "float" / "seed-0" / "float.safetensors"
    values, state = read_tensors(path)
    change(values)
    write_tensors(path, values, state)
    told = run(tmp_path, "--reuse", str(tmp_path / "float"), code=2)
    assert "the checkpoint is of another net" in told and message in told
    # Nor is it taken where it stands in the suite's own folder: nothing is kept of such a cell.
    shutil.copytree(tmp_path / "float", tmp_path / "out" / "work" / "float_LeNetBN")
    told = run(tmp_path, code=1)
    assert message in told
    assert not (tmp_path / "out" / "cells").exists()


def test_two_runs_do_not_share_a_folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out", ignore=shutil.ignore_patterns("work"))
    with open(tmp_path / "out" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is at work" in run(tmp_path, code=2)
    assert table(tmp_path / "out") == table(whole)


def test_a_cell_whose_parent_is_gone_ends(whole):
    gone = subprocess.Popen(["true"])
    gone.wait()
    done = subprocess.run(
        [sys.executable, "-m", "paddle_custom_quant.bench.process", str(whole), PROVEN, "", "",
         str(gone.pid)],
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1 and not done.stderr.count(b"Traceback")


def test_everything_is_in_the_json(whole):
    held = json.loads((whole / "results.json").read_text())
    first = held["cells"][0]["cell"]
    assert held["suite"]["recipe"]["net"] == "LeNetBN"
    assert {"paddle", "numpy", "python", "onnxruntime", "openvino"} <= set(first["versions"])
    assert len(first["data"]["sha256"]) == 64
    assert first["seeds"] == {"float": 0, "cell": 0}
    assert set(first["sha256"]) == {RECIPE, LOG, "values"}
