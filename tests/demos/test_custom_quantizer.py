"""demos/custom_quantizer.py: a method in a file outside the package."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.quantizers.evaluate import evaluate

DEMO = Path(__file__).parents[2] / "demos" / "custom_quantizer.py"


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("custom_quantizer_demo", DEMO)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_formula_and_gradients(demo):
    """Of x: 1 between the bounds. Of a bound: what is clipped, and the rounding error in steps."""
    low, high, steps = -0.6, 0.9, 6.0
    x = np.array([-2.0, -0.55, -0.1, 0.0, 0.31, 0.8, 5.0])
    dy = np.array([1.0, -2.0, 0.5, 3.0, 1.5, -1.0, 2.0])
    start = {"low": low, "high": high}
    result = evaluate(demo.TwoBounds(3), x, dy, start=start)
    step = (high - low) / steps
    clipped = np.clip(x, low, high)
    u = np.round(clipped / step)
    np.testing.assert_allclose(result.y, u * step, rtol=1e-6)
    inside = (x > low) & (x < high)
    np.testing.assert_allclose(result.dx, dy * inside, rtol=1e-6)
    by_step = (dy * (u - clipped / step)).sum() / steps
    np.testing.assert_allclose(result.gradients["low"], [dy[x < low].sum() - by_step], rtol=1e-4)
    np.testing.assert_allclose(result.gradients["high"], [dy[x > high].sum() + by_step], rtol=1e-4)


def test_it_trains():
    command = [sys.executable, str(DEMO), "--iterations", "60", "--bits", "4"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    top1 = [float(value) for value in re.findall(r"([\d.]+) % top-1", done.stdout)]
    assert len(top1) == 2 and min(top1) > 60, done.stdout
    assert "TwoBounds, 4 bits" in done.stdout


def test_bits_that_leave_no_step():
    command = [sys.executable, str(DEMO), "--iterations", "1", "--bits", "0"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "error:" in done.stderr and "Traceback" not in done.stderr
