"""Where a program is quantized, and by what: read from the program alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.marks import DESCRIPTION
from ..graph.view import OpView
from ..qat.built_in import START_SCALE, BuiltIn
from ..quantizers.base import Grid, Quantizer, UniformGrid
from ..quantizers.description import rebuild
from ..scope import read
from ..target import ACTIVATION, Target

_VERSION = re.compile(r"\.v\d+$")


@dataclass(frozen=True)
class Site:
    """One quantizer on one tensor.

    Attributes:
        label: name of the quantized copy, and of the name scope of its operators.
        target: the tensor.
        quantizer: what quantizes it; ``None`` for a function, which has no grid.
        values: trained values of its parameters, by their name in the quantizer.
        text: what the program calls the quantizer.
    """

    label: str
    target: Target
    quantizer: Quantizer | None
    values: dict[str, np.ndarray]
    text: str

    def grid(self, weight: np.ndarray | None = None) -> Grid | None:
        """The grid that the trained values give; ``weight`` is the trained float weight."""
        if isinstance(self.quantizer, BuiltIn):
            step = self.values["scale"].reshape(-1) / (2 ** (self.quantizer.bits - 1) - 1)
            axis = self.target.channel_axis if self.quantizer.per_channel else None
            step = step.astype("float32")
            low, high = -(2 ** (self.quantizer.bits - 1)), 2 ** (self.quantizer.bits - 1) - 1
            return UniformGrid(step, np.zeros_like(step), low, high, axis)
        return self.quantizer.grid(self.target, weight, **self.values) if self.quantizer else None


def scope_of(op: OpView) -> str:
    """The name scope of an operator, which is a site's label if a quantizer made it."""
    return str(op.attribute("op_namescope", "") or "").strip("/")


def find_sites(
    program: Any, ops: list[OpView], variables: dict[str, Any], scope: Any
) -> list[Site]:
    """All quantizers of a test program, in its order.

    Raises:
        ValueError: a quantizer's parameter is missing, never trained, NaN, zero or negative.
    """
    known = _placed(program)
    sites = []
    for op in ops:
        text = op.attribute(DESCRIPTION)
        if not text:
            continue
        plain = json.loads(text)
        label = scope_of(op) if scope_of(op) in op.writes else op.writes[0]
        target, quantizer = known.get(label) or _described(plain, variables)
        values = _trained(label, target, quantizer, scope) if quantizer else {}
        name = plain["quantizer"].get("class") or plain["quantizer"].get("function", "?")
        sites.append(Site(label, target, quantizer, values, name))
    _refuse_untrained(sites)
    return sites


def _placed(program: Any) -> dict[str, tuple[Target, Quantizer]]:
    inserted = getattr(program, "quantization", None)
    return {
        label: (placed.target, quantizer)
        for placed in (inserted.placement if inserted else ())
        for quantizer, label in zip(placed.stages, placed.labels)
    }


def _described(plain: dict[str, Any], variables: dict[str, Any]) -> tuple[Target, Quantizer | None]:
    name = plain["tensor"]
    variable = variables.get(name) or variables.get(_VERSION.sub("", name))
    shape = tuple(variable.shape()) if variable is not None else ()
    target = Target(
        name,
        shape,
        role=plain["role"],
        channel_axis=plain["channel_axis"],
        training=False,
    )
    held = plain["quantizer"]
    if held.get("class") == "BuiltIn":
        return target, BuiltIn(**{k: v for k, v in held.items() if k != "class"})
    return target, rebuild(json.dumps(held))


def _trained(label: str, target: Target, quantizer: Quantizer, scope: Any) -> dict[str, np.ndarray]:
    values = {}
    for key, parameter in quantizer.parameters(target).items():
        name = parameter.name or f"{label}.{key}"
        value = read(scope, name)
        if value is None:
            raise ValueError(
                f"{name!r}, a parameter of the quantizer of {target.name!r}, is not in the scope: "
                f"train the program first, or load its parameters."
            )
        if not np.isfinite(value).all():
            raise ValueError(
                f"{name!r}, a parameter of the quantizer of {target.name!r}, is NaN or infinite: "
                f"training diverged; nothing can be deployed from it."
            )
        if key == "count" and (value <= 0).any():
            raise ValueError(
                f"this program was never trained: the quantizer of {target.name!r} has seen no "
                f"batch. Train it, or load trained parameters, before it is deployed."
            )
        if key in POSITIVE and (value <= 0).any():
            raise ValueError(
                f"{name!r}, a parameter of the quantizer of {target.name!r}, must be positive, "
                f"got {float(value.min()):.6g}: train with a lower learning rate."
            )
        values[key] = value
    return values


# Parameters that stand for a step or a clip value.
POSITIVE = ("step", "alpha", "scale")


def _refuse_untrained(sites: list[Site]) -> None:
    """Activation ranges cannot all stand exactly where they started if the program has trained."""
    started = []
    for site in sites:
        if site.quantizer is None or site.target.role != ACTIVATION or not site.values:
            continue
        if isinstance(site.quantizer, BuiltIn):
            started.append((site, float(site.values["scale"][0]) == np.float32(START_SCALE)))
            continue
        start = site.quantizer.parameters(site.target)
        same = [np.array_equal(site.values[key], start[key].value) for key in start]
        started.append((site, all(same)))
    if started and all(same for _, same in started):
        names = ", ".join(repr(site.target.name) for site, _ in started[:3])
        raise ValueError(
            f"this program was never trained: the quantizers of {names} still hold their start "
            f"values. Train it, or load trained parameters, before it is deployed."
        )


__all__ = ["Site", "find_sites", "scope_of"]
