"""CIFAR-10: float training, then quantized training, as a recipe describes them."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

# Paddle and PaddleSlim report on executors, ccache, setuptools; none of it matters here.
os.environ.setdefault("GLOG_minloglevel", "2")
warnings.filterwarnings("ignore", module=r"(paddle|paddleslim|_distutils_hack)\b")

RECIPES = Path(__file__).parents[1] / "recipes"
DEFAULT = RECIPES / "resnet-8_cifar10_lsq_w4a4.yaml"


class Parser(argparse.ArgumentParser):
    """Answers bad arguments with one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Leave."""
        self.exit(2, f"cifar10.py: {message}\n")


def parser() -> Parser:
    """The options of this demo."""
    options = Parser(
        description=f"{__doc__} Without --data or --download, on the digits scikit-learn ships, "
        "in colour at 32x32.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    source = options.add_mutually_exclusive_group()
    source.add_argument("--data", metavar="PATH", help="CIFAR-10's archive, or the folder of it")
    source.add_argument("--download", action="store_true", help="let Paddle fetch CIFAR-10")
    options.add_argument("--recipe", default=str(DEFAULT), metavar="FILE", help="what to train")
    options.add_argument("--epochs", type=float, metavar="N", help="of the float stage")
    options.add_argument("--quantized-epochs", type=float, metavar="N", help="of the one after")
    options.add_argument("--workers", type=int, default=1, help="processes that prepare images")
    options.add_argument("--resume", action="store_true", help="go on with what --output holds")
    options.add_argument("--visualdl", metavar="DIR", help="also write logs for VisualDL")
    options.add_argument("--output", default="output/cifar10", metavar="DIR", help="results")
    return options


def changed(path: str, options: argparse.Namespace, digits: bool) -> Any:
    """The recipe with what the options change."""
    from paddle_custom_quant.training.recipe_file import load_recipe, parse_recipe, recipe_as_data

    held = recipe_as_data(load_recipe(path))
    if digits:
        held["data"].update(name="digits", flip=False)
    for stage, epochs in (("float", options.epochs), ("quantized", options.quantized_epochs)):
        if epochs is not None and held[stage]:
            held[stage]["epochs"] = epochs
            held[stage]["schedule"]["warmup"] = min(held[stage]["schedule"]["warmup"], epochs / 4)
    return parse_recipe(held)


def run(options: argparse.Namespace) -> int:
    """Do the job and print its table."""
    import paddle_custom_quant as pcq
    from paddle_custom_quant.training.board import Board
    from paddle_custom_quant.training.data import (
        download_cifar10,
        load_coloured_digits,
        read_cifar10,
    )
    from paddle_custom_quant.training.how import How
    from paddle_custom_quant.training.progress import ImageBars
    from paddle_custom_quant.training.recipe_picture import recipe_picture
    from paddle_custom_quant.training.recipe_run import run_recipe

    if options.workers < 0:
        raise ValueError(f"--workers must be 0 or more, got {options.workers}.")
    digits = options.data is None and not options.download
    recipe = changed(options.recipe, options, digits)
    group = pcq.process_group()
    if options.download and group.size > 1:
        raise ValueError("several processes cannot download: fetch it first, name it by --data.")
    board = Board(options.visualdl) if options.visualdl and group.is_first else None
    say = print if group.is_first else lambda *_, **__: None
    if digits:
        data = load_coloured_digits()
        say("This is not CIFAR-10 but 1,797 digits in colour: name CIFAR-10 with --data.")
    else:
        data = download_cifar10() if options.download else read_cifar10(options.data)
    say(f"{recipe.title} on {data.name}: {len(data.train)} training images", flush=True)
    pcq.keep_memory()
    bars = ImageBars()

    def on_step(progress: Any) -> None:
        bars(progress)
        if board:
            board(progress)

    how = How(options.workers, None, on_step, lambda line: print(line, file=sys.stderr), group)
    folder = Path(options.output)
    try:
        result = run_recipe(recipe, data, folder, how, resume=options.resume)
    finally:
        bars.close()
        if board:
            board.close()
    if group.is_first:
        recipe_picture(folder / "training.png", recipe, result, folder)
    say(f"\n{result.table()}\n\nResults in {options.output}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return its exit code."""
    try:
        return run(parser().parse_args(arguments))
    except KeyboardInterrupt:
        code, line = 130, "interrupted; go on with --resume."
    except (ValueError, TypeError) as error:
        code, line = 2, str(error)
    except (FloatingPointError, OSError, RuntimeError) as error:
        code, line = 1, str(error)
    print(f"cifar10.py: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
