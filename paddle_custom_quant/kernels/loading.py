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
_composed: ContextVar[bool] = ContextVar("pcq_composed", default=False)


def available() -> bool:
    """Whether the C++ operators serve: compiled (a few seconds, once a machine) and loaded.

    If that fails, one line on the ``paddle_custom_quant`` log says why and what to do, and the
    answer is no from then on. ``PCQ_KERNELS=0`` in the environment, and :func:`composed_only`,
    switch them off without a word.
    """
    global _loaded
    if _composed.get() or os.environ.get("PCQ_KERNELS") == "0":
        return False
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _load()
    return _loaded


@contextmanager
def composed_only() -> Iterator[None]:
    """Paddle's own operators alone, in a ``with`` block: for programs that others are to run."""
    token = _composed.set(True)
    try:
        yield
    finally:
        _composed.reset(token)


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


__all__ = ["available", "composed_only"]
