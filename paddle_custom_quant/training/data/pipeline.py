"""Batches of augmented images, made ahead of the training by worker processes."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import cv2
import numpy as np

from .augment import ALL, Augmentation, augmented_inputs
from .images import Images, batches

# Batches that one worker is ahead; the training holds one more.
_AHEAD = 2
_SECONDS = 1.0


@dataclass(frozen=True)
class Batch:
    """What one training step is fed.

    Attributes:
        inputs: float32 ``[n, channels, height, width]``, valid until the next batch is asked for.
        labels: int64 ``[n]``.
    """

    inputs: np.ndarray
    labels: np.ndarray


def augmented_batches(
    images: Images,
    augmentation: Augmentation,
    size: int,
    *,
    first: int,
    last: int,
    seed: int,
    workers: int,
    part: slice = ALL,
) -> Generator[Batch, None, None]:
    """The training batches ``first`` to ``last - 1``.

    They depend on the images, the augmentation, the size and the seed alone: not on where the
    sequence begins or on the number of workers.

    Args:
        images: training images.
        augmentation: what happens to them.
        size: images a batch.
        first: number of the first batch.
        last: number after the last one.
        seed: order and changes of the images.
        workers: processes that make batches; 0 makes them in this one.
        part: of each batch that is made; all of it by default.

    Raises:
        RuntimeError: a worker ended.
        ValueError: ``size`` is not between 1 and the number of images.
    """
    order = batches(len(images), size, last, seed)
    numbered = ((number, chosen) for number, chosen in enumerate(order) if number >= first)
    if not workers:
        for number, chosen in numbered:
            inputs = augmented_inputs(images, chosen, augmentation, seed, number, part)
            yield Batch(inputs, images.labels[chosen[part]])
        return
    count = min(workers, last - first)
    crew = [_Worker(images, augmentation, size, seed, part) for _ in range(count)]
    try:
        yield from _from_workers(crew, numbered, images.labels, part)
    finally:
        for worker in crew:
            worker.stop()


def _from_workers(
    crew: list[_Worker],
    numbered: Iterator[tuple[int, np.ndarray]],
    labels: np.ndarray,
    part: slice,
) -> Iterator[Batch]:
    waiting: list[tuple[_Worker, np.ndarray]] = []
    turn = 0
    while True:
        while len(waiting) < _AHEAD * len(crew):
            try:
                number, chosen = next(numbered)
            except StopIteration:
                break
            worker = crew[turn % len(crew)]
            worker.ask(number, chosen)
            waiting.append((worker, chosen))
            turn += 1
        if not waiting:
            return
        worker, chosen = waiting.pop(0)
        yield Batch(worker.take(), labels[chosen[part]])


class _Worker:
    """A process that turns indices into inputs; they come back through shared memory."""

    def __init__(
        self, images: Images, augmentation: Augmentation, size: int, seed: int, part: slice
    ) -> None:
        shape = (_AHEAD + 1, len(range(size)[part]), *images.shape)
        memory = mmap.mmap(-1, int(np.prod(shape)) * 4)
        self._slots = np.frombuffer(memory, np.float32).reshape(shape)
        # A forked process has the images without a copy; it never calls Paddle.
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        self._process: Any = context.Process(
            target=_work,
            args=(theirs, self._slots, images, augmentation, seed, part, os.getpid()),
            daemon=True,
        )
        self._process.start()
        theirs.close()
        self._asked = self._taken = 0

    def ask(self, number: int, chosen: np.ndarray) -> None:
        """Begin a batch."""
        try:
            self._connection.send((number, chosen, self._asked % len(self._slots)))
        except OSError:
            raise self._ended() from None
        self._asked += 1

    def take(self) -> np.ndarray:
        """The batch that was asked for first."""
        try:
            error = self._connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if error is not None:
            raise RuntimeError(f"a worker process could not make a batch: {error}.")
        self._taken += 1
        inputs: np.ndarray = self._slots[(self._taken - 1) % len(self._slots)]
        return inputs

    def stop(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _ended(self) -> RuntimeError:
        self._process.join(_SECONDS)
        return RuntimeError(
            f"a worker process that prepares images ended with code {self._process.exitcode} "
            "(-9: it was killed, often for lack of memory): use fewer workers, or 0."
        )


def _work(
    connection: Connection,
    slots: np.ndarray,
    images: Images,
    augmentation: Augmentation,
    seed: int,
    part: slice,
    parent: int,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training process ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Paddle's handler writes a page
    cv2.setNumThreads(0)
    # Other workers hold copies of the pipe's other end: that it is closed is not seen here.
    while os.getppid() == parent:
        if not connection.poll(_SECONDS):
            continue
        try:
            number, chosen, slot = connection.recv()
        except (EOFError, OSError):
            break
        try:
            slots[slot] = augmented_inputs(images, chosen, augmentation, seed, number, part)
            connection.send(None)
        except Exception as error:  # the training process reports it
            connection.send(f"{type(error).__name__}: {error}")
    os._exit(0)  # nothing of the training process is to be finished here


__all__ = ["Batch", "augmented_batches"]
