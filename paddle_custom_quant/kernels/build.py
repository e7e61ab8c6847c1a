"""Compile the C++ operators where they are first used, and keep the result in a cache.

The library is bound to Paddle's version, to the CPU and to the compiler; all three, the flags and
the sources are in its file name, so that nothing stale is ever loaded.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import paddle

SOURCES = Path(__file__).parent
OPERATORS = ("fake_quantize.cc", "dorefa_weight.cc", "dsq.cc", "nearest_level.cc")

# Without errno and traps the compiler vectorises; NaN and infinity keep their meaning, and a
# product is rounded before it is added to, as in the composed operators.
_FLAGS = (
    "-std=c++17",
    "-fPIC",
    "-w",
    "-O3",
    "-march=native",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-DPADDLE_WITH_CUSTOM_KERNEL",
)
_COMPILERS = ("g++", "c++", "clang++")
_LONGEST = 600.0


class BuildError(Exception):
    """Why there is no library, and what to do, in one line."""


def library() -> Path:
    """The compiled operators for this machine, compiled now unless they are in the cache.

    Of processes that come at the same time one compiles and the others wait for it.

    Raises:
        BuildError: there is no compiler, it fails, or the cache cannot be written.
    """
    if not sys.platform.startswith("linux"):
        raise BuildError(f"they are for Linux, this is {sys.platform}")
    compiler = _compiler()
    target = cache_folder() / f"operators-{_key(compiler)}.so"
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(target.parent):
            if target.exists():
                return target
            with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
                os.replace(_compile(compiler, Path(folder)), target)
    except OSError as error:
        raise BuildError(
            f"{target.parent} cannot be written ({error.strerror or error}): "
            f"set PCQ_CACHE to a folder that can"
        ) from error
    return target


def cache_folder() -> Path:
    """``PCQ_CACHE``, or ``paddle_custom_quant`` in the user's cache folder."""
    chosen = os.environ.get("PCQ_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "paddle_custom_quant"


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes out, until this one has finished or ended."""
    held = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks: each then compiles its own, the last one stays.
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _compiler() -> tuple[str, ...]:
    """The command of the C++ compiler: ``CXX``, or the first that is installed."""
    chosen = os.environ.get("CXX")
    if chosen:
        return tuple(shlex.split(chosen))
    found = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if found is None:
        raise BuildError("no C++ compiler is installed: install g++, or set CXX to a compiler")
    return (found,)


def _key(compiler: Sequence[str]) -> str:
    """What the library depends on, as a short hash."""
    parts = [
        paddle.version.full_version,
        paddle.version.commit,
        _cpu(),
        *compiler,
        _run([*compiler, "--version"]),
        *_FLAGS,
    ]
    digest = hashlib.sha256("\n".join(parts).encode())
    for source in sorted([*SOURCES.glob("*.cc"), *SOURCES.glob("*.h")]):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:20]


@functools.lru_cache(maxsize=1)
def _cpu() -> str:
    """Model and instruction sets of the CPU."""
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    wanted = ("model name", "flags", "CPU part", "Features")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(wanted)))


def _compile(compiler: Sequence[str], folder: Path) -> Path:
    """Compile all operators as one unit into ``folder``."""
    home = Path(paddle.__file__).parent
    unit, compiled, linked = folder / "unit.cc", folder / "unit.o", folder / "unit.so"
    unit.write_text("".join(f'#include "{name}"\n' for name in OPERATORS))
    include = [f"-I{SOURCES}", f"-I{home}/include", f"-I{home}/include/third_party"]
    _run([*compiler, *_FLAGS, *include, "-c", f"{unit}", "-o", f"{compiled}"])
    # The OpenMP runtime that Paddle has loaded: with another one, two pools of threads would
    # compete for the cores.
    openmp = home / "libs" / "libiomp5.so"
    _run(
        [
            *(*compiler, "-shared", f"{compiled}", "-o", f"{linked}"),
            *(f"-L{home}/base", "-l:libpaddle.so"),
            f"{openmp}" if openmp.exists() else "-fopenmp",
            # Unknown symbols are an error on loading, not a crash on use.
            "-Wl,-z,now",
        ]
    )
    return linked


def _run(command: Sequence[str]) -> str:
    """What ``command`` prints."""
    what = f"the compiler {command[0]!r}"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LONGEST,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise BuildError(
            f"{what} does not start ({error.strerror}): set CXX to one that does"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{what} took more than {_LONGEST:.0f} s: set CXX to another") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in said if "error" in line), said[0] if said else "no message")
        raise BuildError(
            f"{what} failed with status {done.returncode} ({reason.strip()}): "
            f"set CXX to a C++17 compiler that works"
        )
    return done.stdout


__all__ = ["OPERATORS", "SOURCES", "BuildError", "cache_folder", "library"]
