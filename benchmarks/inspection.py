"""How long `inspect` takes, how large its page is, and how soon the page stands in a browser.

    python benchmarks/inspection.py

ResNet-50 as a saved inference model and as a training graph, every convolution and linear layer
with 4-bit LSQ weights and activations. Each command runs in a new process; "beyond the import" is
its CPU time minus that of importing Paddle alone. "Opens" is wall time in headless Chromium from
navigation to the first picture drawn. Least of several rounds: others may use the machine too. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import paddle_custom_quant as pcq  # isort: skip
import paddle
from paddle import static

from paddle_custom_quant.quantizers import LSQ

CPU = paddle.CPUPlace()
CONFIG = {"quantize_op_types": ["conv2d", "matmul_v2"]}
LIMITS = {
    "inspect, beyond the import (s)": 3.0,
    "inspect --html, beyond the import (s)": 5.0,
    "page of the inference model (MB)": 5.0,
    "page of the training graph (MB)": 5.0,
    "training graph opens (s)": 2.0,
}
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1500,950",
)  # fmt: skip
# Resolves once the browser has drawn a frame after the page's own scripts.
DRAWN = """
const done = arguments[arguments.length - 1];
requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
"""
FRAMES = 60
ZOOM = """
const [count, done] = arguments;
const graph = document.getElementById('graph'), box = graph.getBoundingClientRect();
const start = performance.now();
let frames = 0;
function step() {
  if (frames === count) return done((performance.now() - start) / frames);
  frames += 1;
  graph.dispatchEvent(new WheelEvent('wheel', {
    deltaY: frames % 2 ? 40 : -40, deltaX: 25, ctrlKey: frames % 4 < 2, bubbles: true,
    cancelable: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2,
  }));
  requestAnimationFrame(step);
}
requestAnimationFrame(step);
"""


def save_models(folder: Path) -> None:
    """ResNet-50: the quantized test program as an inference model, the training program."""
    with pcq.legacy_static():
        image = static.data("image", [None, 3, 224, 224])
        label = static.data("label", [None, 1], "int64")
        logits = paddle.vision.models.resnet50()(image)
        main = static.default_main_program()
        test = main.clone(for_test=True)
        loss = paddle.nn.functional.cross_entropy(logits, label)
        paddle.optimizer.Momentum(0.01, 0.9).minimize(loss)
        executor = static.Executor(CPU)
        executor.run(static.default_startup_program())
        settings: dict[str, Any] = {
            "weight_quantize_func": LSQ(4, per_channel=True),
            "act_quantize_func": LSQ(4, signed=False),
            "optimizer_func": lambda: paddle.optimizer.Momentum(0.001, 0.9),
        }
        train = pcq.quant_aware(main, CPU, CONFIG, return_program=True, **settings)
        test = pcq.quant_aware(test, CPU, CONFIG, for_test=True, **settings)
        block = test.global_block()
        ends = [block.var(image.name)], [block.var(logits.name)]
        static.save_inference_model(str(folder / "inference"), *ends, executor, program=test)
        static.save(train, str(folder / "train"))


def timed(*command: str) -> tuple[float, float]:
    """Wall and CPU seconds of a new Python process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def least(rounds: int, *command: str) -> tuple[float, float]:
    """Least wall and CPU seconds of some rounds."""
    walls, seconds = zip(*(timed(*command) for _ in range(rounds)))
    return min(walls), min(seconds)


def opened(page: Path, rounds: int) -> tuple[float, float, int] | None:
    """Seconds until the page stands, milliseconds of a frame while it moves, operators in it."""
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    try:
        from selenium import webdriver
    except ImportError:
        return None
    if not driver or not chromium:
        return None
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=driver)
    )
    try:
        times, frames = [], []
        for _ in range(rounds):
            browser.get("about:blank")
            browser.get(page.as_uri())
            times.append(browser.execute_async_script(DRAWN) / 1000)
            drawn = browser.execute_script("return graphPage.counts().operators")
            frames.append(browser.execute_async_script(ZOOM, FRAMES))
        return min(times), min(frames), drawn
    finally:
        browser.quit()


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Every figure, by name."""
    save_models(folder)
    command = "-m", "paddle_custom_quant.cli", "inspect"
    model, page = str(folder / "inference"), folder / "inference.html"
    train_page = folder / "train.html"
    base = least(rounds, "-c", "import paddle")
    package = least(rounds, "-c", "import paddle_custom_quant.cli")
    plain = least(rounds, *command, model)
    drawn = least(rounds, *command, model, "--html", str(page))
    timed(*command, str(folder / "train"), "--html", str(train_page))
    figures = {
        "import paddle (s)": base[1],
        "import paddle_custom_quant (s)": package[1],
        "inspect, beyond the import (s)": plain[1] - base[1],
        "inspect, beyond the import, wall (s)": plain[0] - base[0],
        "inspect --html, beyond the import (s)": drawn[1] - base[1],
        "inspect --html, beyond the import, wall (s)": drawn[0] - base[0],
        "page of the inference model (MB)": page.stat().st_size / 1e6,
        "page of the training graph (MB)": train_page.stat().st_size / 1e6,
    }
    seen = opened(train_page, rounds)
    if seen is not None:
        figures["training graph opens (s)"] = seen[0]
        figures["training graph, a frame while moving (ms)"] = seen[1]
        figures["training graph, operators"] = seen[2]
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> int:
    """Measure and print; 1 if a limit does not hold."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="one round")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), 1 if given.quick else given.rounds)
    limits = {name: ["<=", bound] for name, bound in LIMITS.items() if name in figures}
    for name, value in figures.items():
        bound = f"   (at most {LIMITS[name]:g})" if name in limits else ""
        print(f"{name:46} {value:8.2f}{bound}")
    ok = all(figures[name] <= LIMITS[name] for name in limits)
    print(json.dumps({"figures": figures, "limits": limits, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
