"""Custom quantization operators for PaddleSlim: train with your own, deploy as integers."""

# Before Paddle: the wheel of 2.6 exports zlib's symbols, and a zlib loaded after it crashes.
import zlib  # noqa: F401

from . import _paddle, deploy, quantizers  # noqa: F401
from .compat import legacy_static
from .deploy import export
from .distributed import ProcessGroup, ProcessLost, data_parallel, process_group
from .graph.verify import verify
from .inspection.facade import diff, inspect
from .inspection.live import LiveBoard, LiveFacts
from .inspection.report import layer_report
from .keep_memory import keep_memory
from .qat import observers
from .qat.backends import backend
from .qat.calibrate import calibrate
from .qat.convert import convert
from .qat.folding import fold_batch_norm
from .qat.onednn import use_onednn
from .qat.patch import patch_paddleslim
from .qat.plan import placement
from .qat.post_training import PostTraining, quantize_post_training
from .qat.quant_aware import quant_aware
from .qat.rules import FirstLast, PerLayer
from .qat.state import LoadReport, load_state
from .quantizers.functional import quantize_k

__version__ = "0.1.0"

__all__ = [
    "FirstLast",
    "LiveBoard",
    "LiveFacts",
    "LoadReport",
    "PerLayer",
    "PostTraining",
    "ProcessGroup",
    "ProcessLost",
    "backend",
    "calibrate",
    "convert",
    "data_parallel",
    "deploy",
    "diff",
    "export",
    "fold_batch_norm",
    "inspect",
    "keep_memory",
    "layer_report",
    "legacy_static",
    "load_state",
    "observers",
    "patch_paddleslim",
    "placement",
    "process_group",
    "quant_aware",
    "quantize_k",
    "quantize_post_training",
    "quantizers",
    "use_onednn",
    "verify",
]
