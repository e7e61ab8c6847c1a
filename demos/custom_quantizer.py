"""A quantization method of your own, with learned parameters, trained on handwritten digits.

    python demos/custom_quantizer.py --bits 3

``TwoBounds`` clips weights between two learned bounds, one below and one above zero, and rounds
what is between. The class is all there is to write: the formula, whose gradient follows by
automatic differentiation, and start values taken from the weights. Nothing has to be registered;
the object goes where PaddleSlim takes a function.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any

import paddle_custom_quant as pcq  # isort: skip
import numpy as np
import paddle
from paddle import static

from paddle_custom_quant.quantizers import PACT, Parameter, Quantizer, Sample
from paddle_custom_quant.quantizers.functional import clip, ste_round
from paddle_custom_quant.target import Target
from paddle_custom_quant.training.classifier import build_classifier
from paddle_custom_quant.training.data import load_digits
from paddle_custom_quant.training.metrics import score
from paddle_custom_quant.training.trainer import predict, train


@dataclass(frozen=True)
class TwoBounds(Quantizer):
    """Weights on the levels between two learned bounds, one of which is zero."""

    bits: int
    signed: bool = True

    def parameters(self, target: Target, sample: Sample | None = None) -> dict[str, Parameter]:
        """``low`` and ``high`` start three standard deviations away from zero."""
        reach = 3 * float(sample.values.std()) if sample else 1.0
        start = {"low": -reach, "high": reach}
        return {name: Parameter(np.full([1], value, "float32")) for name, value in start.items()}

    def quantize(self, x: Any, target: Target, **parameters: Any) -> Any:
        """Clip, then round to a grid that holds zero."""
        low, high = parameters["low"], parameters["high"]
        step = (high - low) / float(2**self.bits - 2)
        return ste_round(clip(x, low, high) / step) * step


def run(bits: int, iterations: int, seed: int) -> dict[str, float]:
    """Train in float, then quantized; top-1 in percent."""
    data = load_digits()
    place = paddle.CPUPlace()
    with pcq.legacy_static(), static.scope_guard(static.Scope()):
        paddle.seed(seed)
        executor = static.Executor(place)
        net = build_classifier("LeNet", data.train.shape, data.classes)
        executor.run(net.startup)
        settings = {"iterations": iterations, "batch_size": 64, "seed": seed}

        def top1(program: Any) -> float:
            return score(predict(executor, program, net, data.test), data.test.labels).top1

        train(executor, net.train, net, data.train, **settings)
        result = {"float": top1(net.test)}
        config = {"quantize_op_types": ["conv2d", "matmul_v2"]}
        functions = {
            "weight_quantize_func": pcq.FirstLast(TwoBounds(8), TwoBounds(bits)),
            "act_quantize_func": PACT(8, signed=True),
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
        result[f"TwoBounds, {bits} bits"] = top1(test)
    return result


def main() -> int:
    """Parse arguments, train, print a table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--bits", type=int, default=3, help="of the weights (default: 3)")
    options.add_argument("--iterations", type=int, default=300, help="of each training")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    try:
        result = run(given.bits, given.iterations, given.seed)
    except (TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    for name, value in result.items():
        print(f"{name:24} {value:6.2f} % top-1")
    return 0


if __name__ == "__main__":
    sys.exit(main())
