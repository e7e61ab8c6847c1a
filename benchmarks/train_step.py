"""A quantized training step over a float one.

    python benchmarks/train_step.py

ResNet-20 with batches of 128 and MobileNetV2 with batches of 32, images of 32x32, every convolution
and linear layer at W4A4; convolutions on oneDNN and kept memory on both sides, PaddleSlim's
built-in 8 bits beside them. One process, steps of all programs alternating, medians; peak memory
each in a process of its own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import paddle_custom_quant as pcq  # isort: skip
import numpy as np
import paddle
from paddle import static

from paddle_custom_quant.quantizers import LSQ, PACT, DoReFaActivation, DoReFaWeight
from paddle_custom_quant.training.models.resnet_cifar import CifarResNet

CPU = paddle.CPUPlace()
CONFIG = {"quantize_op_types": ["conv2d", "depthwise_conv2d", "matmul_v2"]}
NETS: dict[str, tuple[Any, int]] = {
    "ResNet-20": (lambda: CifarResNet(20), 128),
    "MobileNetV2": (lambda: paddle.vision.models.mobilenet_v2(num_classes=10), 32),
}
METHODS: dict[str, dict[str, Any]] = {
    "DoReFa": {
        "weight_quantize_func": DoReFaWeight(4, rescale=True),
        "act_quantize_func": DoReFaActivation(4),
    },
    "PACT": {"weight_quantize_func": DoReFaWeight(4, rescale=True), "act_quantize_func": PACT(4)},
    "LSQ": {"weight_quantize_func": LSQ(4), "act_quantize_func": LSQ(4, signed=False)},
    "built-in 8 bits": {},
}
FLOAT = "float"
LIMIT, MEMORY_LIMIT = 1.12, 1.35


class Step:
    """One program with its own scope, run a step at a time."""

    def __init__(self, net: str, method: str) -> None:
        build, batch = NETS[net]
        self.scope = static.Scope()
        main, startup = static.Program(), static.Program()
        with static.program_guard(main, startup), paddle.utils.unique_name.guard():
            image = static.data("image", [batch, 3, 32, 32])
            label = static.data("label", [batch, 1], "int64")
            loss = paddle.nn.functional.cross_entropy(build()(image), label)
            paddle.optimizer.Momentum(0.01, 0.9, weight_decay=1e-4).minimize(loss)
        self.executor = static.Executor(CPU)
        rng = np.random.default_rng(0)
        self.feed = {
            "image": rng.normal(size=(batch, 3, 32, 32)).astype("float32"),
            "label": rng.integers(0, 10, (batch, 1)),
        }
        self.loss = loss.name
        with static.scope_guard(self.scope):
            self.executor.run(startup)
            if method == FLOAT:
                pcq.use_onednn(main)
                self.program = main
            else:
                self.program = pcq.quant_aware(
                    main,
                    CPU,
                    CONFIG,
                    executor=self.executor,
                    return_program=True,
                    optimizer_func=lambda: paddle.optimizer.Momentum(0.001, 0.9),
                    **METHODS[method],
                )

    def run(self) -> float:
        """Seconds of one step."""
        with static.scope_guard(self.scope):
            start = time.perf_counter()
            self.executor.run(self.program, self.feed, [self.loss])
            return time.perf_counter() - start


def ratios(net: str, rounds: int) -> dict[str, float]:
    """Median over the rounds of each method's step over that round's float step."""
    steps = {name: Step(net, name) for name in (FLOAT, *METHODS)}
    for step in steps.values():
        for _ in range(3):
            step.run()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(step.run())
    return {name: median(t / f for t, f in zip(times[name], times[FLOAT])) for name in METHODS}


def own_peak() -> int:
    """Peak resident memory of this process, in kB."""
    # Not getrusage, which hands a parent's peak on to its children.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def peak_memory(net: str, method: str) -> int:
    """Peak resident memory, in kB, of a process that runs a few steps."""
    command = [sys.executable, __file__, "--memory-of", net, method]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(output.split()[-1])


def main() -> int:
    """Measure and print; 1 if a limit does not hold."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="3 rounds, no memory, no limits")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    pcq.keep_memory()
    with pcq.legacy_static():
        if given.memory_of:
            step = Step(*given.memory_of)
            for _ in range(3):
                step.run()
            print(own_peak())
            return 0
        figures: dict[str, float] = {}
        limits: dict[str, list[Any]] = {}
        print(f"{'net':12} {'method':16} {'step':>6} {'memory':>7}   (over float)")
        for net in NETS:
            found = ratios(net, 3 if given.quick else given.rounds)
            base = 0 if given.quick else peak_memory(net, FLOAT)
            for method, ratio in found.items():
                name = f"{net}, {method}"
                figures[f"{name}: step"] = round(ratio, 3)
                memory = peak_memory(net, method) / base if base else float("nan")
                if base:
                    figures[f"{name}: memory"] = round(memory, 3)
                if base and method != "built-in 8 bits":
                    limits[f"{name}: step"] = ["<=", LIMIT]
                    limits[f"{name}: memory"] = ["<=", MEMORY_LIMIT]
                print(f"{net:12} {method:16} {ratio:6.2f} {memory:7.2f}", flush=True)
    ok = all(figures[name] <= bound for name, (_, bound) in limits.items())
    print(json.dumps({"figures": figures, "limits": limits, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
