"""A suite: what a grid of trainings shares, and what differs from cell to cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Optional

import yaml
from pydantic import Field, model_validator

from ..qat.backends import BACKENDS
from ..qat.forms import METHODS
from ..training.models import NETS
from ..training.recipe import Part, Quantized, Recipe
from ..training.recipe_file import read_yaml, validated
from ..training.recovery import differences

POST_TRAINING = "post-training"
_METHODS = (*METHODS, POST_TRAINING)


class Cell(Part):
    """One combination.

    ``method``: one of ``paddle_custom_quant.qat.forms.METHODS``, or ``post-training``, which trains
    nothing. ``setting``: a name for :func:`paddle_custom_quant.backend`. ``folding``: strategy of
    :func:`paddle_custom_quant.fold_batch_norm` where the setting folds; batch norm stands alone in
    training if it is null. ``net``: the recipe's if left out.
    """

    method: Literal[_METHODS]  # type: ignore[valid-type]
    bits: int = Field(ge=2, le=16)
    setting: Literal[tuple(BACKENDS)]  # type: ignore[valid-type]
    folding: Optional[int] = Field(default=4, ge=0, le=4)
    seed: int = Field(default=0, ge=0, lt=2**31)
    net: Optional[Literal[tuple(NETS)]] = None  # type: ignore[valid-type]


class Grid(Part):
    """All combinations of what it lists; each is a :class:`Cell`."""

    method: list[Literal[_METHODS]] = Field(min_length=1)  # type: ignore[valid-type]
    bits: list[int] = Field(min_length=1)
    setting: list[Literal[tuple(BACKENDS)]] = Field(min_length=1)  # type: ignore[valid-type]
    folding: list[Optional[int]] = Field(default=[4], min_length=1)
    seed: list[int] = Field(default=[0], min_length=1)
    net: list[Literal[tuple(NETS)]] = Field(default=[])  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _in_range(self) -> Grid:
        bounds = {"bits": (2, 16), "folding": (0, 4), "seed": (0, 2**31 - 1)}
        for key, (lowest, highest) in bounds.items():
            for value in getattr(self, key):
                if value is not None and not lowest <= value <= highest:
                    raise ValueError(f"{key} must be from {lowest} to {highest}, got {value}.")
        return self


class Suite(Part):
    """What ``paddle-custom-quant bench`` runs.

    ``recipe``: the float training that every cell starts from: one checkpoint a net, with
    ``float.seed`` (0 if left out). ``quantized``: how quantizers are trained. ``grid`` and
    ``cells``: which cells there are.
    """

    recipe: Recipe
    quantized: Quantized
    grid: Optional[Grid] = None
    cells: list[Cell] = Field(default=[])

    @model_validator(mode="after")
    def _is_float(self) -> Suite:
        held = self.recipe
        if held.quantized or held.constrain or held.control:
            raise ValueError(
                "recipe is the float training alone: quantized stands beside it, constrain and "
                "control are not for suites."
            )
        if held.seeds != [0]:
            raise ValueError(
                f"recipe.seeds is {held.seeds}: a suite has float.seed for the float net and seed "
                "in its grid."
            )
        if self.grid is None and not self.cells:
            raise ValueError("there is nothing to run: give grid, cells or both.")
        return self


def load_suite(path: str | Path) -> Suite:
    """Read and check a suite.

    Raises:
        ValueError: the file is missing, no YAML or no suite; with the key, and the nearest known
            key or name where one is not known.
    """
    held = read_yaml(path)
    if not isinstance(held, dict):
        raise ValueError(
            f"{path}: a suite is a mapping of recipe, quantized and grid, got {held!r:.60}."
        )
    try:
        return validated(Suite, held)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def suite_as_data(suite: Suite) -> dict[str, Any]:
    """The suite with every default written out, ready for YAML or JSON."""
    held: dict[str, Any] = suite.model_dump(mode="json", by_alias=True)
    return held


def suite_as_text(suite: Suite) -> str:
    """The same as YAML."""
    return yaml.safe_dump(suite_as_data(suite), sort_keys=False)


def check_same_suite(suite: Suite, path: Path) -> None:
    """Raise ValueError unless a folder's suite trains as this one does.

    Cells may be added or left out.

    Args:
        suite: to go on with.
        path: of the suite that the folder's results are of; nothing is wrong if it is not there.
    """
    if not path.exists():
        return
    held, own = (
        {key: suite_as_data(s)[key] for key in ("recipe", "quantized")}
        for s in (load_suite(path), suite)
    )
    different = differences(held, own)
    if different:
        raise ValueError(
            f"{path.parent} holds results of another suite: {'; '.join(different[:3])}. Name "
            "another folder with --output."
        )


__all__ = [
    "POST_TRAINING",
    "Cell",
    "Grid",
    "Suite",
    "check_same_suite",
    "load_suite",
    "suite_as_data",
    "suite_as_text",
]
