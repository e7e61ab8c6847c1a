"""The data sets that recipes name, from where the user has them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .cifar10 import download_cifar10, read_cifar10
from .digits import load_coloured_digits
from .images import Dataset
from .mnist import download_mnist, read_mnist

# Name in the user's words, reader, download.
_SOURCES: dict[str, tuple[str, Callable[..., Dataset], Callable[[], Dataset]]] = {
    "cifar10": ("CIFAR-10: name its archive or folder", read_cifar10, download_cifar10),
    "mnist": ("MNIST: name the folder of its four files", read_mnist, download_mnist),
}


def load_images(name: str, path: str | Path | None = None, download: bool = False) -> Dataset:
    """The images that a recipe names.

    Args:
        name: ``cifar10``, ``mnist`` or ``digits``.
        path: where they are; the folder of this name in ``$PCQ_DATA`` if left out.
        download: let Paddle fetch them instead.

    Raises:
        ValueError: they are not there, or damaged; a path or download for digits, which come with
            scikit-learn.
    """
    if name == "digits":
        if path is not None or download:
            raise ValueError("the recipe is for digits, which need no --data and no --download.")
        return load_coloured_digits()
    told, read, fetch = _SOURCES[name]
    if download:
        return fetch()
    root = os.environ.get("PCQ_DATA")
    if path is None and root and Path(root, name).exists():
        path = Path(root, name)
    if path is None:
        raise ValueError(f"the recipe is for {told} with --data, or let --download fetch it.")
    return read(path)


__all__ = ["load_images"]
