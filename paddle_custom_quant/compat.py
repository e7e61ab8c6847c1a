"""Everything that differs between Paddle 2.6 and Paddle 3, and nowhere else.

Quantization-aware training edits programs of the old kind (``paddle.base.framework.Program``).
Paddle 2.6 makes no others; Paddle 3 makes them only when told to (:func:`legacy_static`), and
many of its functions then refuse to read them (:func:`old_operators` lets them).
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Callable

import paddle
from paddle.base import framework
from paddle.base.unique_name import UniqueNameGenerator
from paddle.utils import unique_name

from .compat_operators import (
    OLD_FUNCTIONS,
    OLD_OPERATORS,
    OldOperator,
    with_remainder_gradient,
)

PADDLE3 = int(paddle.__version__.split(".")[0]) != 2

_HOW = "write `with pcq.legacy_static(): ...` around the code that builds and runs the program"

# Paddle 3 refuses these between a float and an integer or bool variable, as in x * (x > 0).
_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_OPERATORS = tuple(f"__{name}__" for name in _ARITHMETIC + _COMPARISONS)

# Module or class, attribute, Paddle's function, the function to put there.
_Place = tuple[Any, str, Callable[..., Any], Callable[..., Any]]

# Other argument names that Paddle 3 takes.
_ALIASES = {"input": "x", "other": "y", "dim": "axis"}


@contextmanager
def legacy_static() -> Iterator[None]:
    """Static mode with programs of the old kind, for the extent of a ``with`` block.

    On Paddle 3 the functions that would refuse such programs accept them inside the block. No
    program is created. Mode and kind of program are put back on leaving, however the block is
    left; blocks can be nested.
    """
    was_dynamic = paddle.in_dynamic_mode()
    names = paddle.base.unique_name
    naming = (names.generator, names.dygraph_parameter_name_checker)
    paddle.enable_static()
    try:
        with paddle.pir_utils.OldIrGuard() if PADDLE3 else nullcontext(), old_operators():
            yield
    finally:
        if was_dynamic:
            paddle.disable_static()
            # Paddle starts to number anew: a later layer would have the names of an earlier one.
            names.switch(*naming)
        else:
            paddle.enable_static()


def in_legacy_static() -> bool:
    """Whether operators called now are appended to a program of the old kind."""
    return not paddle.in_dynamic_mode() and not (PADDLE3 and framework.in_pir_mode())


def require_legacy_static(program: Any | None = None) -> None:
    """Check that programs of the old kind can be built here, and that ``program`` is one.

    Args:
        program: the program about to be edited, if there is one.

    Raises:
        TypeError: ``program`` is not a program of the old kind.
        ValueError: Paddle is in dynamic mode, or makes programs of the new kind.
    """
    if isinstance(program, paddle.static.CompiledProgram):
        raise TypeError(
            "program is a CompiledProgram, as quant_aware returns for training: pass the float "
            "program that it was given, or quantize with return_program=True."
        )
    if program is not None and not isinstance(program, framework.Program):
        kind = f"{type(program).__module__}.{type(program).__qualname__}"
        raise TypeError(f"program must be a static program of the old kind, got {kind}: {_HOW}.")
    if paddle.in_dynamic_mode():
        raise ValueError(f"Paddle is in dynamic mode, a static program is needed: {_HOW}.")
    if not in_legacy_static():
        raise ValueError(f"Paddle makes programs of its new kind (PIR) here: {_HOW}.")


def integer_range(bits: int, signed: bool = True) -> dict[str, int]:
    """Attributes that tell ``quantize_linear`` the width.

    Paddle 3 reads ``qmax`` (127 unless set) where Paddle 2.6 reads ``bit_length``.
    """
    if not PADDLE3:
        return {}
    lowest = -(2 ** (bits - 1)) if signed else 0
    return {"qmin": lowest, "qmax": lowest + 2**bits - 1}


def has_onednn() -> bool:
    """Whether this Paddle holds oneDNN's kernels (its function for that was renamed)."""
    core = paddle.base.core
    asked = getattr(core, "is_compiled_with_onednn", None) or core.is_compiled_with_mkldnn
    return bool(asked())


@contextmanager
def prefixed_names(program: Any, prefix: str) -> Iterator[None]:
    """Let generated names start with ``prefix`` (once), numbered from zero.

    Paddle 3 also has a generator for each program.
    """
    generator = _Prefixed(prefix)
    own = program.switch_name_generator_guard(generator) if PADDLE3 else nullcontext()
    with unique_name.guard(generator), own:
        yield


class _Prefixed(UniqueNameGenerator):
    def generate(self, key: str) -> str:
        """A unique name; a key that was generated here keeps its one prefix."""
        return super().generate(key[len(self.prefix) :] if key.startswith(self.prefix) else key)


@contextmanager
def old_operators() -> Iterator[None]:
    """Let Paddle 3's functions work on variables of old programs, as they do on Paddle 2.6.

    On Paddle 2.6 only ``x.detach()`` is replaced. Calls with other arguments reach Paddle
    unchanged. Can be nested and used from several threads; the last to leave puts all back.
    """
    _patch.enter()
    try:
        yield
    finally:
        _patch.leave()


def _is_old(value: Any) -> bool:
    # isinstance() is overridden by Variable and says yes to dynamic-graph tensors.
    return issubclass(type(value), framework.Variable)


def _appending(old_operator: OldOperator, public: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the arguments of Paddle's ``public`` that appends ``old_operator``."""
    signature = inspect.signature(public)

    def append(*args: Any, **kwargs: Any) -> Any:
        kwargs = {
            key if key in signature.parameters else _ALIASES.get(key, key): value
            for key, value in kwargs.items()
        }
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return old_operator.append(bound.arguments)

    return append


def _dispatcher(original: Callable[..., Any], old: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls ``old`` for variables of old programs and else ``original``."""

    @functools.wraps(original)
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        values = (*args, *kwargs.values())
        return (old if any(map(_is_old, values)) else original)(*args, **kwargs)

    return dispatch


def _widening(original: Callable[..., Any]) -> Callable[..., Any]:
    """The binary operator ``original``, which takes a narrower kind of number on its right."""

    def apply(left: Any, right: Any) -> Any:
        if _is_old(right) and _kind(right) < _kind(left):
            right = paddle.cast(right, left.dtype)
        return original(left, right)

    return apply


def _modulo(original: Callable[..., Any]) -> Callable[..., Any]:
    """The operator ``%`` with its gradient."""
    widening = _widening(original)
    return lambda left, right: with_remainder_gradient(widening(left, right), left, right)


def _detached(variable: Any) -> Any:
    """A copy without gradient.

    Paddle's own shares the memory behind the executor's back, which then lets an operator in
    between overwrite it.
    """
    copy = paddle.assign(variable)
    copy.stop_gradient = True
    return copy


def _kind(variable: Any) -> int:
    """0 for bool, 1 for integers, 2 for floating point, 3 for complex."""
    if variable.dtype == paddle.bool:
        return 0
    return 3 if paddle.is_complex(variable) else 2 if paddle.is_floating_point(variable) else 1


class _Patch:
    """Puts the dispatchers in the place of Paddle's functions, and takes them out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._places: list[_Place] = []

    def enter(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._places = _places(len(sys.modules))
                for owner, name, original, dispatcher in self._places:
                    _swap(owner, name, original, dispatcher)
            self._depth += 1

    def leave(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                for owner, name, original, dispatcher in self._places:
                    _swap(owner, name, dispatcher, original)


def _swap(owner: Any, name: str, current: Any, new: Any) -> None:
    # A module may have given the name to something of its own since.
    if vars(owner).get(name) is current:
        setattr(owner, name, new)


def _replacements() -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any]]]:
    """(name, original, what does its work for variables of old programs)."""
    yield "detach", vars(framework.Variable)["detach"], _detached
    if not PADDLE3:
        return
    for name, old_operator in OLD_OPERATORS.items():
        public = getattr(paddle, name, None) or getattr(paddle.nn.functional, name)
        yield name, getattr(paddle._C_ops, name), _appending(old_operator, public)
    for path, old in OLD_FUNCTIONS.items():
        original = operator.attrgetter(path)(paddle)
        if isinstance(old, OldOperator):
            old = _appending(old, original)
        yield path.rpartition(".")[-1], original, old
    for name in _OPERATORS:
        original = vars(framework.Variable)[name]
        yield name, original, (_modulo if name == "__mod__" else _widening)(original)


@functools.lru_cache(maxsize=1)
def _places(loaded: int) -> list[_Place]:
    """Every place that holds a function to replace.

    ``loaded`` is the number of loaded modules: the search is made anew when it changes.
    """
    replacements = [
        (name, original, _dispatcher(original, old)) for name, original, old in _replacements()
    ]
    modules = [m for m in list(sys.modules.values()) if isinstance(m, types.ModuleType)]
    return [
        (owner, name, original, dispatcher)
        for owner in (framework.Variable, *modules)
        for name, original, dispatcher in replacements
        if vars(owner).get(name) is original
    ]


_patch = _Patch()

__all__ = [
    "PADDLE3",
    "has_onednn",
    "in_legacy_static",
    "integer_range",
    "legacy_static",
    "old_operators",
    "prefixed_names",
    "require_legacy_static",
]
