"""Speed of frozen nets: integers against float in the same engine, by turns, one thread.

python benchmarks/inference.py [--net NAME] [--batch N ...] [--repeats N] [--json FILE]

Nets of full width with start values (speed does not depend on what was learned), quantized with
DoReFa weights and PACT activations of 4 bits, first and last layer 8 bits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import paddle_custom_quant as pcq  # isort: skip
import numpy as np
import paddle
from deployment import METHODS, NETS, Net, quantize_with
from paddle import static

from paddle_custom_quant.deploy import compare, freeze
from paddle_custom_quant.training.models.mobilenet_v2 import MobileNetV2
from paddle_custom_quant.training.models.resnet import ResNet18

FULL = {
    "ResNet-18": ResNet18,
    "MobileNetV2": MobileNetV2,
}


def quantized(name: str, method: str) -> tuple[Any, Any]:
    """A test program whose batch norms and quantizers have seen one batch of noise."""
    shape = NETS[name].shape
    net = Net(FULL[name], shape, "", 0, 0, 8, True)
    scope, place = static.Scope(), paddle.CPUPlace()
    main, startup = static.Program(), static.Program()
    startup.random_seed = 1
    executor = static.Executor(place)
    random = np.random.default_rng(0)
    with static.scope_guard(scope):
        with static.program_guard(main, startup), paddle.utils.unique_name.guard():
            image = static.data("image", [-1, *shape])
            label = static.data("label", [-1, 1], "int64")
            logits = net.make()(image)
            test = main.clone(for_test=True)
            loss = paddle.nn.functional.cross_entropy(logits, label)
            paddle.optimizer.Momentum(1e-4, 0.9).minimize(loss)
        executor.run(startup)
        settings = quantize_with(net, METHODS[method])
        arguments = {"executor": executor, "return_program": True, **settings}
        train = pcq.quant_aware(main, place, **arguments)
        quantized_test = pcq.quant_aware(test, place, for_test=True, **arguments)
        for _ in range(3):
            feed = {
                "image": random.uniform(-1, 1, (net.batch, *shape)).astype("float32"),
                "label": random.integers(0, 10, (net.batch, 1)),
            }
            executor.run(train, feed, [loss])
    return quantized_test, scope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", action="append", choices=list(FULL))
    parser.add_argument("--method", default="pact-w4a4", choices=list(METHODS))
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sizes = tuple(arguments.batch or (1, 32))
    results = {}
    for name in arguments.net or FULL:
        with pcq.legacy_static():
            program, scope = quantized(name, arguments.method)
            frozen = freeze(program, scope)
            images = np.random.default_rng(1).uniform(-1, 1, (max(sizes), *NETS[name].shape))
            result = compare(
                program,
                scope,
                images.astype("float32"),
                frozen=frozen,
                engines=["paddle-onednn-int8", "onnxruntime", "openvino"],
                batch_size=max(sizes),
                timed=sizes,
                repeats=arguments.repeats,
            )
        print(f"\n{name} {arguments.method}\n{result}", flush=True)
        results[name] = json.loads(result.to_json())
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
