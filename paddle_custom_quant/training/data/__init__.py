"""Image data sets, each brought to the same form."""

from .digits import load_digits
from .images import Dataset, Images, batches
from .mnist import download_mnist, read_mnist

__all__ = ["Dataset", "Images", "batches", "download_mnist", "load_digits", "read_mnist"]
