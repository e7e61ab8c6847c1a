"""Quantizers: one method a file, all called through the same contract."""

from .base import LevelGrid, Parameter, Quantizer, Sample, UniformGrid
from .dorefa import DoReFaActivation, DoReFaWeight
from .functional import quantize_k
from .pact import PACT, PACTClip

__all__ = [
    "PACT",
    "DoReFaActivation",
    "DoReFaWeight",
    "LevelGrid",
    "PACTClip",
    "Parameter",
    "Quantizer",
    "Sample",
    "UniformGrid",
    "quantize_k",
]
