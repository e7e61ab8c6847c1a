"""Which tensors of a program can be negative."""

from __future__ import annotations

from typing import Any

_NOT_NEGATIVE = {
    "relu", "relu6", "sigmoid", "hard_sigmoid", "softmax", "softplus", "abs", "square", "exp",
}  # fmt: skip
# Not negative where none of their inputs is.
_KEEPING = {
    "pool2d", "max_pool2d_with_index", "flatten_contiguous_range", "reshape2", "transpose2",
    "dropout", "concat", "elementwise_add", "elementwise_mul", "squeeze2", "unsqueeze2",
    "reduce_mean", "split", "slice", "nearest_interp_v2", "bilinear_interp_v2",
}  # fmt: skip


def never_negative(program: Any, name: str) -> bool:
    """Whether the program's operators can give this tensor no negative value."""
    block = program.global_block()
    makers = {output: op for op in block.ops for output in op.output_arg_names}
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        op = makers.get(name)
        if op is None or op.type not in _NOT_NEGATIVE | _KEEPING:
            return False
        if op.type in _KEEPING:
            waiting += set(op.input_arg_names) - seen
    return True


__all__ = ["never_negative"]
