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
from .oscillation import DampOscillation, FreezeOscillation, damping_schedule
from .pact import PACT, PACTClip
from .power_of_two import PowerOfTwoScale
from .qil import QIL
from .sawb import SAWB
from .tqt import TQT
from .uniform import AbsMax, MovingAverageAbsMax, Percentile
from .zero_point import WholeZeroPoint

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
    "DampOscillation",
    "DoReFaActivation",
    "DoReFaGradient",
    "DoReFaWeight",
    "FreezeOscillation",
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
    "WholeZeroPoint",
    "damping_schedule",
    "quantize_k",
]
