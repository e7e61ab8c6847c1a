"""Warn where quantized weights are much larger than the float ones and nothing normalises after."""

from __future__ import annotations

from typing import Any


def warn(program: Any, inserted: Any, scope: Any) -> None:
    """To do."""
