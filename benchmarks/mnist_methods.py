"""Every method at 4, 3 and 2 bits on MNIST, from one float net.

    python benchmarks/mnist_methods.py --data FOLDER

LeNet, inputs in [-1, 1], batches of 64, Momentum 0.9, weights that start as PyTorch's do (uniform,
1 / sqrt(inputs)). Float: 5 epochs, learning rate 0.01 for 3 and 0.001 for 2. Quantized: 2 epochs at
0.001 from the float weights, ranges calibrated on 10 batches, weights and activations at the same
width, first and last layer at 8 bits. Top-1 on the 10,000 test images, mean and range over the
seeds. ``--work DIR`` keeps float nets and finished runs, so that a stopped measurement continues.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, Callable

import paddle_custom_quant as pcq  # isort: skip
import numpy as np
import paddle
from paddle import static
from paddle.nn.initializer import KaimingUniform, set_global_initializer

from paddle_custom_quant.quantizers import (
    DSQ,
    EWGS,
    LSQ,
    N2UQ,
    PACT,
    QIL,
    SAWB,
    TQT,
    APoT,
    DoReFaActivation,
    DoReFaWeight,
    LQNet,
    LSQPlus,
)
from paddle_custom_quant.training.checkpoint import set_values, values_of
from paddle_custom_quant.training.classifier import build_classifier
from paddle_custom_quant.training.data import Dataset, batches, read_mnist
from paddle_custom_quant.training.metrics import score
from paddle_custom_quant.training.trainer import predict, train

CPU = paddle.CPUPlace()
CONFIG = {"quantize_op_types": ["conv2d", "matmul_v2"]}
BATCH = 64


@dataclass(frozen=True)
class Method:
    """Weight and activation quantizer by bits, and the peers' means on this recipe.

    ``ends`` quantizes the weights of the first and last layer, if not the method itself;
    ``observer`` chooses the ranges that activations start from, if not the method itself.
    """

    weight: Callable[[int], Any]
    activation: Callable[[int], Any]
    peer: dict[int, float] | None = None
    ends: Callable[[int], Any] | None = None
    observer: pcq.observers.Observer | None = None


rescaled = partial(DoReFaWeight, rescale=True, detach_max=True)
unsigned = partial(LSQ, signed=False)
METHODS = {
    "LSQ": Method(LSQ, unsigned, {4: 98.79, 3: 98.68, 2: 98.17}),
    "LSQ, start by MSE": Method(LSQ, unsigned, observer=pcq.observers.MSE()),
    "LSQ, per channel": Method(partial(LSQ, per_channel=True), unsigned),
    "LSQ+": Method(LSQPlus, partial(LSQPlus, signed=False)),
    "PACT": Method(rescaled, PACT, {4: 98.70, 3: 98.39, 2: 97.34}),
    "DoReFa": Method(DoReFaWeight, DoReFaActivation, {4: 98.30, 3: 97.94, 2: 96.19}, ends=rescaled),
    "DoReFa, rescaled": Method(rescaled, DoReFaActivation, {4: 98.31, 3: 98.32, 2: 97.88}),
    "SAWB": Method(SAWB, PACT),
    "DSQ": Method(DSQ, partial(DSQ, signed=False)),
    "QIL": Method(QIL, partial(QIL, signed=False)),
    # Rescaled: LeNet has no batch norm that could bear weights of variance one. It ends at 7 bits.
    "APoT": Method(partial(APoT, rescale=True), partial(APoT, signed=False), ends=LSQ),
    "LQ-Net": Method(LQNet, partial(LQNet, signed=False)),
    "TQT": Method(TQT, partial(TQT, signed=False)),
    "EWGS": Method(lambda b: EWGS(LSQ(b)), lambda b: EWGS(unsigned(b))),
    "N2UQ": Method(partial(N2UQ, signed=True), partial(N2UQ, signed=False)),
}
BITS = (4, 3, 2)
# How far the best method may be below float, in points.
BEST = {4: 0.10, 3: 0.20, 2: 0.50}


class Net:
    """LeNet on MNIST in a scope of its own."""

    def __init__(self, data: Dataset, seed: int) -> None:
        self.data, self.seed = data, seed
        self.scope = static.Scope()
        self.executor = static.Executor(CPU)
        self.rate = paddle.optimizer.lr.PiecewiseDecay([1], [0.01, 0.001])
        self.net = build_classifier("LeNet", data.train.shape, data.classes, self.rate)

    def run(self, program: Any, epochs: int, seed: int) -> None:
        """Train for some epochs."""
        iterations = epochs * (len(self.data.train) // BATCH)
        with static.scope_guard(self.scope):
            train(
                self.executor,
                program,
                self.net,
                self.data.train,
                iterations=iterations,
                batch_size=BATCH,
                seed=seed,
            )

    def top1(self, program: Any) -> float:
        """Percent of the test images."""
        with static.scope_guard(self.scope):
            logits = predict(self.executor, program, self.net, self.data.test)
        return score(logits, self.data.test.labels).top1

    def train_float(self, scale: float) -> dict[str, Any]:
        """The float recipe; the trained values."""
        paddle.seed(self.seed)
        with static.scope_guard(self.scope):
            self.executor.run(self.net.startup)
        fast, slow = max(1, round(3 * scale)), max(1, round(2 * scale))
        self.run(self.net.train, fast, self.seed)
        self.rate.step()
        self.run(self.net.train, slow, self.seed + 1000)
        return values_of(self.net.test, self.scope)

    def train_quantized(self, method: Method, bits: int, epochs: int) -> float:
        """Quantized training from what the scope holds; top-1."""
        weights = pcq.FirstLast((method.ends or method.weight)(8), method.weight(bits))
        ends = LSQ(8)
        functions = {
            "weight_quantize_func": weights,
            "act_quantize_func": pcq.FirstLast(ends, method.activation(bits)),
        }
        quantize = partial(pcq.quant_aware, place=CPU, config=CONFIG, scope=self.scope, **functions)
        with static.scope_guard(self.scope):
            program = quantize(
                self.net.train,
                executor=self.executor,
                return_program=True,
                optimizer_func=lambda: paddle.optimizer.Momentum(0.001, 0.9),
            )
            feeds = (
                {
                    self.net.image: self.data.train.inputs(chosen),
                    self.net.label: self.data.train.labels[chosen][:, None],
                }
                for chosen in batches(len(self.data.train), BATCH, 10, self.seed)
            )
            pcq.calibrate(self.net.test, program, feeds, observer=method.observer, scope=self.scope)
            test = quantize(self.net.test, for_test=True)
        self.run(program, epochs, self.seed + 2000)
        return self.top1(test)


class Kept:
    """Float nets and finished runs, in a folder if one is given."""

    def __init__(self, folder: str | None) -> None:
        self.folder = Path(folder) if folder else None
        self.runs: dict[str, float] = {}
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = self.folder / "runs.jsonl"
            for line in self.file.read_text().splitlines() if self.file.exists() else []:
                self.runs.update(json.loads(line))

    def run(self, name: str, compute: Callable[[], float]) -> float:
        """Top-1 of a run, computed unless it is known."""
        if name not in self.runs:
            self.runs[name] = compute()
            if self.folder:
                with self.file.open("a") as file:
                    file.write(json.dumps({name: self.runs[name]}) + "\n")
        print(f"{name} {self.runs[name]:.2f}", flush=True)
        return self.runs[name]

    def values(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The values of a float net, trained unless they are known."""
        path = self.folder / f"{name}.npz" if self.folder else None
        if path and path.exists():
            return dict(np.load(path))
        values = compute()
        if path:
            np.savez(path, **values)
        return values


def measure(data: Dataset, seed: int, quick: bool, only: list[str], kept: Kept) -> dict[str, float]:
    """Top-1 by ``method, bits``; ``float`` among them."""
    net = Net(data, seed)
    trained = kept.values(f"float-{seed}", lambda: net.train_float(0.2 if quick else 1.0))

    def restore() -> None:
        paddle.seed(seed)
        with static.scope_guard(net.scope):
            net.executor.run(net.net.startup)
        set_values(trained, net.scope, CPU)

    def quantized(method: Method, bits: int) -> float:
        restore()
        return net.train_quantized(method, bits, 1 if quick else 2)

    restore()
    found = {"float": kept.run(f"seed {seed}: float", lambda: net.top1(net.net.test))}
    for name in only or METHODS:
        for bits in BITS:
            key = f"{name}, {bits} bits"
            compute = partial(quantized, METHODS[name], bits)
            found[key] = kept.run(f"seed {seed}: {key}", compute)
    return found


def limits(figures: dict[str, float]) -> dict[str, list[Any]]:
    """The least each figure may be."""
    bound: dict[str, list[Any]] = {}
    for name, method in METHODS.items():
        for bits, peer in (method.peer or {}).items():
            if f"{name}, {bits} bits" in figures:
                bound[f"{name}, {bits} bits"] = [">=", round(peer - 0.15, 2)]
        at4 = f"{name}, 4 bits"
        if method.peer is None and at4 in figures and "LSQ, 4 bits" in figures:
            bound[at4] = [">=", round(figures["LSQ, 4 bits"] - 1.0, 3)]
    for bits, distance in BEST.items():
        if f"best, {bits} bits" in figures:
            bound[f"best, {bits} bits"] = [">=", round(figures["float"] - distance, 3)]
    return bound


def main() -> int:
    """Measure and print; 1 if a limit does not hold."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = os.environ.get("PCQ_DATA")
    options.add_argument("--data", default=root and os.path.join(root, "mnist"), metavar="DIR")
    options.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], metavar="N")
    options.add_argument("--work", metavar="DIR", help="keep and reuse what is finished here")
    options.add_argument("--quick", action="store_true", help="one seed, one epoch, no limits")
    options.add_argument("--methods", nargs="*", choices=list(METHODS), default=[])
    given = options.parse_args()
    if not given.data:
        options.error("name MNIST's folder with --data, or set PCQ_DATA")
    seeds = [0] if given.quick else given.seeds
    kept = Kept(None if given.quick else given.work)
    data = read_mnist(given.data)
    # PyTorch's start values, as the peers had them.
    set_global_initializer(KaimingUniform(negative_slope=math.sqrt(5), nonlinearity="leaky_relu"))
    runs: dict[str, list[float]] = {}
    for seed in seeds:
        with pcq.legacy_static():
            for name, top1 in measure(data, seed, given.quick, given.methods, kept).items():
                runs.setdefault(name, []).append(top1)
    figures = {name: round(mean(values), 3) for name, values in runs.items()}
    for bits in BITS:
        held = [value for name, value in figures.items() if name.endswith(f", {bits} bits")]
        figures[f"best, {bits} bits"] = max(held)
    print(f"\n{'method':18}" + "".join(f"{f'{b} bits':>24}" for b in BITS))
    print(f"{'float':18}{figures['float']:8.2f}")
    for name in given.methods or METHODS:
        cells = []
        for bits in BITS:
            values = runs[f"{name}, {bits} bits"]
            cells.append(f"{mean(values):8.2f} ({min(values):.2f} to {max(values):.2f})")
        print(f"{name:18}" + "".join(f"{cell:>24}" for cell in cells))
    bound = {} if given.quick else limits(figures)
    ok = all(figures[name] >= least for name, (_, least) in bound.items())
    print(json.dumps({"figures": figures, "limits": bound, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
