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


def clipped(x: Any) -> Any:
    """PACT's clip as PaddleSlim's example writes it."""
    a = learned(x, "a", 1.3)
    return x - F.relu(x - a) + F.relu(-a - x)


def learned(x: Any, name: str, start: float) -> Any:
    """A parameter of one element, called ``<tensor>.<name>``."""
    attr = paddle.ParamAttr(name=f"{x.name}.{name}", initializer=Constant(start))
    return paddle.create_parameter([1], paddle.get_default_dtype(), attr=attr)
