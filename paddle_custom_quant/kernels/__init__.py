"""C++ operators for the formulas that most methods are made of, compiled on first use."""

from . import ops
from .dispatch import with_kernel
from .loading import available, in_programs

__all__ = ["available", "in_programs", "ops", "with_kernel"]
