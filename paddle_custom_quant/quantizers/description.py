"""Quantizers as plain data, so that a saved program can tell what it was quantized with."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from .base import FunctionQuantizer, Quantizer


def describe(quantizer: Quantizer) -> str:
    """One line of JSON: the class's name and its fields, or the function's name.

    Values that are no plain data are written as text.
    """
    return json.dumps(_plain(quantizer), sort_keys=True, default=str)


def _plain(quantizer: Quantizer) -> dict[str, Any]:
    if isinstance(quantizer, FunctionQuantizer):
        return {"function": quantizer.method}
    fields = {}
    for field in dataclasses.fields(quantizer):  # type: ignore[arg-type]
        value = getattr(quantizer, field.name)
        fields[field.name] = _plain(value) if isinstance(value, Quantizer) else value
    return {"class": type(quantizer).__name__, **fields}


def rebuild(description: str) -> Quantizer | None:
    """The quantizer that :func:`describe` described.

    Returns:
        A quantizer of this package; ``None`` for functions and for classes from elsewhere.

    Raises:
        ValueError: the text is no description, or its values do not fit the class.
    """
    try:
        return _build(json.loads(description))
    except (TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{description!r} does not describe a quantizer: {error}") from None


def _build(plain: dict[str, Any]) -> Quantizer | None:
    from .. import quantizers

    name = plain.get("class", "")
    kind = getattr(quantizers, name, None) if name in quantizers.__all__ else None
    if not (isinstance(kind, type) and issubclass(kind, Quantizer)):
        return None
    fields = {k: _build(v) if isinstance(v, dict) else v for k, v in plain.items() if k != "class"}
    return kind(**fields)


__all__ = ["describe", "rebuild"]
