"""Read a trained test program into layers, quantizers replaced by what they trained to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import paddle
from paddle.base.data_feeder import convert_dtype

from ..graph.constants import constant_names
from ..graph.view import OpView, View, view
from ..qat.evaluate import evaluate
from ..quantizers.base import UniformGrid
from ..scope import read
from ..target import WEIGHT
from . import activations
from .frozen import QUANTIZE, FrozenModel, Grid, Layer, Note, TensorInfo
from .operators import OPERATORS, TENSOR_SETTINGS, Operator, supported
from .rewritten import REWRITES
from .sites import Site, find_sites, scope_of
from .weights import found_grid, on_grid, why_not_uniform


class ProgramReader:
    """One program on its way into a :class:`FrozenModel`.

    Args:
        program: a quantized test program of the old kind.
        scope: holds the trained values.
        inputs: names to feed; by default the program's data variables.
        outputs: names to fetch; by default what no operator reads.
    """

    def __init__(
        self,
        program: Any,
        scope: Any,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        self.program, self.scope = program, scope
        self.seen: View = view(program)
        self.fed = list(inputs or self._data_variables())
        self.constant = constant_names(self.seen)
        sites = find_sites(program, self.seen.ops, self.seen.variables, scope)
        self.sites = {site.label: site for site in sites}
        if not self.sites:
            raise ValueError(
                "this program holds no quantizers: pass what quant_aware returned, not what "
                "convert or save_inference_model made of it."
            )
        self.outputs = list(outputs or self._results())
        self.current: dict[str, str] = {}
        self.taken: set[str] = set()
        self.sources: dict[str, str] = {}
        self.made: dict[str, np.ndarray] = {}
        self.layers: list[Layer] = []
        self.shapes: dict[str, TensorInfo] = {}
        self.notes: list[Note] = []

    def read(self) -> FrozenModel:
        """Layers, integers and constants, not folded yet."""
        for name in self.fed:
            self._define(name)
        replaced = dict(self._activation_grids())
        for op in self._needed_operators():
            label = scope_of(op)
            if op.writes and set(op.writes) <= self.constant:
                continue
            if label in replaced:
                self._quantize(op, label, replaced[label])
            else:
                self._operator(op)
        missing = [name for name in self.outputs if name not in self.current]
        if missing:
            raise ValueError(f"no operator computes {missing[0]!r}: outputs are names of results.")
        outputs = tuple(self.current[name] for name in self.outputs)
        layers = needed(self.layers, outputs)
        read_names = {name for layer in layers for name in layer.inputs}
        fed = {n: self.shapes[n] for n in self.fed if n in read_names}
        model = FrozenModel(fed, outputs, layers, {}, {}, self.shapes, self.notes)
        self._constants(model, read_names & self.constant)
        model.constants.update({n: v for n, v in self.made.items() if n in read_names})
        return model

    def _needed_operators(self) -> list[OpView]:
        wanted, kept = set(self.outputs), []
        for op in reversed(self.seen.ops):
            if wanted.intersection(op.writes):
                kept.append(op)
                wanted.update(op.reads)
        return kept[::-1]

    def _data_variables(self) -> list[str]:
        return [
            v.name
            for v in self.program.global_block().vars.values()
            if getattr(v, "is_data", False) or v.desc.need_check_feed()
        ]

    def _results(self) -> list[str]:
        read_names = {n for op in self.seen.ops for n in op.reads}
        found = []
        for op in self.seen.ops:
            slots = tuple(op.outputs)
            if op.kind in OPERATORS:
                slots = OPERATORS[op.kind].outputs
            elif op.kind in REWRITES:
                slots = ("Out",)  # a dropout also writes its mask
            used = [n for slot in slots for n in op.outputs.get(slot.rstrip("*"), ())]
            found += [n for n in used if n not in read_names and n not in self.constant]
        if not found:
            raise ValueError("the program computes nothing that is not read again: name outputs.")
        return list(dict.fromkeys(found))

    def _activation_grids(self) -> Iterable[tuple[str, activations.Found]]:
        for label, site in self.sites.items():
            if site.target.role == WEIGHT or label in self.constant:
                continue
            found = activations.grid_of(site)
            if isinstance(found, str):
                self.notes.append(Note(label, f"{site.text} runs as float operators: {found}"))
            else:
                yield label, found

    def _quantize(self, op: OpView, label: str, found: activations.Found) -> None:
        """The source is what the quantizer's first operator reads from outside."""
        site = self.sites[label]
        own = {f"{label}.{key}" for key in site.values}
        if label not in self.sources:
            names = [n for n in op.reads if n not in self.constant and n not in own]
            if names:
                self.sources[label] = self._use(names[0])
        if label not in op.writes:
            return
        name = self._define(label)
        source = self.sources[label]
        for kind, value in found.before:
            source = self._append(kind, source, value, name)
        grid = found.grid
        if grid is None:
            self.layers.append(Layer("clip", (source,), (name,), dict(found.clip)))
            return
        inner = self._fresh(f"{name}.shifted") if found.after else name
        self.layers.append(Layer(QUANTIZE, (source,), (inner,), grid=grid))
        for kind, value in found.after:
            self._append(kind, inner, value, name, name)

    def _append(self, kind: str, source: str, value: np.ndarray, stem: str, out: str = "") -> str:
        out = out or self._fresh(f"{stem}.{kind}")
        attributes = {"scale": 1.0, "bias": float(value), "bias_after_scale": True}
        self.layers.append(Layer("scale", (source,), (out,), attributes))
        return out

    def _operator(self, op: OpView) -> None:
        if op.kind in ("feed", "fetch"):
            return
        rewrite = REWRITES.get(op.kind)
        kind, attributes, spec = op.kind, None, OPERATORS.get(op.kind)
        if rewrite:
            kind, attributes, spec = rewrite(op, self.seen.variables)
        if spec is None:
            site = self.sites.get(scope_of(op))
            where = f" (in the quantizer {site.text} of {site.target.name!r})" if site else ""
            raise ValueError(
                f"operator {op.kind!r}, which computes {(op.writes or ['?'])[0]!r}{where}, "
                f"cannot be deployed; if the result that is wanted comes before it, name that in "
                f"outputs. "
                f"Supported: {supported()}."
            )
        for slot in TENSOR_SETTINGS.get(kind, ()):
            if op.inputs.get(slot):
                raise ValueError(
                    f"operator {kind!r}, which computes {op.writes[0]!r}, takes its setting from "
                    f"the tensor {op.inputs[slot][0]!r}: only numbers can be deployed."
                )
        inputs = tuple(self._use(n) for n in _slots(op.inputs, spec.inputs))
        if kind == "layer_norm":
            inputs = (inputs[0], *self._factor_and_summand(op))
        if attributes is None:
            attributes = {
                key: _plain(op.attribute(key, default))
                for key, default in (spec.attributes or {}).items()
            }
        if kind == "assign":
            self.current[op.outputs["Out"][0]] = inputs[0]
            return
        outputs = tuple(self._define(n) for n in _slots(op.outputs, spec.outputs))
        self.layers.append(Layer(kind, inputs, outputs, attributes))

    def _factor_and_summand(self, op: OpView) -> tuple[str, str]:
        """Of a layer norm, both: Paddle Inference is wrong with one alone.

        What stands for no summand changes nothing; a zero OpenVINO would drop, and is wrong then.
        """
        shape = self.seen.variables[op.inputs["X"][0]].shape()[op.attribute("begin_norm_axis", 1) :]
        found = []
        for slot, value in (("Scale", 1.0), ("Bias", 2.0**-100)):
            if op.inputs.get(slot):
                found.append(self._use(op.inputs[slot][0]))
            else:
                found.append(self._fresh(f"{op.writes[0]}.{slot.lower()}"))
                self.made[found[-1]] = np.full([int(np.prod(shape))], value, "float32")
        return found[0], found[1]

    def _use(self, name: str) -> str:
        if name in self.current:
            return self.current[name]
        if name in self.constant:
            return name
        raise ValueError(
            f"{name!r} is read before anything computes it: name it among the inputs, or name the "
            f"outputs so that it is not needed."
        )

    def _define(self, name: str) -> str:
        unique = self._fresh(name)
        self.current[name] = unique
        variable = self.seen.variables.get(name)
        if variable is not None:
            dtype = convert_dtype(variable.dtype())
            self.shapes[unique] = TensorInfo(tuple(variable.shape()), dtype)
        return unique

    def _fresh(self, name: str) -> str:
        unique, number = name, 1
        while unique in self.taken or (unique in self.constant):
            unique, number = f"{name}.v{number}", number + 1
        self.taken.add(unique)
        return unique

    def _constants(self, model: FrozenModel, names: set[str]) -> None:
        weights = {n: self.sites[n] for n in names if n in self.sites}
        written = {n for op in self.seen.ops for n in op.writes if op.kind != "batch_norm"}
        computed = sorted(n for n in names if n in written)
        # Where batch norm is folded, what is quantized is computed too.
        computed += sorted({s.target.name for s in weights.values()} & written - names)
        place = paddle.CPUPlace()
        values = evaluate(self.program, computed, place, self.scope)
        for name in sorted(names):
            value = values.get(name) if name in values else read(self.scope, name)
            if value is None:
                raise ValueError(f"the value of {name!r} is not in the scope: load the parameters.")
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise ValueError(f"{name!r} holds NaN or infinity: it cannot be deployed.")
            if name in weights:
                floats = values.get(weights[name].target.name)
                self._weight(model, name, value, weights[name], floats)
            else:
                model.constants[name] = value

    def _weight(
        self, model: FrozenModel, name: str, value: np.ndarray, site: Site, floats: Any
    ) -> None:
        if floats is None:
            floats = read(self.scope, site.target.name)
        grid = site.grid(floats) if floats is not None or site.quantizer is None else None
        if isinstance(grid, UniformGrid):
            fitted = on_grid(value, grid)
        else:
            fitted = found_grid(value, site.target.channel_axis)
        if isinstance(fitted, str):
            uniform = isinstance(grid, UniformGrid)
            reason = fitted if uniform else f"{why_not_uniform(grid)}, {fitted}"
            model.notes.append(Note(site.target.name, f"{site.text} stays float: {reason}"))
            model.constants[name] = value.astype("float32")
        else:
            model.weights[name] = fitted


def needed(layers: list[Layer], outputs: Iterable[str]) -> list[Layer]:
    """The layers that the outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for layer in reversed(layers):
        if wanted.intersection(layer.outputs):
            kept.append(layer)
            wanted.update(layer.inputs)
    return kept[::-1]


def _slots(held: dict[str, list[str]], slots: tuple[str, ...]) -> list[str]:
    return [name for slot in slots for name in held.get(slot.rstrip("*?"), ()) if name]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


__all__ = ["Grid", "Operator", "ProgramReader", "needed"]
