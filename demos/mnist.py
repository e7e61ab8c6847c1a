"""Handwritten digits: float training, quantized training, freezing and reloading, in one run."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from typing import Any, NoReturn

# Paddle and PaddleSlim report on executors, ccache, setuptools; none of it matters here.
os.environ.setdefault("GLOG_minloglevel", "2")
warnings.filterwarnings("ignore", module=r"(paddle|paddleslim|_distutils_hack)\b")


class Parser(argparse.ArgumentParser):
    """Answers bad arguments with one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Leave."""
        self.exit(2, f"mnist.py: {message}\n")


def parser() -> Parser:
    """The options of this demo."""
    from paddle_custom_quant.training.experiment import Settings
    from paddle_custom_quant.training.methods import ACTIVATION_METHODS, WEIGHT_METHODS
    from paddle_custom_quant.training.models import NETS

    options = Parser(
        description=f"{__doc__} Without --data or --download, on the digits scikit-learn ships.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    default = Settings()

    def add(name: str, text: str, group: Any = options, **kwargs: Any) -> None:
        field = name[2:].replace("-", "_")
        if hasattr(default, field):
            kwargs["default"] = getattr(default, field)
            kwargs.setdefault("type", type(kwargs["default"]))
        group.add_argument(name, help=text, **kwargs)

    source = options.add_mutually_exclusive_group()
    add("--data", "folder with the four MNIST IDX .gz files", source, metavar="DIR")
    add("--download", "let Paddle fetch MNIST", source, action="store_true")
    add("--net", "network", choices=list(NETS))
    add("--weight", "method for weights", choices=list(WEIGHT_METHODS))
    add("--activation", "method for activations", choices=list(ACTIVATION_METHODS))
    add("--weight-bits", "bits of weights", metavar="N")
    add("--activation-bits", "bits of activations", metavar="N")
    add("--first-last-bits", "bits of both in the first and the last layer", metavar="N")
    options.add_argument(
        "--from-scratch",
        action="store_true",
        help="quantized training starts from random weights, not from the float ones",
    )
    length = options.add_mutually_exclusive_group()
    add("--iterations", "batches of each of the two stages", length, metavar="N")
    add("--epochs", "the same in passes over the training images", length, metavar="N", type=int)
    add("--batch-size", "images a batch", metavar="N")
    add("--seed", "start values and order of the images", metavar="N")
    options.add_argument(
        "--output", default="output/mnist", metavar="DIR", help="folder for the results"
    )
    return options


def run(options: dict[str, Any]) -> int:
    """Do the job and print its table."""
    from paddle_custom_quant.training import run as training
    from paddle_custom_quant.training.data import download_mnist, load_digits, read_mnist
    from paddle_custom_quant.training.experiment import Settings
    from paddle_custom_quant.training.progress import ProgressBars

    output = options.pop("output")
    folder, epochs = options.pop("data", None), options.pop("epochs", None)
    download = options.pop("download", False)
    settings = Settings(**options)
    if folder is not None:
        data = read_mnist(folder)
    else:
        data = download_mnist() if download else load_digits()
    if epochs is not None:
        settings = settings.for_epochs(epochs, len(data.train))

    print(
        f"{settings.net} on {data.name}: {len(data.train)} training and {len(data.test)} test "
        f"images, {settings.iterations} batches of {settings.batch_size} in each stage",
        flush=True,
    )
    result = training.run(settings, data, output, ProgressBars(settings.iterations))
    print(f"\n{result.table()}\n\n{result.agreement()}\nResults in {output}")
    return 0 if result.agrees else 1


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return its exit code."""
    try:
        return run(vars(parser().parse_args(arguments)))
    except KeyboardInterrupt:
        code, line = 130, "interrupted; nothing was written."
    except (ValueError, TypeError) as error:
        code, line = 2, str(error)
    except (FloatingPointError, OSError, RuntimeError) as error:
        code, line = 1, str(error)
    print(f"mnist.py: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
