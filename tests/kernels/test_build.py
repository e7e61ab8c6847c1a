"""Compiling, caching and doing without."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from paddle_custom_quant import kernels
from paddle_custom_quant.kernels import build, loading
from paddle_custom_quant.quantizers.fused import fake_quantize
from tests.kernels.agreement import needs_kernels

# Stands for a compiler: answers --version, and writes what it is told to, slowly.
FAKE = """#!/bin/sh
case "$1" in
--version) echo "fake 1.0" ;;
-shared) printf half > "$4"; sleep 0.2; printf ' and half' >> "$4" ;;
*) : ;;
esac
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a process that has not loaded the operators yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PCQ_CACHE", str(folder))
    monkeypatch.delenv("PCQ_KERNELS", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(loading, "_loaded", None)
    return folder


@pytest.fixture
def fake_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that takes no time to start and leaves no library."""
    path = tmp_path / "c++"
    path.write_text(FAKE)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(path))
    return path


def the_one_line(caplog: pytest.LogCaptureFixture) -> str:
    """Ask three times, quantize, and return the only line that was logged."""
    with caplog.at_level(logging.WARNING, "paddle_custom_quant"):
        assert not any(kernels.available() for _ in range(3))
        x = paddle.to_tensor([0.3, 1.7])
        np.testing.assert_array_equal(fake_quantize(x, 1.0, 0, 3).numpy(), [0, 2])
    assert len(caplog.records) == 1
    line = caplog.records[0].getMessage()
    assert "\n" not in line and line.startswith("The C++ quantization operators are off")
    return line


def test_no_compiler(cache: Path, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setenv("PATH", str(cache))
    assert "no C++ compiler is installed: install g++" in the_one_line(caplog)


def test_compiler_that_does_not_exist(cache: Path, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++ -m64")
    line = the_one_line(caplog)
    assert "'/nowhere/g++' does not start (No such file or directory): set CXX" in line


def test_compiler_that_fails(cache: Path, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setenv("CXX", "/bin/false")
    assert "'/bin/false' failed with status 1 (no message): set CXX" in the_one_line(caplog)


def test_compiler_that_refuses_the_sources(cache: Path, fake_compiler: Path, caplog: Any) -> None:
    """Its first error is in the line; nothing is left in the cache."""
    lines = "echo note >&2; echo 'unit.cc:1: error: no such header' >&2; exit 4"
    fake_compiler.write_text(FAKE.replace("*) :", f"*) {lines}"))
    line = the_one_line(caplog)
    assert "status 4 (unit.cc:1: error: no such header)" in line
    assert list(cache.iterdir()) == []


def test_cache_that_cannot_be_written(
    cache: Path, fake_compiler: Path, monkeypatch: Any, caplog: Any
) -> None:
    cache.write_text("a file in the place of the folder")
    line = the_one_line(caplog)
    assert f"{cache} cannot be written (" in line and "set PCQ_CACHE" in line


def test_library_that_does_not_load(cache: Path, fake_compiler: Path, caplog: Any) -> None:
    line = the_one_line(caplog)
    (library,) = cache.glob("operators-*.so")
    assert library.read_text() == "half and half"
    assert f"{library} does not load (" in line and "delete it" in line


@pytest.mark.parametrize("broken", [True, False])
def test_switched_off_without_a_word(
    broken: bool, cache: Path, monkeypatch: Any, caplog: Any
) -> None:
    if broken:
        monkeypatch.setenv("CXX", "/bin/false")
    monkeypatch.setenv("PCQ_KERNELS", "0")
    assert not kernels.available()
    assert not caplog.records and not cache.exists()


def test_many_builders_at_once_never_show_half_a_library(cache: Path, fake_compiler: Path) -> None:
    seen = set()
    target = {build.library()}.pop()
    target.unlink()
    threads = [threading.Thread(target=build.library) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if target.exists():
            seen.add(target.read_text())
    assert seen <= {"half and half"} and target.read_text() == "half and half"
    assert list(cache.iterdir()) == [target]


def test_one_compiles_and_the_others_wait(cache: Path, fake_compiler: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    fake_compiler.write_text(FAKE.replace("-shared)", f"-shared) echo >> {calls};"))
    threads = [threading.Thread(target=build.library) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls.read_text() == "\n"


def test_what_the_library_depends_on_is_in_its_name(
    cache: Path, fake_compiler: Path, monkeypatch: Any, tmp_path: Path
) -> None:
    names = {build.library()}
    assert names == {build.library()}
    for change in ("version", "cpu", "compiler", "source"):
        with monkeypatch.context() as patch:
            if change == "version":
                patch.setattr(paddle.version, "full_version", "9.9")
            elif change == "cpu":
                patch.setattr(build, "_cpu", lambda: "another")
            elif change == "compiler":
                fake_compiler.write_text(FAKE.replace("fake 1.0", "fake 2.0"))
            else:
                (tmp_path / "one.cc").write_text("// changed")
                patch.setattr(build, "SOURCES", tmp_path)
            names.add(build.library())
    assert len(names) == 5


def test_cache_folder(monkeypatch: Any) -> None:
    monkeypatch.delenv("PCQ_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert build.cache_folder() == Path("/some/cache/paddle_custom_quant")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert build.cache_folder() == Path.home() / ".cache" / "paddle_custom_quant"


USE = """
import paddle
from paddle_custom_quant import kernels
from paddle_custom_quant.quantizers.fused import fake_quantize
x = paddle.arange(200000, dtype="float32").reshape([4, -1]) / 7919
x.stop_gradient = False
step = paddle.to_tensor([0.3], stop_gradient=False)
y = fake_quantize(x, step, -8, 100, rule="lsq")
(y * y).sum().backward()
print(kernels.available(), float(step.grad).hex(), float(y.sum()).hex())
"""


@needs_kernels
def test_two_processes_fill_an_empty_cache(cache: Path) -> None:
    """Really compiled, once; and sums do not depend on the number of threads."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", USE],
            env={**os.environ, "OMP_NUM_THREADS": threads},
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in ("1", "2")
    ]
    said = {process.communicate(timeout=500)[0] for process in processes}
    assert len(said) == 1 and said.pop().startswith("True ")
    assert len(list(cache.iterdir())) == 1
