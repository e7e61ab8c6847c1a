"""Batch norm folded into the layers before it, for quantization-aware training."""

from .fold import Folding, fold_batch_norm

__all__ = ["Folding", "fold_batch_norm"]
