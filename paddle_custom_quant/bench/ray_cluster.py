"""Cells on a Ray cluster, each in a process of its own there too."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import ray

from ..deploy.storage import write_files
from . import THIS_MACHINE
from .folder import FLOAT_PREFIX, SuiteFolder
from .local import run_local

# How often a cell is run again whose worker was lost.
RETRIES = 5
_SECONDS = 5.0
_FLOAT_NET = "seed-*/float.safetensors"
_FLOAT_NETS = f"{FLOAT_PREFIX}*/{_FLOAT_NET}"
_REUSE = "reuse"

Files = dict[str, bytes]


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be a driver of a Ray cluster.

    Args:
        address: ``HOST:PORT`` or ``ray://HOST:PORT``; :data:`THIS_MACHINE` for the cluster that
            this machine is part of, or one of this machine alone if it is part of none.

    Raises:
        ValueError: nothing answers there.
    """
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == THIS_MACHINE:
        try:
            ray.init(address=THIS_MACHINE, **quiet)
        except ConnectionError:
            ray.init(address="local", include_dashboard=False, **quiet)
    else:
        _check_answers(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError) as error:
            raise ValueError(f"{address} does not answer as a Ray cluster does: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()


def run_on_ray(
    folder: SuiteFolder,
    names: Sequence[str],
    *,
    threads: int,
    data: str,
    reuse: str,
    tell: Callable[[str], None],
) -> dict[str, str]:
    """Run cells on the cluster that this process is connected to; results come back here.

    Every machine has the same packages, and the images at ``data``; the float nets are sent along.
    A cell whose worker is lost is run again, from its start.

    Args:
        folder: of the suite's results.
        names: of cells, or of float trainings.
        threads: of each; so many CPUs are taken from the cluster.
        data: where the images are, on every machine; empty for the default.
        reuse: folder of a run that the float net is taken from; empty for none.
        tell: called with one line for each that ends.

    Returns:
        Why there is no result, by name.

    Raises:
        ValueError: no machine has so many CPUs.
    """
    most = max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes()), default=0)
    if threads > most:
        raise ValueError(
            f"a cell takes {threads} CPUs and no machine of the cluster has more than {most}: give "
            "--threads a smaller number."
        )
    floats = ray.put(_float_nets(folder, reuse))
    suite = folder.suite.read_bytes()
    run = ray.remote(_run_elsewhere).options(num_cpus=threads, max_retries=RETRIES)
    waiting = {run.remote(suite, name, floats, threads, data): name for name in names}
    failed: dict[str, str] = {}
    try:
        while waiting:
            (ended,), _ = ray.wait(list(waiting))
            name = waiting.pop(ended)
            why = _keep(folder, name, ended)
            if why:
                failed[name] = why
            done = f"{len(names) - len(waiting)} of {len(names)}"
            tell(f"{done}: {name}{f': {why}' if why else ''}")
    finally:
        for left in waiting:
            ray.cancel(left, force=True)
    return failed


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), _SECONDS).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address!r} ({error}): start one with 'ray start --head' "
            "and give its HOST:PORT, or give --ray without an address for this machine."
        ) from None


def _float_nets(folder: SuiteFolder, reuse: str) -> Files:
    """Content of the float nets that cells start from, by their path in a worker's folder."""
    held = {str(p.relative_to(folder.root)): p for p in folder.root.glob(f"work/{_FLOAT_NETS}")}
    if reuse:
        taken = Path(reuse)
        held |= {f"{_REUSE}/{p.relative_to(taken)}": p for p in taken.glob(_FLOAT_NET)}
    return {path: file.read_bytes() for path, file in held.items()}


def _run_elsewhere(
    suite: bytes, name: str, floats: Mapping[str, bytes], threads: int, data: str
) -> tuple[Files, str]:
    """On a worker: the files that a cell led to, by their path in the suite's folder."""
    with TemporaryDirectory(prefix="suite-") as temporary:
        root = Path(temporary)
        folder = SuiteFolder(root)
        files = {folder.suite: suite, **{root / path: held for path, held in floats.items()}}
        write_files(files, overwrite=True)
        failed = run_local(
            folder,
            [name],
            jobs=1,
            threads=threads,
            data=data,
            reuse=str(root / _REUSE) if (root / _REUSE).exists() else "",
            tell=lambda line: None,
        )
        is_float = name.startswith(FLOAT_PREFIX)
        made = folder.work(name).glob(_FLOAT_NET) if is_float else folder.cell(name).iterdir()
        held = {} if failed else {str(path.relative_to(root)): path.read_bytes() for path in made}
        return held, failed.get(name, "")


def _keep(folder: SuiteFolder, name: str, ended: Any) -> str:
    """Write the files of a task that ended; why it has none, if so."""
    try:
        files, why = ray.get(ended)
    except ray.exceptions.RayError as error:
        return f"no worker finished it: {' '.join(str(error).split())}"
    if name.startswith(FLOAT_PREFIX):
        write_files({folder.root / path: content for path, content in files.items()}, True)
    elif files:
        folder.keep(name, {Path(path).name: content for path, content in files.items()})
    return str(why)


__all__ = ["connected", "run_on_ray"]
