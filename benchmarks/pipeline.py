"""The float step through the trainer against a bare executor loop.

    python benchmarks/pipeline.py

ResNet-8 and ResNet-20 with batches of 128 images of 32x32: pad and crop, flip and cutout in worker
processes, learning rates and seeds set, loss and top-1 kept, against the same programs fed with one
batch again and again. Blocks of steps of both alternate in one process; medians of images per
second. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import paddle_custom_quant as pcq  # isort: skip
from paddle import static

from paddle_custom_quant.training.data import load_coloured_digits
from paddle_custom_quant.training.how import How
from paddle_custom_quant.training.recipe import Recipe
from paddle_custom_quant.training.recipe_file import parse_recipe
from paddle_custom_quant.training.recovery import Checkpoints
from paddle_custom_quant.training.stage_programs import build_stage
from paddle_custom_quant.training.stage_training import StageTraining

BATCH, LIMIT = 128, 0.95


def recipe(net: str) -> Recipe:
    return parse_recipe(
        {
            "net": net,
            "data": {"name": "digits", "pad": 4, "flip": True, "cutout": 8},
            "batch_size": BATCH,
            "float": {"epochs": 1000, "learning_rate": 0.01},
        }
    )


class Runs:
    """The trainer, stopped and continued, and the bare loop, on programs of their own."""

    def __init__(self, net: str, workers: int, folder: Path) -> None:
        self.data, held = load_coloured_digits(), recipe(net)
        self.programs = build_stage(held, "float", 0, self.data, None)
        checkpoints = Checkpoints(folder, "float", {}, print)
        self.training = StageTraining(
            "float", held.float_stage, held, 0, self.programs, self.data, checkpoints, How(workers)
        )
        self.batches = self.training._batches(0, 10**6)
        classifier = self.programs.classifier
        images, labels = self.data.train.inputs(slice(BATCH)), self.data.train.labels[:BATCH]
        self.feed = {classifier.image: images, classifier.label: labels[:, None]}

    def trainer(self, steps: int) -> float:
        """Images per second."""
        with static.scope_guard(self.programs.scope):
            start = time.perf_counter()
            for _ in range(steps):
                self.training._one_step(next(self.batches))
            return BATCH * steps / (time.perf_counter() - start)

    def bare(self, steps: int) -> float:
        """Images per second."""
        classifier = self.programs.classifier
        with static.scope_guard(self.programs.scope):
            start = time.perf_counter()
            for _ in range(steps):
                self.programs.executor.run(
                    self.programs.train, self.feed, [classifier.loss, classifier.logits]
                )
            return BATCH * steps / (time.perf_counter() - start)


def main() -> int:
    """Measure and print; 1 if the limit does not hold."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="ResNet-8, few steps, no limit")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--no-keep-memory", action="store_true")
    given = options.parse_args()
    if not given.no_keep_memory:
        pcq.keep_memory()
    steps, rounds = (3, 2) if given.quick else (10, given.rounds)
    figures: dict[str, float] = {}
    limits: dict[str, list[Any]] = {}
    print(f"{'net':12} {'bare, images/s':>15} {'trainer, images/s':>18} {'part':>6}")
    with pcq.legacy_static(), tempfile.TemporaryDirectory() as folder:
        for net in ("ResNet-8",) if given.quick else ("ResNet-8", "ResNet-20"):
            runs = Runs(net, given.workers, Path(folder))
            runs.trainer(3), runs.bare(3)
            pairs = [(runs.bare(steps), runs.trainer(steps)) for _ in range(rounds)]
            runs.batches.close()
            bare, trainer = (median(found) for found in zip(*pairs))
            part = median(ours / theirs for theirs, ours in pairs)
            figures[f"{net}, bare, images a second"] = round(bare, 1)
            figures[f"{net}, trainer, images a second"] = round(trainer, 1)
            figures[f"{net}, part of the bare loop"] = round(part, 3)
            if not given.quick:
                limits[f"{net}, part of the bare loop"] = [">=", LIMIT]
            print(f"{net:12} {bare:15.1f} {trainer:18.1f} {part:6.3f}", flush=True)
    ok = all(figures[name] >= bound for name, (_, bound) in limits.items())
    print(json.dumps({"figures": figures, "limits": limits, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
