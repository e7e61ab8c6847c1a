"""Inference engines behind one call: open a model, run a batch, tell which kernels ran."""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]

PLAIN, ONEDNN, ONNXRUNTIME, OPENVINO = "paddle", "paddle-onednn-int8", "onnxruntime", "openvino"


@dataclass(frozen=True)
class Engine:
    """One way to run a model.

    Attributes:
        name: as in reports and on the command line.
        format: of :data:`.formats.FORMATS`, what it runs best.
        package: what must be installed.
    """

    name: str
    format: str
    package: str

    @property
    def installed(self) -> bool:
        """Whether its package can be imported."""
        return importlib.util.find_spec(self.package) is not None


ENGINES = {
    engine.name: engine
    for engine in (
        Engine(PLAIN, "paddle-float", "paddle"),
        Engine(ONEDNN, "paddle-onednn", "paddle"),
        Engine(ONNXRUNTIME, "onnx", "onnxruntime"),
        Engine(OPENVINO, "onnx", "openvino"),
    )
}


def open_model(engine: str, path: Path, threads: int, int8: bool = True) -> tuple[Run, Any]:
    """Load a model.

    Args:
        engine: a name in :data:`ENGINES`.
        path: ``.onnx`` file, or Paddle model without suffix.
        threads: at most so many at work.
        int8: the model holds quantizers (oneDNN wants to be told).

    Returns:
        What runs a batch, and a handle for :func:`kernels`.
    """
    return _OPENERS[engine](path, threads, int8)


def _open_paddle(path: Path, threads: int, onednn: bool, int8: bool) -> tuple[Run, Any]:
    from paddle import inference

    config = inference.Config(f"{path}.pdmodel", f"{path}.pdiparams")
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    if onednn:
        config.enable_mkldnn()
        if int8:
            config.enable_mkldnn_int8(set())
    else:
        config.disable_mkldnn()  # Paddle 3 has it on
        # Paddle's passes fold batch norm into convolutions, which changes the last bits of a
        # float, and with them the level of a value on a rounding boundary.
        config.switch_ir_optim(False)
    predictor = inference.create_predictor(config)
    sources = {name: predictor.get_input_handle(name) for name in predictor.get_input_names()}
    results = [predictor.get_output_handle(name) for name in predictor.get_output_names()]

    def run(batch: dict[str, np.ndarray]) -> list[np.ndarray]:
        for name, handle in sources.items():
            handle.copy_from_cpu(np.ascontiguousarray(batch[name]))
        predictor.run()
        return [handle.copy_to_cpu() for handle in results]

    return run, predictor


def _open_onnxruntime(path: Path, threads: int, int8: bool) -> tuple[Run, Any]:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    folder = tempfile.TemporaryDirectory()  # as long as the session is in use
    optimised = Path(folder.name, path.name)
    options.optimized_model_filepath = str(optimised)
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)

    def run(batch: dict[str, np.ndarray], _kept: Any = folder) -> list[np.ndarray]:
        return session.run(None, batch)

    return run, optimised


def _open_openvino(path: Path, threads: int, int8: bool) -> tuple[Run, Any]:
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        # Without it, what is float runs in bfloat16 where the processor has that.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    request = compiled.create_infer_request()

    def run(batch: dict[str, np.ndarray]) -> list[np.ndarray]:
        results = request.infer(batch, share_inputs=True)
        return [np.array(results[output]) for output in compiled.outputs]

    return run, compiled


_OPENERS: dict[str, Callable[[Path, int, bool], tuple[Run, Any]]] = {
    PLAIN: lambda path, threads, int8: _open_paddle(path, threads, False, int8),
    ONEDNN: lambda path, threads, int8: _open_paddle(path, threads, True, int8),
    ONNXRUNTIME: _open_onnxruntime,
    OPENVINO: _open_openvino,
}

__all__ = ["ENGINES", "Engine", "open_model"]
