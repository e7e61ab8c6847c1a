"""Whether the C++ operators serve in this process: they are loaded when first asked for."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from paddle.utils.cpp_extension import load_op_meta_info_and_register_op

from .build import BuildError, library

_log = logging.getLogger("paddle_custom_quant")
_lock = threading.Lock()
_loaded: bool | None = None
_in_programs: ContextVar[bool] = ContextVar("pcq_kernels_in_programs", default=False)


def available() -> bool:
    """Whether the C++ operators serve: compiled (a few seconds, once a machine) and loaded.

    If that fails, one line on the ``paddle_custom_quant`` log says why and what to do, and the
    answer is no from then on. ``PCQ_KERNELS=0`` in the environment switches them off without a
    word.
    """
    global _loaded
    if os.environ.get("PCQ_KERNELS") == "0":
        return False
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _load()
    return _loaded


@contextmanager
def in_programs(serve: bool = True) -> Iterator[None]:
    """Let the C++ operators serve in static programs too (or not), in a ``with`` block.

    By default they serve in the dynamic graph alone: whoever loads a saved program that holds one
    needs this package and a compiler, so only what trains and is not meant to be saved may have
    them.
    """
    token = _in_programs.set(serve)
    try:
        yield
    finally:
        _in_programs.reset(token)


def allowed_in_programs() -> bool:
    """Whether :func:`in_programs` is in force."""
    return _in_programs.get()


def _load() -> bool:
    path = None
    try:
        path = library()
        load_op_meta_info_and_register_op(str(path))
        return True
    except BuildError as error:
        reason = str(error)
    except Exception as error:
        # Paddle raises what its loader meets as errors of several kinds.
        said = next((line.strip() for line in str(error).splitlines() if ".so" in line), "")
        reason = f"{path} does not load ({said or type(error).__name__}): delete it"
    _log.warning(
        "The C++ quantization operators are off, slower composed ones serve: %s; "
        "PCQ_KERNELS=0 leaves them off without this line.",
        reason,
    )
    return False


__all__ = ["allowed_in_programs", "available", "in_programs"]
