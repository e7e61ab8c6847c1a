"""The C++ operators against the memory traffic they cannot avoid, and against others' operators.

    python benchmarks/kernels.py [--quick]

Forward and backward in static programs, with one thread and with two, on an activation and a
weight. The floor is five streams (forward reads x and writes y; backward reads x and dy and writes
dx) at the rate at which memcpy copies tensors of the same size with as many threads; DoReFa's has a
sixth, as its forward reads all of x for the maximum first. Everything is measured in turns, in an
order drawn anew for each repetition, in processes that keep their memory (``pcq.keep_memory``);
figures are medians. Paddle's own operators run in the same process, PyTorch's learnable fake
quantization in another: that of ``PCQ_TORCH_PYTHON``, or this Python if it has torch; without it
that column is left out. The last line is JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, Callable

SHAPES = {"64x64x56x56": (64, 64, 56, 56), "512x512x3x3": (512, 512, 3, 3)}
# Of the memory floor, by the beginning of a kernel's name.
LIMITS = {"uniform": 1.3, "lsq": 1.3, "pact": 1.3, "dorefa": 1.6, "dsq": 1.6, "look-up": 3.0}
OVER_PADDLE, OVER_TORCH = 2.0, 5.0
STREAMS, DOREFA_STREAMS = 5, 6
# OpenMP's threads spin this long after their work, and would take the cores from the next.
CALM = 0.25

Timed = Callable[[], float]


def programs(shape: tuple[int, ...], copies: int) -> dict[str, Timed]:
    """By kernel, a function that runs forward and backward and gives the seconds they took."""
    import numpy as np
    import paddle
    from paddle import static
    from paddle.base.layer_helper import LayerHelper

    from paddle_custom_quant.kernels import ops

    rng = np.random.default_rng(0)
    weight = len(shape) == 4 and shape[2] == 3
    size, axis = (0.05, 0) if weight else (1.0, 1)
    levels = size * np.array([-4, -3, -2, -1.5, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 1.5, 2, 3, 4])
    arrays = {
        "x": rng.normal(0, size, shape),
        "dy": rng.normal(0, 1, shape),
        "step": [size / 3],
        "steps": np.full(shape[axis], size / 3),
        "offset": [size / 10],
        "low": [-2.6 * size],
        "high": [2.6 * size],
        "alpha": [0.2],
        "levels": levels,
        "thresholds": (levels[1:] + levels[:-1]) / 2,
        "scale": [1.0],
    }
    scope, executor = static.Scope(), static.Executor(paddle.CPUPlace())
    for name, value in arrays.items():
        value = np.asarray(value, "float32")
        scope.var(name).get_tensor().set(value, paddle.CPUPlace())

    def paddles_own(kind: str) -> Callable[..., Any]:
        """As it trains: the range is measured in every step."""

        def append(x: Any, **state: Any) -> Any:
            helper = LayerHelper(kind)
            outputs = {
                name: helper.create_variable_for_type_inference("float32")
                for name in ("Out", "OutScale", *(key.replace("In", "Out") for key in state))
            }
            inputs = {"X": x, **state}
            attributes = {"bit_length": 4, "is_test": False}
            helper.append_op(type=kind, inputs=inputs, outputs=outputs, attrs=attributes)
            return outputs["Out"]

        return append

    signed, unsigned = {"qmin": -8, "qmax": 7}, {"qmin": 0, "qmax": 15}
    prefix = "fake_quantize_dequantize"
    formulas: dict[str, Callable[..., Any]] = {
        "uniform": lambda v: ops.fake_quantize(v["x"], v["step"], **signed),
        "lsq": lambda v: ops.fake_quantize(v["x"], v["step"], rule="lsq", **signed),
        "lsq by channel": lambda v: ops.fake_quantize(
            v["x"], v["steps"], rule="lsq", axis=axis, **signed
        ),
        "lsq+": lambda v: ops.fake_quantize(
            v["x"], v["step"], offset=v["offset"], rule="lsq", **unsigned
        ),
        "pact": lambda v: ops.fake_quantize(v["x"], v["step"], rule="clip", **unsigned),
        "dorefa": lambda v: ops.dorefa_weight(v["x"], 4),
        "dsq": lambda v: ops.dsq(v["x"], v["low"], v["high"], v["alpha"], 4),
        "look-up": lambda v: ops.nearest_level(v["x"], v["levels"], v["thresholds"]),
        "look-up, scale learned": lambda v: ops.nearest_level(
            v["x"], v["levels"], v["thresholds"], scale=v["scale"]
        ),
        "Paddle abs-max": lambda v: paddles_own(f"{prefix}_abs_max")(v["x"]),
        "Paddle moving average": lambda v: paddles_own(f"{prefix}_moving_average_abs_max")(
            v["x"], InScale=v["high"], InAccum=v["scale"], InState=v["scale"]
        ),
    }

    def timed(formula: Callable[..., Any]) -> Timed:
        main = static.Program()
        with static.program_guard(main, static.Program()):
            block = main.global_block()
            variables = {
                name: block.create_var(
                    name=name,
                    shape=np.shape(value),
                    dtype="float32",
                    persistable=True,
                    stop_gradient=False,
                )
                for name, value in arrays.items()
            }
            for _ in range(copies):
                y = formula(variables)
                static.gradients([y], [variables["x"]], target_gradients=[variables["dy"]])

        def run() -> float:
            with static.scope_guard(scope):
                start = time.perf_counter()
                executor.run(main)
                return (time.perf_counter() - start) / copies

        return run

    return {name: timed(formula) for name, formula in formulas.items()}


def floor(shape: tuple[int, ...], threads: int, copies: int) -> Timed:
    """The seconds that the unavoidable streams take, from memcpy on buffers of the same size."""
    import numpy as np

    buffers = [np.ones(shape, "float32") for _ in range(4)]
    pool = ThreadPoolExecutor(threads)
    share = buffers[0].nbytes // threads

    def copy(part: int) -> None:
        x, y, dy, dx = (buffer.ctypes.data + part * share for buffer in buffers)
        for _ in range(copies):
            ctypes.memmove(y, x, share)
            ctypes.memmove(dx, dy, share)

    def run() -> float:
        start = time.perf_counter()
        list(pool.map(copy, range(threads)))
        # Two copies are four streams.
        return (time.perf_counter() - start) / copies * STREAMS / 4

    return run


def torch_python() -> str | None:
    """A Python that has torch."""
    chosen = os.environ.get("PCQ_TORCH_PYTHON")
    return chosen or (sys.executable if importlib.util.find_spec("torch") else None)


def torchs_own(python: str, name: str, threads: int, copies: int) -> Timed:
    """PyTorch's learnable fake quantization, in a process that waits to be asked."""
    script = Path(__file__).with_name("torch_fake_quantize.py")
    command = [python, str(script), f"{threads}", name, f"{copies}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    asked, said = process.stdin, process.stdout
    print(f"PyTorch {said.readline().strip()}", flush=True)

    def run() -> float:
        asked.write("\n")
        asked.flush()
        return float(said.readline())

    return run


def measure(threads: int, repetitions: int) -> dict[str, float]:
    """All figures with so many threads, in this process; milliseconds, and ratios."""
    import paddle

    import paddle_custom_quant as pcq
    from paddle_custom_quant import kernels

    kept = pcq.keep_memory()
    if not kernels.available():
        raise SystemExit("the C++ operators do not compile here: nothing to measure")
    print(f"\n{threads} thread(s), Paddle {paddle.__version__}, memory kept: {kept}")
    figures = {}
    for name, shape in SHAPES.items():
        copies = 2 if name == "64x64x56x56" else 8
        with pcq.legacy_static():
            runs = {"floor": floor(shape, threads, copies), **programs(shape, copies)}
            python = torch_python()
            if python:
                runs["PyTorch learnable"] = torchs_own(python, name, threads, copies)
            found: dict[str, list[float]] = {kernel: [] for kernel in runs}
            for repetition in range(repetitions + 2):
                # What ran before decides what the cache holds: no kernel always follows the same.
                for kernel in random.Random(repetition).sample(list(runs), len(runs)):
                    if threads > 1:
                        time.sleep(CALM)
                    seconds = runs[kernel]()
                    if repetition > 1:  # the first two also take memory from the system
                        found[kernel].append(seconds)
        times = {kernel: 1e3 * median(seconds) for kernel, seconds in found.items()}
        figures.update(report(name, threads, times))
    return figures


def report(name: str, threads: int, times: dict[str, float]) -> dict[str, float]:
    """Print the table of one shape; its figures by name."""
    others = {kernel: ms for kernel, ms in times.items() if kernel.startswith(("Paddle", "PyT"))}
    print(f"{name:24} {'ms':>8} {'of floor':>9}", *(f"{kernel:>22}" for kernel in others))
    figures = {}
    for kernel, ms in times.items():
        streams = DOREFA_STREAMS if kernel == "dorefa" else STREAMS
        ratio = ms / (times["floor"] * streams / STREAMS)
        over = [other / ms for other in others.values()]
        faster = [f"{value:20.1f} x" for value in over] if kernel not in others else []
        print(f"{kernel:24} {ms:8.2f} {ratio:9.2f}", *faster, flush=True)
        label = f"{kernel}, {name}, {threads} thread(s)"
        figures[f"{label}: ms"] = round(ms, 3)
        if any(kernel.startswith(start) for start in LIMITS):
            figures[f"{label}: of the floor"] = round(ratio, 3)
        if kernel.startswith(("uniform", "lsq", "pact")):
            for other, value in zip(others, over):
                figures[f"{label}: times as fast as {other}"] = round(value, 2)
    return figures


def limits(figures: dict[str, float]) -> dict[str, list[Any]]:
    """["<=" or ">=", the limit] of each figure that has one."""
    found: dict[str, list[Any]] = {}
    for label in figures:
        if label.endswith("of the floor"):
            kernel = next(start for start in LIMITS if label.startswith(start))
            found[label] = ["<=", LIMITS[kernel]]
        elif "times as fast as" in label:
            found[label] = [">=", OVER_TORCH if "PyTorch" in label else OVER_PADDLE]
    return found


def main() -> int:
    """Measure with one thread and with two, each in its own process; 1 if a limit is missed."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--quick", action="store_true", help="three repetitions, no limits")
    options.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    repetitions = 3 if given.quick else 21
    if given.threads:
        print(json.dumps(measure(given.threads, repetitions)))
        return 0
    load = os.getloadavg()[0]
    print(f"load of the machine before: {load:.1f} on {os.cpu_count()} cores")
    figures: dict[str, float] = {}
    for threads in (1, 2):
        command = [sys.executable, __file__, "--threads", f"{threads}"]
        process = subprocess.Popen(
            command + ["--quick"] * given.quick,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": f"{threads}"},
        )
        assert process.stdout
        last = ""
        for line in process.stdout:
            print(last, end="", flush=True)
            last = line
        if process.wait():
            return process.returncode
        figures.update(json.loads(last))
    bound = {} if given.quick else limits(figures)
    ok = all(
        figures[label] <= limit if side == "<=" else figures[label] >= limit
        for label, (side, limit) in bound.items()
    )
    print(json.dumps({"figures": figures, "limits": bound, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
