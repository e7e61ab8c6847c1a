"""Which layers ran on integers, in the engines' own words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INTEGER_NODES = ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "ConvInteger")
_FLOAT_NODES = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "MatMulNBits")


@dataclass(frozen=True)
class Kernel:
    """One convolution or linear layer as an engine ran it.

    Attributes:
        name: the engine's name for it.
        kind: the engine's kernel or node type.
        integer: it multiplied integers.
    """

    name: str
    kind: str
    integer: bool


def of_onednn(verbose: str) -> list[Kernel]:
    """From what oneDNN prints with ``DNNL_VERBOSE=1``."""
    found = []
    for line in verbose.splitlines():
        parts = line.split(",")
        if not parts[0].startswith("onednn_verbose") or "exec" not in parts:
            continue
        parts = parts[parts.index("exec") :]
        if len(parts) < 9 or parts[2] not in ("convolution", "inner_product", "matmul"):
            continue
        tensors = parts[5].replace("_", ":")
        integer = "src:s8" in tensors or "src:u8" in tensors
        found.append(Kernel(parts[-2], f"{parts[2]} {parts[3]}", integer and "wei:s8" in tensors))
    return found


def of_onnxruntime(optimised: Path) -> list[Kernel]:
    """From the graph that ONNX Runtime optimised and saved."""
    import onnx

    graph = onnx.load(str(optimised)).graph
    constant = {tensor.name for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}

    def fixed(name: str) -> bool:
        node = made.get(name)
        return name in constant or (node is not None and all(fixed(n) for n in node.input if n))

    found = []
    for node in graph.node:
        if node.op_type in _INTEGER_NODES:
            found.append(Kernel(node.name, node.op_type, True))
        elif node.op_type in _FLOAT_NODES and any(fixed(name) for name in node.input[1:2]):
            found.append(Kernel(node.name, node.op_type, False))
    return found


def of_openvino(compiled: Any) -> list[Kernel]:
    """From the graph that OpenVINO executes."""
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        held = node.get_rt_info()
        layer = held["layerType"].astype(str)
        if layer in ("Convolution", "FullyConnected", "MatMul"):
            kind = held["primitiveType"].astype(str)
            precision = held["runtimePrecision"].astype(str)
            integer = precision in ("u8", "i8") and kind.lower().endswith("i8")
            found.append(Kernel(node.get_friendly_name(), f"{layer} {kind}", integer))
    return found


__all__ = ["Kernel", "of_onednn", "of_onnxruntime", "of_openvino"]
