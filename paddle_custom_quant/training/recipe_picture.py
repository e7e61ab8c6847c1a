"""A finished recipe as one picture."""

from __future__ import annotations

import json
from pathlib import Path

from .pictures import training_picture
from .recipe import Recipe
from .recipe_run import RecipeResult
from .trainer import Curve


def recipe_picture(path: str | Path, recipe: Recipe, result: RecipeResult, folder: Path) -> None:
    """Draw the stages of the first seed, epoch by epoch, as a PNG file.

    Args:
        path: of the picture.
        recipe: that was carried out.
        result: what it led to.
        folder: of the run, with its logs.
    """
    seed = recipe.seeds[0]
    curves: dict[str, Curve] = {}
    for line in (folder / f"seed-{seed}" / "log.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        curve = curves.setdefault(row["stage"], Curve())
        curve.loss.append(row["train_loss"])
        curve.top1.append(row["train_top1"])
    drawn = {name: curve for name, curve in curves.items() if curve.loss}
    title = f"{recipe.title}, seed {seed}: training batches, and test images (dots)"
    training_picture(path, title, drawn, result.scores[seed], unit="epoch")


__all__ = ["recipe_picture"]
