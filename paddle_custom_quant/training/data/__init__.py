"""Image data sets, each brought to the same form."""

from .augment import Augmentation
from .by_name import load_images
from .cifar10 import download_cifar10, read_cifar10
from .digits import load_coloured_digits, load_digits
from .images import Dataset, Images, batches
from .mnist import download_mnist, read_mnist
from .pipeline import Batch, augmented_batches

__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "Images",
    "augmented_batches",
    "batches",
    "download_cifar10",
    "download_mnist",
    "load_coloured_digits",
    "load_digits",
    "load_images",
    "read_cifar10",
    "read_mnist",
]
