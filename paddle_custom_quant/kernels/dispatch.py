"""Choose between a composed formula and its C++ operator, call by call."""

from __future__ import annotations

import functools
from typing import Any, Callable

import paddle

from .loading import allowed_in_programs, available

Formula = Callable[..., Any]


def with_kernel(kernel: Formula) -> Callable[[Formula], Formula]:
    """Decorate a composed formula whose C++ operator is ``kernel``, of the same signature.

    The operator serves in the dynamic graph, and in programs inside ``kernels.in_programs()``,
    where all tensors are float32 and on the CPU and it is available; the composed formula serves
    everywhere else, and is reachable as ``.composed``.
    """

    def decorate(composed: Formula) -> Formula:
        @functools.wraps(composed)
        def either(*args: Any, **kwargs: Any) -> Any:
            chosen = kernel if serves(*args, *kwargs.values()) else composed
            return chosen(*args, **kwargs)

        either.composed = composed  # type: ignore[attr-defined]
        return either

    return decorate


def serves(*values: Any) -> bool:
    """Whether C++ operators can take these values; what is not a tensor does not matter."""
    mode = paddle.in_dynamic_mode() or allowed_in_programs()
    return mode and all(map(_fits, values)) and available()


def _fits(value: Any) -> bool:
    if not hasattr(value, "stop_gradient"):
        return True
    if value.dtype != paddle.float32:
        return False
    if paddle.in_dynamic_mode():
        return bool(value.place.is_cpu_place())
    return str(paddle.device.get_device()).startswith("cpu")


__all__ = ["serves", "with_kernel"]
