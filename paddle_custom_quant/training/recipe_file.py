"""Read a recipe from YAML; whatever is wrong is told in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from .recipe import Recipe


def load_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ValueError: the file is missing, no YAML or no recipe; with the key and the nearest known
            one where a key is not known.
    """
    path = Path(path)
    try:
        held = yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceOnly)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no YAML ({' '.join(str(error).split())}).") from None
    try:
        return parse_recipe(held)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_recipe(held: Any) -> Recipe:
    """A recipe from what YAML or JSON held.

    Raises:
        ValueError: it is no recipe; the message names the key.
    """
    if not isinstance(held, dict):
        raise ValueError(f"a recipe is a mapping of keys such as net and float, got {held!r:.60}.")
    try:
        return Recipe.model_validate(held)
    except ValidationError as error:
        raise ValueError(_told(error.errors()[0])) from None


def recipe_as_data(recipe: Recipe) -> dict[str, Any]:
    """The recipe with every default written out, ready for YAML or JSON."""
    held: dict[str, Any] = recipe.model_dump(mode="json", by_alias=True)
    return held


def _told(problem: Any) -> str:
    where, given = [str(key) for key in problem["loc"]], problem["input"]
    kind, name = problem["type"], ".".join(where)
    if kind == "extra_forbidden":
        return f"unknown key {name!r}{_nearest(where)}."
    if kind == "missing":
        return f"{name} is missing."
    if kind == "value_error":
        text = str(problem["ctx"]["error"])
        return f"{name}: {text}" if name else text
    text = problem["msg"].replace("Input should be", "must be", 1)
    hint = ""
    if isinstance(given, str) and "number" in text and _is_number(given):
        hint = f" (YAML reads {given} as text: write {float(given)!r}, or 1.0e-4 with a point)"
    return f"{name} {text[0].lower()}{text[1:]}, got {given!r:.60}{hint}."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nearest(where: list[str]) -> str:
    model: Any = Recipe
    for key in where[:-1]:
        fields = {f.alias or n: f.annotation for n, f in model.model_fields.items()}
        held = fields.get(key)
        kinds = [held, *get_args(held)]
        models = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not models:
            return ""
        model = models[0]
    known = [field.alias or name for name, field in model.model_fields.items()]
    near = difflib.get_close_matches(where[-1], known, 1, 0.5)
    if near:
        return f": did you mean {'.'.join([*where[:-1], near[0]])!r}?"
    return f"; known ones are {', '.join(known)}"


class _OnceOnly(yaml.SafeLoader):
    """Plain YAML in which a key stands once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node."""
        keys = [key.value for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {twice[0]!r} stands twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


__all__ = ["load_recipe", "parse_recipe", "recipe_as_data"]
