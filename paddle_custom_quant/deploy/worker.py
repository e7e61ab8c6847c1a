"""Run one engine in a process of its own: an engine that crashes takes nothing with it.

``python -m paddle_custom_quant.deploy.worker REQUEST.json``
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .engines import ONEDNN, ONNXRUNTIME, OPENVINO, Run, open_model
from .kernels import Kernel, of_onednn, of_onnxruntime, of_openvino

_MARK = "kernels follow"


@dataclass(frozen=True)
class Measured:
    """What one engine made of one model.

    Attributes:
        outputs: results for all inputs, in order.
        kernels: convolutions and linear layers as they ran.
        milliseconds: medians of one batch, by batch size: (this model, the float model or NaN).
    """

    outputs: list[np.ndarray]
    kernels: list[Kernel]
    milliseconds: dict[int, tuple[float, float]] = field(default_factory=dict)


def measure(
    engine: str,
    model: Path,
    inputs: Mapping[str, np.ndarray],
    *,
    batch_size: int = 100,
    threads: int = 1,
    timed: tuple[int, ...] = (),
    float_model: Path | None = None,
    repeats: int = 20,
    int8: bool = True,
) -> Measured:
    """Run ``model`` on ``inputs`` in a new process.

    Args:
        engine: a name in :data:`.engines.ENGINES`.
        model: ``.onnx`` file, or Paddle model without suffix.
        inputs: all inputs by name, samples along the first axis.
        batch_size: samples that are run together.
        threads: at most so many at work.
        timed: batch sizes to time, by turns with ``float_model``.
        float_model: the same net in float, in the same format.
        repeats: timed runs of each model.
        int8: the model holds quantizers.

    Raises:
        RuntimeError: the process failed; the message is one line with the reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "inputs.npz"), Path(folder, "outputs.npz")
        request, report = Path(folder, "request.json"), Path(folder, "report.json")
        np.savez(source, **dict(inputs))
        content = {
            "engine": engine,
            "model": str(model),
            "float_model": str(float_model) if float_model else None,
            "inputs": str(source),
            "outputs": str(result),
            "report": str(report),
            "batch_size": batch_size,
            "threads": threads,
            "timed": list(timed),
            "repeats": repeats,
            "int8": int8,
        }
        _run(content, request, report)
        held = json.loads(report.read_text(encoding="utf-8"))
        with np.load(result, allow_pickle=False) as file:
            outputs = [file[f"arr_{i}"] for i in range(len(file.files))]
        kernels = [Kernel(**kernel) for kernel in held["kernels"]]
        if engine == ONEDNN:
            # It tells its kernels on standard output, which costs time: not in the timed process.
            content.update(timed=[], only=batch_size)
            kernels = of_onednn(_run(content, request, report, DNNL_VERBOSE="1"))
        times = {int(size): tuple(pair) for size, pair in held["milliseconds"].items()}
    return Measured(outputs, kernels, times)


def _run(content: dict[str, Any], request: Path, report: Path, **more: str) -> str:
    """Serve a request in a new process and return what it printed."""
    request.write_text(json.dumps(content), encoding="utf-8")
    report.unlink(missing_ok=True)
    threads = str(content["threads"])
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(request)],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "OMP_NUM_THREADS": threads, "PYTHONWARNINGS": "ignore", **more},
        stdin=subprocess.DEVNULL,
    )
    if done.returncode or not report.exists():
        raise RuntimeError(f"{content['engine']} failed on {content['model']}: {_reason(done)}")
    return done.stdout.rpartition(_MARK)[2]


def _reason(done: Any) -> str:
    """The line that says most, of what a failed process wrote."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "error" in line or "rror:" in line]
    if done.returncode < 0:
        last = (telling or [""])[-1]
        return f"the process was ended by signal {-done.returncode}. {last}".strip()
    return (telling or lines or [f"it ended with code {done.returncode}"])[-1][:400]


def _serve(request: dict[str, Any]) -> None:
    engine, threads, int8 = request["engine"], request["threads"], request["int8"]
    with np.load(request["inputs"], allow_pickle=False) as file:
        inputs = {name: file[name] for name in file.files}
    run, handle = open_model(engine, Path(request["model"]), threads, int8)
    size = request["batch_size"]
    if "only" in request:
        inputs = _part(inputs, 0, request["only"])
    count = len(next(iter(inputs.values())))
    parts = [run(_part(inputs, at, size)) for at in range(0, count, size)]
    outputs = [np.concatenate(pieces) for pieces in zip(*parts)]
    other = None
    if request["float_model"] and request["timed"]:
        other, _ = open_model(engine, Path(request["float_model"]), threads, False)
    times = {
        str(n): _alternate(run, other, _repeated(inputs, n), request["repeats"])
        for n in request["timed"]
    }
    kernels: list[Kernel] = []
    if engine == ONNXRUNTIME:
        kernels = of_onnxruntime(handle)
    elif engine == OPENVINO:
        kernels = of_openvino(handle)
    elif engine == ONEDNN and "only" in request:
        print(_MARK, flush=True)
        run(inputs)
    np.savez(request["outputs"], *outputs)
    report = {"kernels": [asdict(kernel) for kernel in kernels], "milliseconds": times}
    Path(request["report"]).write_text(json.dumps(report), encoding="utf-8")


def _part(inputs: dict[str, np.ndarray], at: int, size: int) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(value[at : at + size]) for name, value in inputs.items()}


def _repeated(inputs: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """So many samples, again from the first where there are fewer."""
    return {
        name: np.ascontiguousarray(value[np.arange(size) % len(value)])
        for name, value in inputs.items()
    }


def _alternate(
    run: Run, other: Run | None, batch: dict[str, np.ndarray], repeats: int
) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 3):
        for model, held in ((run, times[0]), (other, times[1])):
            if model is not None:
                start = time.perf_counter()
                model(batch)
                held.append(1000 * (time.perf_counter() - start))
    # The first runs allocate and choose kernels.
    first, second = (float(np.median(held[3:])) if held else float("nan") for held in times)
    return first, second


if __name__ == "__main__":
    _request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    _serve(_request)
