"""From a trained, quantized program to integers in inference engines, and the proof of it."""

from .bias_rounding import round_biases
from .export import export
from .float_model import write_paddle_float
from .freeze import freeze
from .frozen import FrozenModel, Grid, IntegerWeight, Layer
from .onednn_model import write_paddle_onednn
from .onnx_model import write_onnx
from .paddle_model import write_paddle
from .parity import compare
from .reference import run_reference
from .saved import load_program

__all__ = [
    "FrozenModel",
    "Grid",
    "IntegerWeight",
    "Layer",
    "compare",
    "export",
    "freeze",
    "load_program",
    "round_biases",
    "run_reference",
    "write_onnx",
    "write_paddle",
    "write_paddle_float",
    "write_paddle_onednn",
]
