"""A recipe in two processes: as Paddle's launcher starts them, and where one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from paddle_custom_quant.distributed import ProcessGroup
from paddle_custom_quant.training.data import batches
from paddle_custom_quant.training.how import How
from paddle_custom_quant.training.recipe_file import recipe_as_data
from paddle_custom_quant.training.recipe_run import run_recipe
from paddle_custom_quant.training.tensor_file import read_tensors
from tests.distributed.processes import ROOT, SECONDS, finish, start
from tests.training.tiny_recipe import recipe, some_digits

SHORT = recipe(
    float={"epochs": 0.05, "learning_rate": 0.02},
    quantized={"epochs": 0.15, "learning_rate": 0.01, "freeze_bn": 0.1, "reestimate_bn": 2},
)
TRAIN = ["train", "recipe.yaml", "--output", "out", "--checkpoint-every", "2"]


@pytest.fixture
def prepared(tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe_as_data(SHORT)))
    return tmp_path


def values(folder, name="quantized.safetensors"):
    return read_tensors(folder / "out" / "seed-0" / name)[0]


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """A run by Paddle's launcher that nothing disturbs."""
    folder = tmp_path_factory.mktemp("launched")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe_as_data(SHORT)))
    (folder / "train.py").write_text("from paddle_custom_quant.cli import main\nmain()\n")
    command = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "train.py", *TRAIN]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_the_first_process_reports_for_all(launched):
    folder, output = launched
    table = (folder / "out" / "result.txt").read_text()
    assert output.count(table) == 1 and "Results in out" in output
    second = (folder / "log" / "workerlog.1").read_text()
    assert "Results in" not in second and "top-1" not in second


def test_killed_ends_the_other_and_goes_on_to_the_same_result(launched, prepared):
    command = ["-m", "paddle_custom_quant.cli", *TRAIN]
    processes = start(command, prepared)
    until = time.monotonic() + SECONDS
    while not list(prepared.glob("out/seed-0/quantized-*4.safetensors")):
        assert all(p.poll() is None for p in processes) and time.monotonic() < until
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGKILL)
    (code, output, errors), (killed, _, _) = finish(processes)
    assert (code, killed) == (1, -signal.SIGKILL), errors
    assert "another process of this run has ended" in errors and "with --resume" in errors
    assert "Traceback" not in errors and "Results in" not in output

    ended = finish(start([*command, "--resume"], prepared))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert "quantized: going on after step" in ended[0][2] and "going on" not in ended[1][2]
    for name in ("float.safetensors", "quantized.safetensors"):
        ours, theirs = values(prepared, name), values(launched[0], name)
        assert set(ours) == set(theirs)
        for key, value in ours.items():
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)


def test_a_batch_that_cannot_be_shared(tmp_path, monkeypatch):
    group = ProcessGroup(0, 3)
    monkeypatch.setattr(ProcessGroup, "agreed", lambda self, action: action())
    monkeypatch.setattr("paddle_custom_quant.training.recipe_run.build_stage", lambda *_: None)
    how = How(workers=0, group=group)
    with pytest.raises(ValueError, match="must be a multiple of the 3 processes"):
        run_recipe(SHORT, some_digits(), tmp_path, how)


def test_parts_of_the_processes_are_one_processes_batches():
    from paddle_custom_quant.training.data import Augmentation, augmented_batches

    images = some_digits().train
    given = {"first": 1, "last": 4, "seed": 5, "workers": 0}
    changes = Augmentation(2, True, 3)
    whole = [(b.inputs.copy(), b.labels) for b in augmented_batches(images, changes, 16, **given)]
    given["workers"] = 1
    parts = [
        [
            (b.inputs.copy(), b.labels)
            for b in augmented_batches(images, changes, 16, **given, part=part)
        ]
        for part in (ProcessGroup(rank, 2).part(16) for rank in range(2))
    ]
    order = list(batches(len(images), 16, 4, 5))[1:]
    for one, first, second, chosen in zip(whole, *parts, order):
        np.testing.assert_array_equal(one[0], np.concatenate([first[0], second[0]]))
        np.testing.assert_array_equal(images.labels[chosen], np.concatenate([first[1], second[1]]))
