"""A grid of recipes, run cell by cell, with a table that anyone can repeat."""

from __future__ import annotations

# The address that stands for the Ray cluster of this machine.
THIS_MACHINE = "auto"
