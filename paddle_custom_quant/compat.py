"""Everything that differs between Paddle 2.6 and Paddle 3, and nowhere else.

Quantization-aware training edits programs of the old kind (``paddle.base.framework.Program``).
Paddle 2.6 makes no others; Paddle 3 makes them only when told to (:func:`legacy_static`), and
many of its functions then refuse to read them (:func:`old_operators` lets them).
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Callable, Optional

import paddle
from paddle.base import framework
from paddle.base.layer_helper import LayerHelper

from .compat_operators import OLD_OPERATORS, OldOperator

PADDLE3 = int(paddle.__version__.split(".")[0]) != 2

_WITHOUT_GRADIENT = ("bool", "uint8", "int8", "int16", "int32", "int64")
_HOW = "write `with pcq.legacy_static(): ...` around the code that builds and runs the program"


@contextmanager
def legacy_static() -> Iterator[None]:
    """Static mode with programs of the old kind, for the extent of a ``with`` block.

    On Paddle 3 the functions that would refuse such programs accept them inside the block. The
    default programs are left as they are. Mode, kind of program and gradient recording are put
    back on leaving, however the block is left; blocks can be nested.
    """
    was_dynamic = paddle.in_dynamic_mode()
    recorded_gradients = paddle.is_grad_enabled()
    paddle.enable_static()
    try:
        with _old_programs(), old_operators():
            yield
    finally:
        if was_dynamic:
            paddle.disable_static()
            paddle.set_grad_enabled(recorded_gradients)
        else:
            paddle.enable_static()


def in_legacy_static() -> bool:
    """Whether operators called now are appended to a program of the old kind."""
    return not paddle.in_dynamic_mode() and not (PADDLE3 and framework.in_pir_mode())


def require_legacy_static(program: Optional[Any] = None) -> None:
    """Check that programs of the old kind can be built here, and that ``program`` is one.

    Args:
        program: the program about to be edited, if there is one.

    Raises:
        TypeError: ``program`` is not a program of the old kind.
        ValueError: Paddle is in dynamic mode, or makes programs of the new kind.
    """
    if program is not None and not isinstance(program, framework.Program):
        kind = f"{type(program).__module__}.{type(program).__qualname__}"
        raise TypeError(f"program must be a static program of the old kind, got {kind}: {_HOW}.")
    if paddle.in_dynamic_mode():
        raise ValueError(f"Paddle is in dynamic mode, a static program is needed: {_HOW}.")
    if not in_legacy_static():
        raise ValueError(f"Paddle makes programs of its new kind (PIR) here: {_HOW}.")


def detach(x: Any) -> Any:
    """The same values, through which no gradient flows."""
    return x.detach()


@contextmanager
def old_operators() -> Iterator[None]:
    """Let Paddle 3's functions work on variables of old programs, as they do on Paddle 2.6.

    A no-op on Paddle 2.6. Calls with other arguments reach Paddle unchanged. Can be nested and
    used from several threads; the last to leave puts everything back.
    """
    if not PADDLE3:
        yield
        return
    _patch.enter()
    try:
        yield
    finally:
        _patch.leave()


def _old_programs() -> Any:
    return paddle.pir_utils.OldIrGuard() if PADDLE3 else nullcontext()


def _is_old(value: Any) -> bool:
    # isinstance() is overridden by Variable and says yes to dynamic-graph tensors.
    return issubclass(type(value), framework.Variable)


def _append(name: str, operator: OldOperator, arguments: dict[str, Any]) -> Any:
    """Append ``operator`` to the current program and return its output."""
    values = {**arguments, **operator.adapt(arguments)}
    helper = LayerHelper(name, name=arguments.get("name"))
    output = arguments.get("out")
    if output is None:
        dtype = operator.dtype or values.get("dtype") or values["x"].dtype
        output = helper.create_variable_for_type_inference(dtype)
    helper.append_op(
        type=operator.type,
        inputs=_by_slot(operator.inputs, values),
        outputs={operator.output: output},
        attrs=_by_slot(operator.attrs, values),
    )
    if paddle.base.data_feeder.convert_dtype(output.dtype) in _WITHOUT_GRADIENT:
        output.stop_gradient = True
    return output


def _by_slot(slots: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {slot: values[name] for name, slot in slots.items() if values.get(name) is not None}


def _dispatcher(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """A function that appends the old operator for old variables and else calls ``original``."""
    operator = OLD_OPERATORS[name]
    function = getattr(paddle, name, None) or getattr(paddle.nn.functional, name)
    signature = inspect.signature(function)

    @functools.wraps(original)
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        if not any(map(_is_old, args)) and not any(map(_is_old, kwargs.values())):
            return original(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return _append(name, operator, dict(bound.arguments))

    return dispatch


class _Patch:
    """Puts the dispatchers in the place of Paddle's built-in functions, and takes them out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._undo: list[tuple[Any, str, Any]] = []

    def enter(self) -> None:
        with self._lock:
            if self._depth == 0:
                for owner, name, dispatcher in _places(len(sys.modules)):
                    self._undo.append((owner, name, vars(owner)[name]))
                    setattr(owner, name, dispatcher)
            self._depth += 1

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                while self._undo:
                    setattr(*self._undo.pop())


@functools.lru_cache(maxsize=1)
def _places(modules: int) -> list[tuple[Any, str, Callable[..., Any]]]:
    """(owner, name, dispatcher) of every module or class of Paddle that holds a built-in.

    ``modules`` is the number of loaded modules: the search is made anew when it changes.
    """
    originals = {name: getattr(paddle._C_ops, name) for name in OLD_OPERATORS}
    dispatchers = {name: _dispatcher(name, original) for name, original in originals.items()}
    owners = [framework.Variable]
    owners += [m for name, m in list(sys.modules.items()) if name.startswith("paddle.")]
    return [
        (owner, name, dispatchers[name])
        for owner in owners
        for name, original in originals.items()
        if vars(owner).get(name) is original
    ]


_patch = _Patch()

__all__ = [
    "PADDLE3",
    "detach",
    "in_legacy_static",
    "legacy_static",
    "old_operators",
    "require_legacy_static",
]
