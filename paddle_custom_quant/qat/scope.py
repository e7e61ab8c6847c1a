"""Read and write variables of a scope."""

from __future__ import annotations

from ..scope import read, write

__all__ = ["read", "write"]
