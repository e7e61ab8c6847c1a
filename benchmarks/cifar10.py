"""What quantization costs on CIFAR-10: every recipe of ResNet-8, from one float net.

    python benchmarks/cifar10.py --data PATH [--work DIR]

Carries out ``recipes/resnet-8_cifar10_*.yaml`` one after the other; stages that are the same are
taken from the first. ``--work DIR`` keeps each run with its recipe, versions, log and result, and
takes those that are finished as they are. Top-1 is on the 10,000 test images; "lost" is against
the float net trained as long as the quantized one. ``--quick`` trains for some steps on digits.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from paddle_custom_quant.keep_memory import keep_memory
from paddle_custom_quant.training.data import load_coloured_digits, read_cifar10
from paddle_custom_quant.training.how import How
from paddle_custom_quant.training.recipe import Recipe
from paddle_custom_quant.training.recipe_file import load_recipe, parse_recipe, recipe_as_data
from paddle_custom_quant.training.recipe_run import run_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
NET = "resnet-8_cifar10"
# Points that may be lost, at most.
LOST = {
    "lsq_w4a4": 0.7,
    "lsq_w2a2": 4.0,
    "pact-dorefa_w4a4": 1.5,
    "dorefa_w4a4": 2.0,
    "dorefa_w4a4g8": 3.0,
}
# The same number of epochs after the same float net, with and without a stage under clamps.
STAGES = [
    name for bits in "84" for name in (f"lsq_w{bits}a{bits}_power-of-two",
                                       f"lsq_w{bits}a{bits}_power-of-two_constrained")
]  # fmt: skip


def shortened(recipe: Recipe) -> Recipe:
    """A few steps on digits."""
    held = recipe_as_data(recipe)
    held["data"].update(name="digits", flip=False)
    held["batch_size"] = 32
    for stage in ("float", "constrain", "quantized"):
        if held.get(stage):
            held[stage].update(epochs=0.1, schedule={"kind": "constant"})
    return parse_recipe(held)


def carry_out(name: str, data: Any, work: Path, workers: int, quick: bool) -> dict[str, Any]:
    """The result of a recipe: from its folder if it is finished."""
    recipe = load_recipe(RECIPES / f"{NET}_{name}.yaml")
    if quick:
        recipe = shortened(recipe)
    folder = work / f"{NET}_{name}"
    if not (folder / "result.json").exists():
        first = work / f"{NET}_{next(iter(LOST))}"
        how = How(workers, tell=lambda line: print(f"{name}: {line}", flush=True))
        run_recipe(recipe, data, folder, how, resume=True, reuse=first)
    elif recipe_as_data(load_recipe(folder / "recipe.yaml")) != recipe_as_data(recipe):
        raise SystemExit(f"{folder} holds the run of another recipe: name another --work.")
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    result["minutes"] = minutes(folder)
    return result


def minutes(folder: Path) -> float:
    """How long the quantized epochs took, for one seed."""
    found = []
    for log in folder.glob("seed-*/log.jsonl"):
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        found.append(sum(row["seconds"] for row in rows if row["stage"] == "quantized") / 60)
    return mean(found)


def main() -> int:
    """Train, or read what was trained, and print; 1 if a limit does not hold."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    root = os.environ.get("PCQ_DATA")
    options.add_argument("--data", default=root and os.path.join(root, "cifar10"), metavar="PATH")
    options.add_argument("--work", type=Path, metavar="DIR", help="keep and reuse finished runs")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--quick", action="store_true", help="a few steps on digits, no limits")
    given = options.parse_args()
    if not given.data and not given.quick:
        options.error("name CIFAR-10's archive or folder with --data, or set PCQ_DATA")
    keep_memory()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary) if given.quick or given.work is None else given.work
        data = load_coloured_digits() if given.quick else read_cifar10(given.data)
        print(f"{'recipe':34} {'float':>8} {'as long':>8} {'quantized':>22} {'lost':>7} {'min':>6}")
        for name in [*LOST, *STAGES]:
            result = carry_out(name, data, work, given.workers, given.quick)
            scores = list(result["scores"].values())
            quantized = [held["quantized"]["top1"] for held in scores]
            control = [held["control"]["top1"] for held in scores if "control" in held]
            lost = mean(result["lost"].values())
            spread = f" ({min(quantized):.2f} to {max(quantized):.2f})" if len(scores) > 1 else ""
            print(
                f"{name:34} {scores[0]['float']['top1']:8.2f} "
                f"{f'{control[0]:8.2f}' if control else '':8} "
                f"{f'{mean(quantized):.2f}{spread}':>22} {lost:7.2f} {result['minutes']:6.1f}",
                flush=True,
            )
            figures[f"{name}, top-1"] = round(mean(quantized), 3)
            figures[f"{name}, lost"] = round(lost, 3)
    limits = {} if given.quick else {f"{name}, lost": ["<=", most] for name, most in LOST.items()}
    ok = all(figures[name] <= bound for name, (_, bound) in limits.items())
    print(json.dumps({"figures": figures, "limits": limits, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
