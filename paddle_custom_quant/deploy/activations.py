"""What a trained activation quantizer comes down to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import paddle

from ..qat.built_in import BuiltIn
from ..quantizers import PACTClip
from ..quantizers.base import UniformGrid
from .frozen import Grid
from .sites import Site
from .weights import why_not_uniform

_SAMPLES = 4097
_ALLOWED = 2  # samples that may lie on a rounding boundary


@dataclass(frozen=True)
class Found:
    """A grid, and what is added before and after it; or a clip alone.

    Attributes:
        grid: the levels; ``None`` for a clip.
        before: (name, number added to the tensor) in front of the grid.
        after: the same behind it.
        clip: ``min`` and ``max`` of a clip alone.
    """

    grid: Grid | None
    before: tuple[tuple[str, Any], ...] = ()
    after: tuple[tuple[str, Any], ...] = ()
    clip: dict[str, float] = field(default_factory=dict)


def grid_of(site: Site) -> Found | str:
    """The quantizer as a grid, or why there is none."""
    if isinstance(site.quantizer, PACTClip):
        alpha = abs(float(site.values["alpha"][0]))
        return Found(None, clip={"min": -alpha, "max": alpha})
    grid = site.grid()
    if not isinstance(grid, UniformGrid):
        return why_not_uniform(grid)
    if np.size(grid.step) != 1:
        return "it has a step for each channel"
    if not _rounds_to(site, grid):
        return "it does not round to the nearest of its levels"
    step, offset = np.float32(grid.step.reshape(-1)[0]), float(grid.offset.reshape(-1)[0])
    shift = offset / float(step)
    low, high = grid.qmin, grid.qmax
    if abs(shift - round(shift)) < 1e-6 * max(1.0, abs(shift)):
        whole = round(shift)
        return Found(Grid(np.array([step]), low + whole, high + whole))
    plain = Grid(np.array([step]), low, high)
    return Found(plain, (("minus", -offset),), (("plus", offset),))


def _rounds_to(site: Site, grid: UniformGrid) -> bool:
    """Whether the quantizer's formula is rounding to the grid: not so where levels and
    thresholds are trained apart."""
    if isinstance(site.quantizer, BuiltIn) or site.quantizer is None:
        return True
    step, offset = float(grid.step.reshape(-1)[0]), float(grid.offset.reshape(-1)[0])
    u = np.linspace(grid.qmin - 1.37, grid.qmax + 1.41, _SAMPLES)
    x = (u * step + offset).astype("float32")
    target = replace(site.target, name="sample", shape=(_SAMPLES,), training=False)
    with paddle.base.dygraph.guard(paddle.CPUPlace()), paddle.no_grad():
        values = {key: paddle.to_tensor(value) for key, value in site.values.items()}
        y = site.quantizer.quantize(paddle.to_tensor(x), target, **values).numpy()
    expected = np.round(np.clip(u, grid.qmin, grid.qmax))
    return int((np.abs((y - offset) / step - expected) > 1e-3).sum()) <= _ALLOWED


__all__ = ["Found", "grid_of"]
