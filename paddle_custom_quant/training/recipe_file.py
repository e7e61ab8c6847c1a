"""Read a recipe from YAML; whatever is wrong is told in one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from .recipe import Recipe

_Model = TypeVar("_Model", bound=BaseModel)


def load_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ValueError: the file is missing, no YAML or no recipe; with the key and the nearest known
            one where a key is not known.
    """
    held = read_yaml(path)
    try:
        return parse_recipe(held)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_yaml(path: str | Path) -> Any:
    """What a YAML file holds, as plain data.

    Raises:
        ValueError: the file is missing, no YAML, or has a key twice.
    """
    path = Path(path)
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceOnly)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no YAML ({' '.join(str(error).split())}).") from None


def parse_recipe(held: Any) -> Recipe:
    """A recipe from what YAML or JSON held.

    Raises:
        ValueError: it is no recipe; the message names the key.
    """
    if not isinstance(held, dict):
        raise ValueError(f"a recipe is a mapping of keys such as net and float, got {held!r:.60}.")
    return validated(Recipe, held)


def validated(model: type[_Model], held: Any) -> _Model:
    """A model from plain data.

    Raises:
        ValueError: it does not fit; in one sentence, with the key, and the nearest known key or
            name where one is not known.
    """
    try:
        return model.model_validate(held)
    except ValidationError as error:
        raise ValueError(_told(error.errors()[0], model)) from None


def recipe_as_data(recipe: Recipe) -> dict[str, Any]:
    """The recipe with every default written out, ready for YAML or JSON."""
    held: dict[str, Any] = recipe.model_dump(mode="json", by_alias=True)
    return held


def _told(problem: Any, model: type[BaseModel]) -> str:
    where, given = [str(key) for key in problem["loc"]], problem["input"]
    kind, name = problem["type"], ".".join(where)
    if kind == "extra_forbidden":
        return f"unknown key {name!r}{_nearest(where, model)}."
    if kind == "missing":
        return f"{name} is missing."
    if kind == "value_error":
        text = str(problem["ctx"]["error"])
        return f"{name}: {text}" if name else text
    text = problem["msg"].replace("Input should be", "must be", 1)
    hint = ""
    if isinstance(given, str) and "number" in text and _is_number(given):
        hint = f" (YAML reads {given} as text: write {float(given)!r}, or 1.0e-4 with a point)"
    if kind == "literal_error":
        known = {n.lower(): n for n in re.findall("'([^']*)'", problem["ctx"]["expected"])}
        near = difflib.get_close_matches(str(given).lower(), known, 1, 0.5)
        hint = f": did you mean {known[near[0]]!r}?" if near else ""
    told = f"{name} {text[0].lower()}{text[1:]}, got {given!r:.60}{hint}"
    return told if told.endswith("?") else f"{told}."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nearest(where: list[str], model: Any) -> str:
    for key in where[:-1]:
        if key.isdigit():  # a place in a list
            continue
        fields = {f.alias or n: f.annotation for n, f in model.model_fields.items()}
        held = fields.get(key)
        kinds = [held, *get_args(held), *(k for a in get_args(held) for k in get_args(a))]
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


__all__ = ["load_recipe", "parse_recipe", "read_yaml", "recipe_as_data", "validated"]
