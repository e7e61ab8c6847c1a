"""Inserting quantizers: this package's pass against Paddle's own, and its growth with the program.

    python benchmarks/insertion.py

ResNet-18, ResNet-50 and MobileNetV2 of ``paddle.vision`` with backward pass and optimizer; one
function with a learned parameter for every weight, for every activation, and for both: one that
Paddle's pass can take. The two passes alternate on the same programs; CPU time, medians. Then
chains of convolutions with this package's pass, and the peak memory that it adds on ResNet-50 in a
process of its own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, Callable

import paddle_custom_quant as pcq  # isort: skip
import paddle
from paddle import nn, static
from paddle.framework import IrGraph, core
from paddle.nn.initializer import Constant
from paddle.static.quantization import QuantizationTransformPassV2 as PaddlePass

from paddle_custom_quant.qat.transform_pass import QuantizationTransformPassV2 as OwnPass

CPU = paddle.CPUPlace()
OPS = ["conv2d", "depthwise_conv2d", "matmul_v2"]
NETS: dict[str, Callable[[], Any]] = {
    "ResNet-18": lambda: paddle.vision.models.resnet18(num_classes=10),
    "ResNet-50": lambda: paddle.vision.models.resnet50(num_classes=10),
    "MobileNetV2": lambda: paddle.vision.models.mobilenet_v2(num_classes=10),
}
CHAIN = (200, 400, 800, 1600, 3200)
FASTER, GROWTH, MEGABYTES = 8.0, 1.3, 100


def learned(x: Any) -> Any:
    """A function that Paddle's pass can take: its input first meets a parameter of its own."""
    attribute = paddle.ParamAttr(name=f"{x.name}.slope", initializer=Constant(1.1))
    return paddle.tanh(x * paddle.create_parameter([1], x.dtype, attr=attribute))


FUNCTIONS: dict[str, dict[str, Any]] = {
    "weights": {"weight_quantize_func": learned},
    "activations": {"act_quantize_func": learned},
    "both": {"weight_quantize_func": learned, "act_quantize_func": learned},
}


class Net:
    """A training program whose parameters have values in a scope of its own."""

    def __init__(self, loss: Callable[[], Any]) -> None:
        self.scope, self.executor = static.Scope(), static.Executor(CPU)
        self.main, startup = static.Program(), static.Program()
        with static.program_guard(self.main, startup), paddle.utils.unique_name.guard():
            paddle.optimizer.Momentum(0.01, 0.9).minimize(loss())
        with static.scope_guard(self.scope):
            self.executor.run(startup)

    def insert(self, kind: Any, functions: dict[str, Any]) -> float:
        """CPU seconds of one insertion by this kind of pass."""
        graph = IrGraph(core.Graph(self.main.desc), for_test=False)
        with static.scope_guard(self.scope), paddle.utils.unique_name.guard("inserted."):
            engine = kind(
                scope=self.scope,
                place=CPU,
                quantizable_op_type=OPS,
                optimizer_func=lambda: paddle.optimizer.SGD(0.01),
                executor=self.executor,
                **functions,
            )
            with timed() as seconds:
                engine.apply(graph)
        return seconds[0]


@contextmanager
def timed() -> Iterator[list[float]]:
    """CPU seconds of this process, which other processes disturb less than they do the clock."""
    found: list[float] = []
    gc.collect()
    start = time.process_time()
    yield found
    found.append(time.process_time() - start)


def image_net(build: Callable[[], Any]) -> Any:
    """The loss of a classifier on an image that lets gradients through, as Paddle's pass needs."""
    image = static.data("image", [2, 3, 64, 64])
    image.stop_gradient = False
    return paddle.mean(build()(image) ** 2)


def chain(length: int) -> Any:
    """The loss of convolutions and ReLUs in a row."""
    x = static.data("image", [1, 2, 4, 4])
    x.stop_gradient = False
    for _ in range(length):
        x = nn.functional.relu(nn.Conv2D(2, 2, 1)(x))
    return paddle.mean(x)


def compare(nets: list[str], repeats: int) -> dict[str, float]:
    """Times faster than Paddle's pass, by net and function."""
    figures = {}
    print(f"{'net':14}{'functions on':14}{'Paddle, s':>12}{'here, s':>12}{'faster':>9}")
    for name in nets:
        net = Net(lambda: image_net(NETS[name]))  # noqa: B023
        for where, functions in FUNCTIONS.items():
            net.insert(OwnPass, functions)
            pairs = [
                (net.insert(PaddlePass, functions), net.insert(OwnPass, functions))
                for _ in range(repeats)
            ]
            theirs, ours = (median(times) for times in zip(*pairs))
            figures[f"{name}, {where}, times faster"] = round(theirs / ours, 2)
            print(f"{name:14}{where:14}{theirs:12.3f}{ours:12.3f}{theirs / ours:9.1f}", flush=True)
    return figures


def grow(lengths: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Time a layer over that of the shortest chain."""
    nets = {length: Net(lambda: chain(length)) for length in lengths}  # noqa: B023
    times: dict[int, list[float]] = {length: [] for length in lengths}
    for _ in range(repeats):
        for length, net in nets.items():
            times[length].append(net.insert(OwnPass, FUNCTIONS["both"]) / length)
    per_layer = {length: median(found) for length, found in times.items()}
    print(f"\n{'convolutions':14}{'ms a layer':>12}{'growth':>9}")
    for length, seconds in per_layer.items():
        print(f"{length:<14}{1000 * seconds:12.3f}{seconds / per_layer[lengths[0]]:9.2f}")
    last = lengths[-1]
    return {f"growth to {last} layers": round(per_layer[last] / per_layer[lengths[0]], 3)}


def memory() -> float:
    """Megabytes by which one insertion raises the peak of this process."""
    net = Net(lambda: image_net(NETS["ResNet-50"]))
    small = Net(lambda: chain(2))
    small.insert(OwnPass, FUNCTIONS["both"])  # what is loaded once is not counted
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net.insert(OwnPass, FUNCTIONS["both"])
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> int:
    """Measure and print; 1 if a limit does not hold."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="ResNet-18, short chains, no limits")
    options.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    with pcq.legacy_static():
        if given.memory:
            print(memory())
            return 0
        nets = ["ResNet-18"] if given.quick else list(NETS)
        figures = compare(nets, 1 if given.quick else 5)
        figures.update(grow(CHAIN[:2] if given.quick else CHAIN, 1 if given.quick else 3))
    limits: dict[str, list[Any]] = {}
    if not given.quick:
        output = subprocess.run(
            [sys.executable, __file__, "--memory"], stdout=subprocess.PIPE, check=True, text=True
        ).stdout
        figures["ResNet-50, peak MB added"] = round(float(output.split()[-1]), 1)
        limits = {
            "ResNet-50, both, times faster": [">=", FASTER],
            f"growth to {CHAIN[-1]} layers": ["<=", GROWTH],
            "ResNet-50, peak MB added": ["<=", MEGABYTES],
        }
        print(f"\nResNet-50, peak memory added: {figures['ResNet-50, peak MB added']} MB")
    ok = all(
        figures[name] >= bound if sign == ">=" else figures[name] <= bound
        for name, (sign, bound) in limits.items()
    )
    print(json.dumps({"figures": figures, "limits": limits, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
