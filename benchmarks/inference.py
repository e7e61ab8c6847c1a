"""Speed of frozen nets: integers against float in the same engine, by turns, one thread.

    python benchmarks/inference.py [--net NAME] [--batch N] [--repeats N]

Nets of full width with start values (speed does not depend on what was learned), quantized with
DoReFa weights and PACT activations of 4 bits, first and last layer 8 bits. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import paddle_custom_quant as pcq  # isort: skip
import numpy as np
import paddle
from deployment import INTEGER_ENGINES
from deployment_nets import METHODS, NETS, Net, quantize_with
from paddle import static

from paddle_custom_quant.deploy import compare, freeze
from paddle_custom_quant.training.models.mobilenet_v2 import MobileNetV2
from paddle_custom_quant.training.models.resnet import ResNet18

FULL = {
    "ResNet-18": ResNet18,
    "MobileNetV2": MobileNetV2,
}
# Times as fast as float, batches of 32.
LIMITS = {"ResNet-18": 3.3, "MobileNetV2": 2.2}


def quantized(name: str, method: str) -> tuple[Any, Any]:
    """A test program whose batch norms and quantizers have seen one batch of noise."""
    shape = NETS[name].shape
    net = Net(FULL[name], shape, "", 0, 0, 8, True, 0.0)
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


def main() -> int:
    """Measure and print; 1 if a limit does not hold."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--net", action="append", choices=list(FULL))
    options.add_argument("--method", default="pact-w4a4", choices=list(METHODS))
    options.add_argument("--batch", type=int, action="append")
    options.add_argument("--repeats", type=int, default=20)
    options.add_argument("--quick", action="store_true", help="ResNet-18, one image, no limits")
    given = options.parse_args()
    sizes = (1,) if given.quick else tuple(given.batch or (1, 32))
    repeats = 3 if given.quick else given.repeats
    figures = {}
    for name in ["ResNet-18"] if given.quick else given.net or FULL:
        with pcq.legacy_static():
            program, scope = quantized(name, given.method)
            images = np.random.default_rng(1).uniform(-1, 1, (max(sizes), *NETS[name].shape))
            result = compare(
                program,
                scope,
                images.astype("float32"),
                frozen=freeze(program, scope),
                engines=INTEGER_ENGINES,
                batch_size=max(sizes),
                timed=sizes,
                repeats=repeats,
            )
        print(f"\n{name} {given.method}\n{result}", flush=True)
        for row in result.rows:
            for size, (integers, floats) in row.milliseconds.items():
                label = f"{name}, batch {size}, {row.engine}: times as fast as float"
                figures[label] = round(floats / integers, 3)
    limits = {
        label: [">=", LIMITS[label.split(",")[0]]]
        for label in figures
        if ", batch 32," in label and not given.quick
    }
    ok = all(figures[label] >= least for label, (_, least) in limits.items())
    print(json.dumps({"figures": figures, "limits": limits, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
