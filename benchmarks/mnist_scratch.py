"""Accuracy of 4-bit training from scratch on MNIST, against float on the same recipe.

    python benchmarks/mnist_scratch.py --data FOLDER

938 batches of 64 (one epoch), Momentum 0.9, learning rate 0.01, inputs in [-1, 1], first and last
layer at 8 bits, mean top-1 over the seeds. The last line is JSON: the figures, their limits, and
whether all hold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from importlib import metadata
from statistics import mean

import paddle_custom_quant as pcq
from paddle_custom_quant.training.data import Dataset, read_mnist
from paddle_custom_quant.training.experiment import Experiment, Settings

FLOAT = "float"
CASES = {
    "LeNetBN": [(FLOAT, FLOAT), ("dorefa", "dorefa"), ("dorefa", "pact")],
    "LeNet": [(FLOAT, FLOAT), ("dorefa-rescale", "dorefa")],
}
LEAST = {"LeNetBN": 97.5, "LeNet": 97.0}
# Points below float that a quantized net may lose; LeNet has no such limit.
LOSS = {"LeNetBN": 0.7}


def top1(case: tuple[str, str, str], settings: Settings, data: Dataset) -> float:
    """Train one net once."""
    net, weight, activation = case
    if weight != FLOAT:
        settings = replace(settings, weight=weight, activation=activation)
    with pcq.legacy_static():
        experiment = Experiment(replace(settings, net=net), data)
        stage = experiment.train_float() if weight == FLOAT else experiment.train_quantized()
    return stage.score.top1


def limits(figures: dict[str, float]) -> dict[str, list[object]]:
    """The least that each figure may be."""
    found: dict[str, list[object]] = {}
    for name in list(figures):
        net, method = name.split(" ", 1)
        if method == FLOAT:
            continue
        found[name] = [">=", LEAST[net]]
        if net in LOSS:
            figures[f"{name}, over float"] = round(figures[name] - figures[f"{net} {FLOAT}"], 3)
            found[f"{name}, over float"] = [">=", -LOSS[net]]
    return found


def main() -> int:
    """Measure and print; 1 if a limit does not hold."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data_root = os.environ.get("PCQ_DATA")
    options.add_argument(
        "--data",
        metavar="DIR",
        default=data_root and os.path.join(data_root, "mnist"),
        help="folder with the four MNIST IDX .gz files ($PCQ_DATA/mnist)",
    )
    options.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each net")
    options.add_argument("--quick", action="store_true", help="one seed, 60 batches, no limits")
    given = options.parse_args()
    if not given.data:
        options.error("name MNIST's folder with --data, or set PCQ_DATA")
    data = read_mnist(given.data)
    settings = Settings(from_scratch=True)
    seeds = range(given.seeds)
    if given.quick:
        settings, seeds = replace(settings, iterations=60), range(1)

    paddle = metadata.version("paddlepaddle")
    print(f"Paddle {paddle}, {settings.iterations} batches of {settings.batch_size}")
    print(f"{'net':8} {'weights':14} {'activations':12} {'mean':>6}   each seed")
    figures = {}
    for net, methods in CASES.items():
        for weight, activation in methods:
            start = time.perf_counter()
            runs = [
                top1((net, weight, activation), replace(settings, seed=seed), data)
                for seed in seeds
            ]
            name = FLOAT if weight == FLOAT else f"{weight} W4, {activation} A4"
            figures[f"{net} {name}"] = round(mean(runs), 3)
            print(
                f"{net:8} {weight:14} {activation:12} {mean(runs):6.2f}   "
                f"{' '.join(f'{run:.2f}' for run in runs)}   "
                f"({(time.perf_counter() - start) / len(runs):.0f} s a run)",
                flush=True,
            )
    held = {} if given.quick else limits(figures)
    ok = all(figures[name] >= least for name, (_, least) in held.items())
    print(json.dumps({"figures": figures, "limits": held, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
