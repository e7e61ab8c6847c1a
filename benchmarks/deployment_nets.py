"""Nets that are trained a little for deployment: what they are, how they are quantized."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import paddle_custom_quant as pcq  # isort: skip
import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import static

from paddle_custom_quant.quantizers import (
    LSQ,
    PACT,
    AbsMax,
    DoReFaActivation,
    DoReFaWeight,
    MovingAverageAbsMax,
)
from paddle_custom_quant.training.data import read_cifar10, read_mnist
from paddle_custom_quant.training.models.lenet import LeNetBN
from paddle_custom_quant.training.models.mobilenet_v2 import MobileNetV2
from paddle_custom_quant.training.models.resnet import ResNet18

LAYERS = ["conv2d", "depthwise_conv2d", "matmul_v2"]
JOINS = ["elementwise_add", "pool2d"]


@dataclass(frozen=True)
class Net:
    make: Callable[[], Any]
    shape: tuple[int, int, int]
    data: str
    float_steps: int
    steps: int
    batch: int
    joins: bool
    rate: float


NETS = {
    "LeNet": Net(LeNetBN, (1, 28, 28), "mnist", 2000, 800, 64, False, 0.02),
    "ResNet-18": Net(lambda: ResNet18(width=16), (3, 32, 32), "cifar10", 3000, 200, 64, True, 0.1),
    "MobileNetV2": Net(
        lambda: MobileNetV2(width=0.5), (3, 32, 32), "cifar10", 3500, 250, 64, True, 0.05
    ),
}


@dataclass(frozen=True)
class Method:
    """Weight quantizer by bits, for inner layers; activation quantizer by bits and sign."""

    weight: Callable[[int], Any]
    activation: Callable[[int, bool], Any]
    bits: int
    optimizer: Callable[[], Any] = lambda: paddle.optimizer.Adam(1e-3)


def _dorefa(bits: int, signed: bool) -> Any:
    return PACT(bits, alpha=2.0, signed=True) if signed else DoReFaActivation(bits)


def _pact(bits: int, signed: bool) -> Any:
    return PACT(bits, alpha=3.0, signed=signed)


def _lsq(bits: int, signed: bool) -> Any:
    return LSQ(bits, signed=signed)


def _momentum() -> Any:
    # LSQ scales the gradient of a step to the step: what suits weights suits it.
    return paddle.optimizer.Momentum(1e-3, 0.9)


def _per_channel(bits: int) -> Any:
    return LSQ(bits, per_channel=True)


METHODS = {
    "dorefa-w4a4": Method(DoReFaWeight, _dorefa, 4),
    "dorefa-w8a8": Method(DoReFaWeight, _dorefa, 8),
    "pact-w4a4": Method(DoReFaWeight, _pact, 4),
    "lsq-w4a4": Method(_per_channel, _lsq, 4, _momentum),
    "lsq-w2a2": Method(_per_channel, _lsq, 2, _momentum),
    "lsq-w8a8": Method(_per_channel, _lsq, 8, _momentum),
}


def quantize_with(net: Net, method: Method) -> dict[str, Any]:
    """Settings of ``quant_aware``: first and last layer 8 bits, joins of branches 8 bits."""
    bits, make = method.bits, method.activation
    rules: dict[str, Any] = {"image": PACT(8, alpha=1.0, signed=True)}
    if net.joins:
        rules.update({kind: MovingAverageAbsMax(8) for kind in JOINS})
        rules.update({"flatten*": make(8, False), "relu*": make(bits, False)})
    else:
        rules.update({"pool2d*": make(bits, False), "flatten*": make(bits, False)})
    return {
        "config": {"quantize_op_types": LAYERS + (JOINS if net.joins else [])},
        "weight_quantize_func": pcq.FirstLast(AbsMax(8, per_channel=True), method.weight(bits)),
        "act_quantize_func": pcq.PerLayer(rules, default=make(bits, True)),
        "optimizer_func": method.optimizer,
    }


class Data:
    """Images as network inputs, labels, and batches drawn at random."""

    def __init__(self, kind: str, folder: Path) -> None:
        held = read_mnist(folder / kind) if kind == "mnist" else read_cifar10(folder / kind)
        self.train, self.test = held.train, held.test
        self.random = np.random.default_rng(0)

    def batch(self, size: int) -> dict[str, np.ndarray]:
        chosen = self.random.integers(0, len(self.train), size)
        images = self.train.inputs(chosen)
        if images.shape[1] == 3 and self.random.random() < 0.5:
            images = np.ascontiguousarray(images[..., ::-1])
        return {"image": images, "label": self.train.labels[chosen][:, None]}


@dataclass(frozen=True)
class Programs:
    train: Any
    test: Any
    startup: Any
    loss: str
    logits: str
    schedule: Any


def build(net: Net, rate: float, steps: int) -> Programs:
    paddle.seed(0)
    main, startup = static.Program(), static.Program()
    with static.program_guard(main, startup), paddle.utils.unique_name.guard():
        image = static.data("image", [-1, *net.shape])
        label = static.data("label", [-1, 1], "int64")
        logits = net.make()(image)
        test = main.clone(for_test=True)
        loss = F.cross_entropy(logits, label)
        schedule = paddle.optimizer.lr.CosineAnnealingDecay(rate, steps)
        paddle.optimizer.Momentum(schedule, 0.9, weight_decay=5e-4).minimize(loss)
    return Programs(main, test, startup, loss.name, logits.name, schedule)


def use_fast_convolutions(program: Any) -> None:
    """oneDNN's kernels train several times as fast on a CPU; results agree to 1e-6."""
    for op in program.global_block().ops:
        if op.type.replace("_grad", "") in ("conv2d", "depthwise_conv2d"):
            op._set_attr("use_mkldnn", True)


def run_steps(executor: Any, program: Any, programs: Programs, data: Data, net: Net, name: str,
              steps: int) -> None:  # fmt: skip
    start = time.time()
    for step in range(steps):
        (loss,) = executor.run(program, data.batch(net.batch), [programs.loss])
        programs.schedule.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"{name} {step} {float(loss):.4f} {time.time() - start:.0f}s", flush=True)


def accuracy(executor: Any, program: Any, logits: str, data: Data, count: int = 1000) -> float:
    images, right = data.test.inputs(slice(count)), 0
    for at in range(0, count, 100):
        (out,) = executor.run(program, {"image": images[at : at + 100]}, [logits])
        right += int((out.argmax(axis=1) == data.test.labels[at : at + 100]).sum())
    return right / count


def train_float(name: str, data: Data, work: Path) -> None:
    net, path = NETS[name], work / name / "float" / "model"
    if Path(f"{path}.pdmodel").exists():
        return
    programs = build(net, net.rate, net.float_steps)
    executor = static.Executor(paddle.CPUPlace())
    executor.run(programs.startup)
    use_fast_convolutions(programs.train)
    run_steps(executor, programs.train, programs, data, net, f"{name} float", net.float_steps)
    print(name, "float", accuracy(executor, programs.test, programs.logits, data), flush=True)
    static.save(programs.test, str(path))


def train_quantized(name: str, method: str, data: Data, work: Path) -> None:
    net, path = NETS[name], work / name / method / "model"
    if Path(f"{path}.pdmodel").exists():
        return
    programs = build(net, 0.02 if net.joins else 0.01, net.steps)
    place = paddle.CPUPlace()
    executor = static.Executor(place)
    executor.run(programs.startup)
    state = static.load_program_state(str(work / name / "float" / "model"))
    static.set_program_state(programs.test, state)
    settings = quantize_with(net, METHODS[method])
    train = pcq.quant_aware(
        programs.train, place, executor=executor, return_program=True, **settings
    )
    test = pcq.quant_aware(programs.test, place, executor=executor, for_test=True, **settings)
    use_fast_convolutions(train)
    run_steps(executor, train, programs, data, net, f"{name} {method}", net.steps)
    print(name, method, accuracy(executor, test, programs.logits, data), flush=True)
    static.save(test, str(path))
