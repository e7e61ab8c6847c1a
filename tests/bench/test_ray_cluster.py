"""Suites on a Ray cluster of this machine: the same results, whatever becomes of a worker."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from paddle_custom_quant.bench.published import problems
from paddle_custom_quant.cli import app
from tests.bench.tiny_suite import ACADEMIC, CELLS, PROVEN, run, start, table, write


def test_the_same_table_as_without_and_the_float_net_may_be_given(whole, tmp_path):
    pytest.importorskip("ray")
    told = run(tmp_path, "--ray", "--reuse", str(whole / "work" / "float_LeNetBN"))
    assert "1 of 1: float_LeNetBN" in told and "2 of 2: " in told
    assert table(tmp_path / "out") == table(whole)
    assert problems(tmp_path / "out") == []


def descendants(process):
    """Command lines of the processes below one, by their number."""
    parents, lines = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended
    found, level = {}, {process}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found |= {child: lines.get(child, "") for child in level}
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_a_killed_worker_loses_no_cell(whole, tmp_path, rng):
    pytest.importorskip("ray")
    shutil.copytree(whole, tmp_path / "out")
    for name in (PROVEN, ACADEMIC):
        shutil.rmtree(tmp_path / "out" / "cells" / name)
    process = start(tmp_path, "--ray")
    killed = ""
    while process.poll() is None and not killed:
        below = descendants(process.pid)
        for name in (PROVEN, ACADEMIC):
            running = any(name in line and "bench.process" in line for line in below.values())
            workers = [pid for pid, line in below.items() if "ray::_run_elsewhere" in line]
            if running and workers:
                time.sleep(float(rng.uniform(0, 3)))
                os.kill(workers[int(rng.integers(len(workers)))], signal.SIGKILL)
                killed = name
                break
        time.sleep(0.05)
    assert killed
    assert process.wait() == 0
    assert table(tmp_path / "out") == table(whole)
    assert problems(tmp_path / "out") == []


def test_a_cell_that_fails_there_is_a_row_with_its_reason(whole, tmp_path):
    pytest.importorskip("ray")
    stage = {"epochs": 0.1, "learning_rate": 1e30}
    run(tmp_path, "--ray", "--reuse", str(whole / "work" / "float_LeNetBN"), code=1,
        cells=[CELLS[1]], quantized=stage)  # fmt: skip
    assert "diverged" in table(tmp_path / "out")


def test_more_threads_than_a_machine_has_are_one_line(whole, tmp_path):
    pytest.importorskip("ray")
    told = run(tmp_path, "--ray", "--threads", "4096", code=2)
    assert "a cell takes 4096 CPUs and no machine of the cluster has more than" in told


def test_a_suite_is_not_taken_for_an_address(whole, tmp_path):
    pytest.importorskip("ray")
    path = str(write(tmp_path / "b.yaml", grid=None, cells=CELLS))
    done = CliRunner().invoke(app, ["bench", "--ray", path, "--jobs", "2"])
    assert done.exit_code == 2 and "--jobs is of this machine" in done.output


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere", ":x"])
def test_a_cluster_that_does_not_answer_is_one_line(tmp_path, address):
    pytest.importorskip("ray")
    told = run(tmp_path, "--ray", address, code=2)
    assert "no Ray cluster answers at" in told and address in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    told = run(tmp_path, "--ray", code=2)
    assert "pip install paddle-custom-quant[ray]" in told


def test_jobs_are_of_this_machine(tmp_path):
    pytest.importorskip("ray")
    assert "--jobs is of this machine" in run(tmp_path, "--ray", "--jobs", "2", code=2)
