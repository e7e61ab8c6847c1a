"""From a suite to its cells: each is a recipe with a name of its own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from ..qat.backends import backend
from ..training.models import WITHOUT_BATCH_NORM
from ..training.recipe import Recipe
from ..training.recipe_file import parse_recipe, recipe_as_data
from .suite import POST_TRAINING, Cell, Suite

LIMIT = 200


@dataclass(frozen=True)
class PlannedCell:
    """A cell that can be run, or the reason why it is not.

    Attributes:
        cell: what it is, with its net; folding is ``None`` where the setting does not fold, where
            the net has no batch norm, and in post-training quantization, which merges it once.
        group: net, data, method, bits, setting and folding: what cells of other seeds share.
        recipe: to run; of the float net alone for post-training quantization, ``None`` if the
            setting cannot take the method.
        reason: why there is no recipe.
    """

    cell: Cell
    group: str
    recipe: Recipe | None
    reason: str = ""

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.group}_seed{self.cell.seed}"


def float_recipe(suite: Suite, net: str) -> Recipe:
    """The float training that a net's cells start from."""
    held = recipe_as_data(suite.recipe)
    seed = held["float"]["seed"] or 0
    return parse_recipe(
        {**held, "net": net, "seeds": [seed], "float": {**held["float"], "seed": None}}
    )


def planned_cells(suite: Suite, yes: bool = False) -> list[PlannedCell]:
    """The suite's cells in the order of the file; one that comes twice is there once.

    Args:
        suite: with a grid, cells or both.
        yes: more than :data:`LIMIT` cells are meant.

    Raises:
        ValueError: too many cells, or a combination that is no recipe.
    """
    every = [*_of_grid(suite), *suite.cells]
    if len(every) > LIMIT and not yes:
        raise ValueError(
            f"the suite has {len(every)} cells, more than {LIMIT}: pass --yes if that is meant."
        )
    return list({held.name: held for held in (_planned(suite, cell) for cell in every)}.values())


def _of_grid(suite: Suite) -> list[Cell]:
    held = suite.grid
    if held is None:
        return []
    nets = held.net or [suite.recipe.net]
    listed = product(nets, held.method, held.bits, held.setting, held.folding, held.seed)
    keys = ("net", "method", "bits", "setting", "folding", "seed")
    return [Cell(**dict(zip(keys, values))) for values in listed]


def _planned(suite: Suite, cell: Cell) -> PlannedCell:
    net, setting = cell.net or suite.recipe.net, backend(cell.setting)
    after = cell.method == POST_TRAINING
    folds = setting.folds_batch_norm and net not in WITHOUT_BATCH_NORM and not after
    folding = cell.folding if folds else None
    cell = cell.model_copy(update={"net": net, "folding": folding})
    parts = [net.lower(), suite.recipe.data.name, cell.method, f"w{cell.bits}a{cell.bits}"]
    parts += [cell.setting, *([] if folding is None else [f"fold{folding}"])]
    group, start = "_".join(parts), float_recipe(suite, net)
    if after:
        return PlannedCell(cell, group, start)
    reason = setting.reason_against(cell.method)
    if reason:
        return PlannedCell(cell, group, None, reason)
    held: dict[str, Any] = recipe_as_data(start)
    held["float"]["seed"] = start.seeds[0]
    held["seeds"] = [cell.seed]
    held["quantized"] = suite.quantized.model_dump(mode="json", by_alias=True)
    form = {"setting": cell.setting, "method": cell.method, "bits": cell.bits, "folding": folding}
    try:
        return PlannedCell(cell, group, parse_recipe({**held, "hardware": form}))
    except ValueError as error:
        raise ValueError(f"{group}: {error}") from None


__all__ = ["LIMIT", "PlannedCell", "float_recipe", "planned_cells"]
