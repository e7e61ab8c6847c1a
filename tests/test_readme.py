"""What README and CONTRIBUTING say is so."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import yaml

from paddle_custom_quant.quantizers import base, functional
from paddle_custom_quant.target import WEIGHT, Target
from paddle_custom_quant.training.recipe_file import parse_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_script_runs_and_trains(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    before, after = script.split("    ...  #")
    _, after = after.split("\n", 1)
    train = (
        "    import numpy as np\n"
        "    images = np.random.default_rng(0).uniform(-1, 1, (8, 1, 28, 28)).astype('float32')\n"
        "    feed = {'image': images, 'label': np.zeros((8, 1), 'int64')}\n"
        "    def step():\n"
        "        return float(np.ravel(executor.run(train, feed, [loss])[0])[0])\n"
        "    losses = [step() for _ in range(20)]\n"
        "    assert losses[-1] < losses[0], losses\n"
    )
    check = (
        "    scope, levels = paddle.static.global_scope(), []\n"
        "    for op in frozen.global_block().ops:\n"
        "        if op.type in config['quantize_op_types']:\n"
        "            name = op.input('Filter' if op.type == 'conv2d' else 'Y')[0]\n"
        "            values = np.array(scope.find_var(name).get_tensor())\n"
        "            levels.append(len(np.unique(values.round(5))))\n"
        "    assert levels == [3] * 5, levels\n"
    )
    (tmp_path / "script.py").write_text(before + train + after + check)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"script.py", "frozen.pdmodel", "frozen.pdiparams"}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[\w.]+/)+[\w.]+)`", README))))
def test_files_that_are_named_exist(path):
    assert (ROOT / path).exists() or path.startswith("output/")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", README))))
def test_targets_that_are_named_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"pcq\.(\w+(?:\.[A-Z]\w+)?)", README))))
def test_names_that_are_used_exist(name):
    import paddle_custom_quant as value

    for part in name.split("."):
        value = getattr(value, part)


def test_quantizer_in_the_guide_works():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    names: dict[str, Any] = {"dataclass": dataclass, "np": np, **vars(base), **vars(functional)}
    exec(code, names)
    ternary = names["Ternary"]()
    paddle.disable_static()
    target = Target("w", (4,), role=WEIGHT)
    values = np.array([-2.0, -0.3, 0.6, 1.1], np.float32)
    start = ternary.parameters(target, base.Sample(values))["scale"].value
    np.testing.assert_allclose(start, [1.0])
    x, scale = paddle.to_tensor(values), paddle.to_tensor(start)
    x.stop_gradient = scale.stop_gradient = False
    y = ternary.quantize(x, target, scale=scale)
    np.testing.assert_allclose(y.numpy(), [-1, 0, 1, 1])
    y.sum().backward()
    # Inside: 1 to x and round(x) - x to the scale; outside: 0 to x and the bound to the scale.
    np.testing.assert_allclose(x.grad.numpy(), [0, 1, 1, 0])
    np.testing.assert_allclose(scale.grad.numpy(), [-1 + 0.3 + 0.4 + 1], rtol=1e-5)
    grid = ternary.grid(target, values, scale=start)
    assert (grid.qmin, grid.qmax, grid.step[0]) == (-1, 1, 1.0)


def test_the_recipe_that_is_explained_is_one():
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    held = parse_recipe(yaml.safe_load(recipe))
    assert held.title == "resnet-8_cifar10_lsq_w4a4g8_constrained"
