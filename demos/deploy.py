"""Train on handwritten digits, export integers, and compare the engines: one run, one table.

    python demos/deploy.py --bits 4 --output deployed

A small LeNet learns scikit-learn's digits in float, then quantized (LSQ weights and activations,
first and last layer 8 bits). ``pcq.export`` writes it for Paddle Inference, ONNX Runtime and
OpenVINO; ``pcq.deploy.compare`` runs every engine that is installed on the test images.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import paddle_custom_quant as pcq  # isort: skip  # before Paddle 2.6, which breaks a later zlib
import paddle
from paddle import static

from paddle_custom_quant.deploy.formats import files_of
from paddle_custom_quant.deploy.report import Comparison
from paddle_custom_quant.deploy.storage import refuse_existing
from paddle_custom_quant.quantizers import LSQ, PACT, AbsMax
from paddle_custom_quant.training.classifier import build_classifier
from paddle_custom_quant.training.data import load_digits
from paddle_custom_quant.training.trainer import train

FORMATS = ("paddle", "paddle-onednn", "onnx")


def run(bits: int, iterations: int, seed: int, output: Path, overwrite: bool) -> Comparison:
    """Train, export to ``output`` and compare."""
    refuse_existing([file for kind in FORMATS for file in files_of(output, kind)], overwrite)
    data = load_digits()
    place = paddle.CPUPlace()
    with pcq.legacy_static(), static.scope_guard(static.Scope()):
        paddle.seed(seed)
        executor = static.Executor(place)
        net = build_classifier("LeNet", data.train.shape, data.classes)
        executor.run(net.startup)
        settings: dict[str, Any] = {"iterations": iterations, "batch_size": 64, "seed": seed}
        train(executor, net.train, net, data.train, **settings)
        config = {"quantize_op_types": ["conv2d", "matmul_v2"]}
        functions = {
            "weight_quantize_func": pcq.FirstLast(
                AbsMax(8, per_channel=True), LSQ(bits, per_channel=True)
            ),
            "act_quantize_func": pcq.FirstLast(PACT(8, signed=True), LSQ(bits)),
        }
        quantized = pcq.quant_aware(
            net.train,
            place,
            config,
            optimizer_func=lambda: paddle.optimizer.Momentum(0.001, 0.9),
            **functions,
        )
        test = pcq.quant_aware(net.test, place, config, for_test=True, **functions)
        train(executor, quantized, net, data.train, **settings)

        pcq.deploy.round_biases(test, static.global_scope())
        frozen = pcq.export(
            test,
            static.global_scope(),
            output,
            FORMATS,
            overwrite=overwrite,
            outputs=[net.logits],
        )
        return pcq.deploy.compare(test, static.global_scope(), data.test.inputs(), frozen=frozen)


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments, run, print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--bits", type=int, default=4, help="of inner layers (default: 4)")
    options.add_argument("--iterations", type=int, default=200, help="of each training")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--output", type=Path, default=Path("deployed"), help="without suffix")
    options.add_argument("--overwrite", action="store_true", help="replace files")
    given = options.parse_args(arguments)
    try:
        result = run(given.bits, given.iterations, given.seed, given.output, given.overwrite)
    except (TypeError, ValueError, ImportError, OSError) as error:
        print(f"deploy.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("deploy.py: interrupted.", file=sys.stderr)
        return 130
    print(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
