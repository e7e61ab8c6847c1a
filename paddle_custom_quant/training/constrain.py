"""Clamps of the float stage that comes before quantized training."""

from __future__ import annotations

from typing import Any, Callable

import paddle

from ..quantizers.functional import clip, detach, max_abs, mean_abs


def clamp_weight(multiple: float = 7.0) -> Callable[[Any], Any]:
    """A function that clips a weight to ``+- min(multiple E|w|, max|w|)``.

    No gradient goes through the bound; to the weight it is 1 within and 0 outside.
    """

    def clamp(weight: Any) -> Any:
        bound = detach(paddle.minimum(mean_abs(weight) * multiple, max_abs(weight)))
        return clip(weight, bound * -1.0, bound)

    return clamp


def clamp_output(bound: float = 8.0) -> Callable[[Any], Any]:
    """A function that clips what a layer hands on to ``+- bound``."""

    def clamp(output: Any) -> Any:
        return clip(output, -bound, bound)

    return clamp


__all__ = ["clamp_output", "clamp_weight"]
