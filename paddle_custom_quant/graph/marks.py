"""What insertion writes into a program, by which others find its quantizers again."""

from __future__ import annotations

# Attribute of the operator that writes a quantized copy: tensor, role, axis and quantizer, as JSON.
DESCRIPTION = "quantizer"

# Attribute of a quantized operator: its quantized inputs, such as ["Input:0", "Filter:0"].
QUANTIZED = "quantized_inputs"

# Name scope of the operators that update what quantizers learn; names of what they own start so.
QUANTIZER_OPTIMIZER = "quantizer_optimizer"

# Attribute of an operator that writes a statistic of the batch: the running statistic that stands
# in its place when the program does not train. What is computed from it and parameters is a
# constant then, such as a weight that batch norm is folded into.
OUTSIDE_TRAINING = "outside_training"

__all__ = ["DESCRIPTION", "OUTSIDE_TRAINING", "QUANTIZED", "QUANTIZER_OPTIMIZER"]
