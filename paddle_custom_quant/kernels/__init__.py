"""C++ operators for the formulas that most methods are made of, compiled on first use."""

from . import ops
from .dispatch import with_kernel
from .loading import available, composed_only

__all__ = ["available", "composed_only", "ops", "with_kernel"]
