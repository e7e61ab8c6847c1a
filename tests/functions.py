"""Functions to quantize with in tests: smooth, so that rounding errors stay rounding errors."""

from __future__ import annotations

from typing import Any

import paddle
from paddle.nn import functional as F
from paddle.nn.initializer import Constant


def bend(x: Any) -> Any:
    """Uses its input twice."""
    return x - 0.25 * paddle.tanh(x)


def skewed(w: Any) -> Any:
    """Has a learned parameter; not a scale, which batch norm would undo."""
    t = paddle.tanh(w)
    return w + learned(w, "s", 0.5) * t * t


def clipped(x: Any, name: str | None = None) -> Any:
    """PACT's clip as PaddleSlim's example writes it; ``name`` is the tensor's if not its own."""
    a = learned(x, "a", 1.3, name)
    return x - F.relu(x - a) + F.relu(-a - x)


def learned(x: Any, key: str, start: float, name: str | None = None) -> Any:
    """A parameter of one element, called ``<tensor>.<key>``."""
    attr = paddle.ParamAttr(name=f"{name or x.name}.{key}", initializer=Constant(start))
    return paddle.create_parameter([1], x.dtype, attr=attr)
