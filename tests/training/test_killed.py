"""Kill a run without warning, several times, and let it go on each time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import yaml

from paddle_custom_quant.training.recipe_file import recipe_as_data
from paddle_custom_quant.training.tensor_file import read_tensors
from tests.training.tiny_recipe import recipe

# PCQ_KILLS=20 is the long form.
KILLS = int(os.environ.get("PCQ_KILLS") or 2)
SHORT = recipe(
    float={"epochs": 0.3, "learning_rate": 0.02},
    quantized={"epochs": 0.2, "learning_rate": 0.01, "freeze_bn": 0.1},
)
STEPS = {"float": 27, "quantized": 18}  # of 89 an epoch


def start(folder, *options):
    command = [sys.executable, "-m", "paddle_custom_quant.cli", "train", "recipe.yaml"]
    command += ["--output", "out", "--checkpoint-every", "2", "--workers", "1", *options]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return errors


def reached(folder):
    """Steps of both stages for which there is a checkpoint."""
    names = [path.stem.rpartition("-") for path in folder.glob("out/seed-0/*-*.safetensors")]
    done = {stage: max([int(n) for s, _, n in names if s == stage], default=0) for stage in STEPS}
    return STEPS["float"] + done["quantized"] if done["quantized"] else done["float"]


def prepare(folder):
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe_as_data(SHORT)))


def test_killed_and_resumed_equals_undisturbed_bit_for_bit(tmp_path, rng):
    prepare(tmp_path / "whole")
    finish(start(tmp_path / "whole"))
    folder = tmp_path / "killed"
    prepare(folder)
    moments = sorted(rng.integers(2, sum(STEPS.values()), KILLS))
    killed = 0
    for moment in moments:
        process = start(folder, *(["--resume"] if killed else []))
        try:
            while reached(folder) < moment and process.poll() is None:
                time.sleep(0.005)
            time.sleep(float(rng.uniform(0, 0.1)))
            assert process.poll() is None or process.returncode == 0
            killed += process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert killed
    told = finish(start(folder, "--resume"))
    assert "going on after step" in told or reached(folder) == sum(STEPS.values())
    for name in ("float.safetensors", "quantized.safetensors"):
        ours, theirs = (
            read_tensors(tmp_path / run / "out" / "seed-0" / name)[0] for run in ("killed", "whole")
        )
        assert set(ours) == set(theirs)
        for key, value in ours.items():
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)
