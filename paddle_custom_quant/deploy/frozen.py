"""The one intermediate form between a trained program and what engines load."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

QUANTIZE = "quantize"


@dataclass(frozen=True)
class Grid:
    """Values ``step * q`` for integers q in [qmin, qmax].

    ``step`` is float32 ``[1]``, or ``[channels]`` along ``axis``; positive.
    """

    step: np.ndarray
    qmin: int
    qmax: int
    axis: int | None = None

    @property
    def bits(self) -> int:
        """Width of the narrowest integer that holds the grid."""
        return max(1, (self.qmax - self.qmin).bit_length())


@dataclass(frozen=True)
class IntegerWeight:
    """A weight as integers: its real value is ``integers * grid.step``.

    Attributes:
        integers: int8, or int16 where the grid needs more than 8 bits.
        grid: step and range; the step runs along ``grid.axis``.
    """

    integers: np.ndarray
    grid: Grid

    def real(self) -> np.ndarray:
        """The float32 values."""
        return self.integers.astype("float32") * along(
            self.grid.step, self.integers.ndim, self.grid.axis
        )


@dataclass(frozen=True)
class Layer:
    """One operator.

    Attributes:
        kind: a name of :data:`.operators.OPERATORS`, or ``"quantize"`` (from float to the values
            of ``grid``).
        inputs: names of what it reads, in the order of the operator's slots.
        outputs: names of what it writes.
        attributes: the operator's settings, under Paddle's names.
        grid: of a ``"quantize"`` layer.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    grid: Grid | None = None

    @property
    def name(self) -> str:
        """The name of its first output."""
        return self.outputs[0]


@dataclass(frozen=True)
class Note:
    """Something a reader of the report should know: a tensor that stays float, and why."""

    tensor: str
    text: str


@dataclass(frozen=True)
class TensorInfo:
    """Shape (-1 where unknown) and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass
class FrozenModel:
    """A trained, quantized net: integers, constants, and layers in the order they run.

    Attributes:
        inputs: what is fed, by name.
        outputs: names of the results.
        layers: operators in order; every name is written once.
        weights: quantized weights, by name.
        constants: all other parameters, by name.
        shapes: what is known of the tensors between layers.
        notes: what stays float, and what was approximated.
        added_last: by the name of a folded bias, the constant that is a summand of it.
    """

    inputs: dict[str, TensorInfo]
    outputs: tuple[str, ...]
    layers: list[Layer]
    weights: dict[str, IntegerWeight]
    constants: dict[str, np.ndarray]
    shapes: dict[str, TensorInfo] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    added_last: dict[str, str] = field(default_factory=dict)

    def producers(self) -> dict[str, Layer]:
        """The layer that writes each name."""
        return {name: layer for layer in self.layers for name in layer.outputs}

    def readers(self) -> dict[str, list[Layer]]:
        """The layers that read each name."""
        found: dict[str, list[Layer]] = {}
        for layer in self.layers:
            for name in dict.fromkeys(layer.inputs):
                found.setdefault(name, []).append(layer)
        return found

    def integer_layers(self) -> list[Layer]:
        """The layers that an engine can run on integers: weight and input are quantized."""
        producers = self.producers()
        return [
            layer
            for layer in self.layers
            if any(name in self.weights for name in layer.inputs)
            and is_quantized(layer.inputs[0], producers)
        ]

    def weighted_layers(self) -> list[Layer]:
        """Convolutions and linear layers, whatever their weights are."""
        return [
            layer
            for layer in self.layers
            if layer.kind in WEIGHTED
            and (layer.inputs[1] in self.weights or layer.inputs[1] in self.constants)
        ]


WEIGHTED = ("conv2d", "depthwise_conv2d", "matmul_v2")
# They hand values on as they are, so that what goes in quantized comes out quantized.
MOVES_VALUES = ("flatten_contiguous_range", "reshape2", "transpose2", "squeeze2", "unsqueeze2")


def moves_values(layer: Layer) -> bool:
    """Whether every value this layer writes is one that it read, in the same order of size."""
    return layer.kind in MOVES_VALUES or (
        layer.kind == "pool2d" and layer.attributes["pooling_type"] == "max"
    )


def quantizer_of(name: str, producers: dict[str, Layer]) -> Layer | None:
    """The ``quantize`` layer whose values this tensor holds, ``None`` if it is float."""
    layer = producers.get(name)
    while layer is not None and moves_values(layer):
        layer = producers.get(layer.inputs[0])
    return layer if layer is not None and layer.kind == QUANTIZE else None


def is_quantized(name: str, producers: dict[str, Layer]) -> bool:
    """Whether this tensor holds values of a grid."""
    return quantizer_of(name, producers) is not None


def refuse_layout(layer: Layer, key: str, format_name: str) -> None:
    """Refuse channels on the last axis.

    Args:
        layer: a convolution, pool or batch norm.
        key: of the attribute that names the layout.
        format_name: what is written, for the message.

    Raises:
        ValueError: the layer's layout is another than NCHW.
    """
    if layer.attributes[key] not in ("NCHW", "AnyLayout"):
        raise ValueError(
            f"{layer.kind}, which computes {layer.name!r}, is {layer.attributes[key]}: "
            f"only NCHW can be written for {format_name}."
        )


def along(vector: np.ndarray, rank: int, axis: int | None) -> np.ndarray:
    """``vector`` shaped to broadcast along ``axis`` of an array of this rank."""
    if axis is None:
        return vector.reshape([1] * rank) if rank else vector.reshape([])
    return vector.reshape([-1 if i == axis else 1 for i in range(rank)])


__all__ = ["FrozenModel", "Grid", "IntegerWeight", "Layer", "Note", "TensorInfo"]
