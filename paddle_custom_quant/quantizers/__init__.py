"""Quantizers: one method a file, all called through the same contract."""

from .apot import APoT
from .base import LevelGrid, Parameter, Quantizer, Sample, UniformGrid
from .dorefa import DoReFaActivation, DoReFaGradient, DoReFaWeight
from .dsq import DSQ
from .ewgs import EWGS
from .functional import quantize_k
from .lq_net import LQNet
from .lsq import LSQ
from .lsq_plus import LSQPlus
from .n2uq import N2UQ
from .pact import PACT, PACTClip
from .power_of_two import PowerOfTwoScale
from .qil import QIL
from .sawb import SAWB
from .tqt import TQT
from .uniform import AbsMax, MovingAverageAbsMax, Percentile

__all__ = [
    "DSQ",
    "EWGS",
    "LSQ",
    "N2UQ",
    "PACT",
    "QIL",
    "SAWB",
    "TQT",
    "APoT",
    "AbsMax",
    "DoReFaActivation",
    "DoReFaGradient",
    "DoReFaWeight",
    "LQNet",
    "LSQPlus",
    "LevelGrid",
    "MovingAverageAbsMax",
    "PACTClip",
    "Parameter",
    "Percentile",
    "PowerOfTwoScale",
    "Quantizer",
    "Sample",
    "UniformGrid",
    "quantize_k",
]
