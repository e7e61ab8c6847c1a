"""The processes that train together, and what they tell each other outside of programs."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import numpy as np
import paddle
from paddle import static
from paddle.base import core
from paddle.distributed import collective

from ..compat import legacy_static

# The operator that adds a tensor up over all processes, and its attributes.
REDUCTION = "all_reduce"
SUM = {"ring_id": 0, "reduce_type": 0}

# What Paddle makes of an error of Gloo or of its store: no more than this.
_LOST = re.compile(r"^\s*std::exception|gloo|nccl|tcp_?store|connection (closed|reset)", re.I)
# How an error of the first process is told to the others; the last stands for all other kinds.
_ERRORS: dict[bytes, type[Exception]] = {b"V": ValueError, b"O": OSError, b"E": Exception}
_DONE = b"="


class ProcessLost(ConnectionError):
    """Another process of the run has ended, or does not answer."""


class ProcessGroup:
    """One of the processes that train together; alone unless told otherwise.

    Every process must call the same methods in the same order.

    Args:
        rank: of this process, from 0.
        size: number of processes.
        place: where programs run; the CPU by default.
    """

    def __init__(self, rank: int = 0, size: int = 1, place: Any = None) -> None:
        if not 0 <= rank < size:
            raise ValueError(f"rank must be between 0 and {size - 1}, got {rank}.")
        self.rank, self.size = rank, size
        self.place = place or paddle.CPUPlace()
        self._sums: dict[str, tuple[Any, str]] = {}

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's part of ``count`` things in a row; parts differ by one at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def total(self, values: Any) -> np.ndarray:
        """Sums over all processes, bit for bit the same in each; float64, of the same shape.

        Raises:
            ProcessLost: a process has ended.
        """
        return self._sum(np.asarray(values, np.float64))

    def gather(self, values: np.ndarray) -> list[np.ndarray]:
        """The arrays of all processes, in the order of their ranks, bit for bit.

        They may differ in their first dimension.

        Raises:
            ProcessLost: a process has ended.
        """
        values = np.ascontiguousarray(values)
        if self.size == 1:
            return [values]
        contents = [self._sent(values.tobytes(), rank) for rank in range(self.size)]
        arrays = [np.frombuffer(content, values.dtype) for content in contents]
        return [array.reshape([-1, *values.shape[1:]]) for array in arrays]

    def first(self, values: np.ndarray) -> np.ndarray:
        """The array of the first process, bit for bit; all have the same shape and dtype.

        Raises:
            ProcessLost: a process has ended.
        """
        if self.size == 1:
            return values
        content = self._sent(np.ascontiguousarray(values).tobytes(), 0)
        return np.frombuffer(content, values.dtype).reshape(values.shape).copy()

    def agreed(self, action: Callable[[], bytes]) -> bytes:
        """What ``action`` returns in the first process, in all; the others do not call it.

        Raises:
            ValueError, OSError: as the action did, in all processes; any other error of the
                action is an Exception with its message in the others.
            ProcessLost: a process has ended.
        """
        if self.size == 1:
            return action()
        failure: Exception | None = None
        answer = b""
        if self.is_first:
            try:
                answer = _DONE + action()
            except Exception as error:
                failure = error
                kinds = (kind for kind, held in _ERRORS.items() if isinstance(error, held))
                answer = next(kinds) + str(error).encode()
        answer = self._sent(answer, 0)
        if failure is not None:
            raise failure
        if answer[:1] != _DONE:
            raise _ERRORS[answer[:1]](answer[1:].decode())
        return answer[1:]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Turn Paddle's error on a lost process into one that says so.

        Raises:
            ProcessLost: a process has ended.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _LOST.search(str(error)):
                raise
            raise ProcessLost(
                f"process {self.rank} of {self.size} stops: another process of this run has "
                "ended, or did not answer for 30 seconds."
            ) from None

    def _sent(self, content: bytes, rank: int) -> bytes:
        """What the process ``rank`` gives."""
        own = rank == self.rank
        length = int(self._sum(np.array([len(content) if own else 0], np.int64))[0])
        words = np.zeros(-(-length // 4), np.int32)
        if own:
            words.view(np.uint8)[:length] = np.frombuffer(content, np.uint8)
        # Integers, of which all others are zero: no bit is lost.
        return self._sum(words).tobytes()[:length] if length else b""

    def _sum(self, values: np.ndarray) -> np.ndarray:
        if self.size == 1:
            return values
        with legacy_static(), self.watched():
            kind = values.dtype.name
            if kind not in self._sums:
                self._sums[kind] = _summing(kind)
            program, out = self._sums[kind]
            executor = static.Executor(self.place)
            with static.scope_guard(static.Scope()):
                (summed,) = executor.run(program, {"x": values.reshape(-1)}, [out])
        return np.asarray(summed).reshape(values.shape)


def _summing(kind: str) -> tuple[Any, str]:
    """A program that sums ``x`` over all processes, and the name of the sum."""
    program = static.Program()
    with static.program_guard(program, static.Program()):
        x = static.data("x", [-1], kind)
        block = program.global_block()
        out = block.create_var(name="x.sum", shape=x.shape, dtype=x.dtype)
        block.append_op(type=REDUCTION, inputs={"x": [x]}, outputs={"out": [out]}, attrs=SUM)
    return program, out.name


@functools.cache
def _connected(rank: int, size: int, on_gpu: bool) -> None:
    """Meet the other processes: Paddle's ring 0, once in a process."""
    try:
        if on_gpu:
            collective._init_parallel_env("nccl")
        else:
            # Paddle's own function asks for a device, which its build for CPUs knows nothing of.
            store = core.create_or_get_global_tcp_store()
            core.CommContextManager.create_gloo_comm_context(store, "0", rank, size)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"process {rank} of {size} cannot reach the others: {' '.join(str(error).split())}"
        ) from None


def process_group(place: Any = None) -> ProcessGroup:
    """The processes that ``python -m paddle.distributed.launch`` started; else this one alone.

    They exchange tensors by Gloo where ``place`` is a CPU, and by NCCL where it is a GPU. The
    latter goes through the same calls of Paddle but could only be tested with Gloo.

    Args:
        place: where programs run; the CPU by default.

    Raises:
        ValueError: the environment is not that of a launched process, or others do not come.
    """
    size, rank = (_number(f"PADDLE_TRAINER{name}") for name in ("S_NUM", "_ID"))
    if not size or size == 1:
        return ProcessGroup(place=place)
    if rank is None:
        raise ValueError("PADDLE_TRAINERS_NUM is set and PADDLE_TRAINER_ID is not: " + _HOW)
    group = ProcessGroup(rank, size, place)
    _connected(rank, size, isinstance(place, paddle.CUDAPlace))
    return group


_HOW = "start with python -m paddle.distributed.launch --nproc_per_node 2 ..."


def _number(name: str) -> int | None:
    text = os.environ.get(name)
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError(f"{name} must be a number, got {text!r}: {_HOW}")
    return int(text)


__all__ = ["REDUCTION", "SUM", "ProcessGroup", "ProcessLost", "process_group"]
