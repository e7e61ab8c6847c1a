"""How close and how small: trained nets in every engine, as a table.

    python benchmarks/deployment.py --data FOLDER [--work DIR] [--net NAME] [--method NAME]

Trains each net a little in float, then with each method, rounds its biases, exports and compares.
FOLDER holds mnist/ and cifar10/. ``--work DIR`` keeps what was trained. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import paddle_custom_quant as pcq  # isort: skip
from deployment_nets import METHODS, NETS, Data, train_float, train_quantized
from paddle import static

from paddle_custom_quant.deploy import compare, load_program, round_biases

INTEGER_ENGINES = ("paddle-onednn-int8", "onnxruntime", "openvino")


def train_all(arguments: argparse.Namespace) -> None:
    """Each net in a process of its own: memory that is kept is given back with it."""
    spawn = multiprocessing.get_context("spawn")
    for name in arguments.net or NETS:
        for method in (None, *(arguments.method or METHODS)):
            steps = NETS[name].float_steps, NETS[name].steps
            given = (name, method, steps, arguments.data, arguments.work)
            process = spawn.Process(target=train, args=given)
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"training {name} {method or 'float'} failed.")


def train(name: str, method: str | None, steps: tuple[int, int], folder: Path, work: Path) -> None:
    """Train a float net, or one that is quantized by ``method``."""
    pcq.keep_memory()
    NETS[name] = replace(NETS[name], float_steps=steps[0], steps=steps[1])
    data = Data(NETS[name].data, folder)
    with pcq.legacy_static(), static.scope_guard(static.Scope()):
        if method is None:
            train_float(name, data, work)
        else:
            train_quantized(name, method, data, work)


def table(arguments: argparse.Namespace) -> dict[str, float]:
    """Compare every net that was trained, and print the table of docs/deployment.md."""
    rows, figures = [], {}
    for name in arguments.net or NETS:
        data = Data(NETS[name].data, arguments.data)
        images = data.test.inputs(slice(arguments.images))
        for method in arguments.method or METHODS:
            path = arguments.work / name / method / "model"
            if not Path(f"{path}.pdmodel").exists():
                print(f"{name} {method}: not trained", flush=True)
                continue
            with pcq.legacy_static():
                program, scope = load_program(path)
                round_biases(program, scope)
                result = compare(program, scope, images)
            print(f"\n{name} {method}\n{result}", flush=True)
            rows.append(_markdown(name, method, result))
            figures.update(_figures(f"{name} {method}", result))
    head = ["net", "method", "plain: largest", "oneDNN int8", "ONNX Runtime", "OpenVINO", "size"]
    lines = [head, ["---"] * len(head), *rows]
    print("\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return figures


def _figures(label: str, result: Any) -> dict[str, float]:
    found = {f"{label}, plain: largest": result.row("paddle").largest}
    for engine in INTEGER_ENGINES:
        row = result.row(engine)
        if row.ran:
            found[f"{label}, {engine}: top-1 agreement"] = row.top1_agreement
            found[f"{label}, {engine}: integer layers"] = row.integer_layers / row.all_layers
            found[f"{label}, {engine}: size"] = row.size / row.float_size
    return {name: float(f"{value:.6g}") for name, value in found.items()}


def limit_of(figure: str) -> list[Any]:
    """["<=" or ">=", the limit] of a figure."""
    kind = figure.rsplit(": ", 1)[1]
    return {
        "largest": ["<=", 1e-4], "top-1 agreement": [">=", 0.995], "integer layers": [">=", 1],
        "size": ["<=", 0.27],
    }[kind]  # fmt: skip


def _markdown(name: str, method: str, result: Any) -> list[str]:
    plain, onednn = result.row("paddle"), result.row("paddle-onednn-int8")
    cells = [name, method, f"{plain.largest:.1g}"]
    for engine in INTEGER_ENGINES:
        row = result.row(engine)
        layers = f"{row.integer_layers}/{row.all_layers}"
        cells.append(f"{row.top1_agreement:.2%}, {layers}" if row.ran else "-")
    onnx = result.row("onnxruntime")
    ratio = onnx.size / onnx.float_size if onnx.ran else float("nan")
    return [*cells, f"{onednn.size / onednn.float_size:.2f}, {ratio:.2f}"]


def main() -> int:
    """Train, compare, print; 1 if a limit does not hold."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, default=os.environ.get("PCQ_DATA"))
    options.add_argument("--work", type=Path, help="keep trained nets here, and use them again")
    options.add_argument("--net", action="append", choices=list(NETS))
    options.add_argument("--method", action="append", choices=list(METHODS))
    options.add_argument("--images", type=int, default=2000)
    options.add_argument("--quick", action="store_true", help="LeNet, some steps, no limits")
    given = options.parse_args()
    if given.data is None:
        options.error("name the folder that holds mnist/ and cifar10/ with --data, or set PCQ_DATA")
    given.data = Path(given.data)
    if given.quick:
        given.net, given.method, given.images = ["LeNet"], ["lsq-w4a4"], 200
        NETS["LeNet"] = replace(NETS["LeNet"], float_steps=60, steps=20)
    with tempfile.TemporaryDirectory() as folder:
        given.work = Path(folder) if given.quick or given.work is None else given.work
        train_all(given)
        figures = table(given)
    limits = {} if given.quick else {name: limit_of(name) for name in figures}
    ok = all(
        figures[name] <= bound if side == "<=" else figures[name] >= bound
        for name, (side, bound) in limits.items()
    )
    print(json.dumps({"figures": figures, "limits": limits, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
