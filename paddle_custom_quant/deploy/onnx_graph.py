"""Nodes and initializers of an ONNX graph in the making."""

from __future__ import annotations

from typing import Any

import numpy as np


class OnnxGraph:
    """Collects nodes and initializers under names that are taken once.

    Attributes:
        opset: the lowest operator set that holds everything added so far.
    """

    def __init__(self, taken: set[str]) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._taken = set(taken)
        self._held: dict[Any, str] = {}
        self.opset = 13

    def fresh(self, name: str) -> str:
        """``name``, numbered where it is taken."""
        unique, number = name, 1
        while unique in self._taken:
            unique, number = f"{name}.{number}", number + 1
        self._taken.add(unique)
        return unique

    def constant(self, name: str, value: Any, dtype: str = "float32") -> str:
        """Add an initializer, or find one of the same content, and return its name."""
        array = np.asarray(value, dtype=dtype)
        key = dtype, array.shape, array.tobytes()
        if key in self._held:
            return self._held[key]
        unique = self._held[key] = self.fresh(name)
        self.initializers[unique] = self._numpy_helper.from_array(array, unique)
        return unique

    def packed(self, name: str, kind: str, value: np.ndarray) -> str:
        """Add an initializer of a 4-bit type, ``"INT4"`` or ``"UINT4"``."""
        from onnx import TensorProto

        unique = self.fresh(name)
        nibbles = value.reshape(-1).astype("int16") & 15
        nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, "int16")).reshape(-1, 2)
        content = (nibbles[:, 0] | nibbles[:, 1] << 4).astype("uint8").tobytes()
        tensor = self._helper.make_tensor(
            unique, getattr(TensorProto, kind), value.shape, content, raw=True
        )
        self.initializers[unique] = tensor
        return unique

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        output = output or self.fresh(f"{inputs[0]}.{kind[0].lower()}")
        self.add_many(kind, inputs, [output], **attributes)
        return output

    def add_many(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """Append a node."""
        node = self._helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes)
        self.nodes.append(node)

    def needs(self, opset: int) -> None:
        """Raise the operator set."""
        self.opset = max(self.opset, opset)


__all__ = ["OnnxGraph"]
