"""Freed memory stays with the process; each case in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import pytest

from paddle_custom_quant import keep_memory as exported
from paddle_custom_quant.keep_memory import keep_memory

GLIBC = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")

# Page faults of forward and backward on 4 MB, once the process has what it needs.
FAULTS = """
import resource
import paddle
import paddle_custom_quant as pcq
kept = {call}
x = paddle.ones([1 << 20])
x.stop_gradient = False
for step in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    y = paddle.nn.functional.relu(x) * 2.0
    y.backward()
    x.clear_grad()
    del y
    if step == 8:
        after_warming = before
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - after_warming)
"""


def run(code: str) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(not GLIBC, reason="the GNU C library alone has these settings")
def test_pages_are_faulted_in_once() -> None:
    kept, faults = run(FAULTS.format(call="pcq.keep_memory()"))
    _, faults_without = run(FAULTS.format(call="None"))
    assert kept == "True"
    assert int(faults) < int(faults_without) / 10, (faults, faults_without)


@pytest.mark.parametrize("missing", ["gnu_get_libc_version", "mallopt"])
def test_another_c_library_is_left_alone(missing: str, monkeypatch: Any) -> None:
    class Library:
        def __init__(self, name: Any) -> None:
            for function in {"gnu_get_libc_version", "mallopt"} - {missing}:
                setattr(self, function, self.never)

        def never(self, *args: Any) -> int:
            raise AssertionError("nothing is to be called")

    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert keep_memory() is False


def test_another_system_is_left_alone(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_memory() is False


@pytest.mark.skipif(not GLIBC, reason="the GNU C library alone has these settings")
def test_settings_without_effect_are_reported() -> None:
    """As with an allocator in malloc's place: blocks are still mapped anew."""
    found = run(
        "import ctypes\n"
        "from paddle_custom_quant import keep_memory as _\n"
        "import sys\n"
        "module = sys.modules['paddle_custom_quant.keep_memory']\n"
        "real = ctypes.CDLL\n"
        "class Deaf:\n"
        "    def __init__(self, name):\n"
        "        libc = real(name)\n"
        "        self.gnu_get_libc_version = libc.gnu_get_libc_version\n"
        "        self.malloc, self.free = libc.malloc, libc.free\n"
        "        self.mallopt = lambda name, value: 1\n"
        "ctypes.CDLL = Deaf\n"
        "print(module.keep_memory())\n"
    )
    assert found == ["False"]


def test_it_is_exported() -> None:
    assert exported is keep_memory
