"""Nets for demos and measurements, by name."""

from __future__ import annotations

from typing import Any, Callable

from .lenet import LeNet, LeNetBN

NETS: dict[str, Callable[[int], Any]] = {"LeNet": LeNet, "LeNetBN": LeNetBN}

__all__ = ["NETS", "LeNet", "LeNetBN"]
