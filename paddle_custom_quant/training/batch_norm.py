"""Running statistics of batch normalisation: held still, or taken anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..scope import read, write

_TYPES = ("batch_norm", "batch_norm_grad", "sync_batch_norm", "sync_batch_norm_grad")
_GAMMA = 100.0


def freeze_statistics(program: Any) -> Any:
    """A copy of a training program that normalises by the running statistics and keeps them.

    Scale and shift are trained on.
    """
    copy = program.clone()
    norms = [op for op in copy.global_block().ops if op.type in _TYPES]
    forward = {op.output("SavedMean")[0]: op for op in norms if not _is_gradient(op)}
    for op in norms:
        op._set_attr("use_global_stats", True)
        if _is_gradient(op):
            # The batch's own mean and deviation came from the forward operator; these do not.
            of = forward[op.input("SavedMean")[0]]
            for slot in ("Mean", "Variance"):
                op.desc.set_input(slot, of.output(f"{slot}Out"))
    return copy


def reestimate_statistics(
    executor: Any,
    program: Any,
    scope: Any,
    batches: Iterable[Mapping[str, np.ndarray]],
) -> int:
    """Set the running means and variances to their averages over batches (arXiv 2203.11086).

    Args:
        executor: runs the program, in the current scope.
        program: a test program, quantized or not.
        scope: the current scope.
        batches: feeds of the program, as training batches are.

    Returns:
        How many layers there are; 0 leaves all as it was.

    Raises:
        ValueError: there are no batches.
    """
    copy = program.clone()
    norms = [op for op in copy.global_block().ops if op.type in _TYPES]
    for op in norms:
        op._set_attr("is_test", False)
        op._set_attr("use_global_stats", False)
        op._set_attr("momentum", 0.0)  # after a batch the statistics are the batch's own
        _give_outputs(op, copy.global_block())
    names = [
        name for op in norms for slot in ("MeanOut", "VarianceOut") for name in op.output(slot)
    ]
    if not names:
        return 0
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    count = 0
    for feed in batches:
        executor.run(copy, feed=feed, fetch_list=[])
        count += 1
        for name in names:
            sums[name] = sums[name] + np.asarray(read(scope, name), np.float64)
    if not count:
        raise ValueError("statistics need at least one batch, got none.")
    for name in names:
        write(scope, executor.place, name, (sums[name] / count).astype(np.float32))
    return len(norms)


def largest_ratio(program: Any, scope: Any) -> tuple[float, str]:
    """The largest |gamma| / sigma of all channels of all layers, and its layer.

    It is what batch normalisation multiplies by, and so by how much it enlarges an error. Channels
    whose gamma itself is out of all bounds are left out: they are not to blame.
    """
    largest, layer = 0.0, ""
    for op in program.global_block().ops:
        if op.type in _TYPES and not _is_gradient(op):
            gamma = np.asarray(read(scope, op.input("Scale")[0]), np.float64)
            variance = np.asarray(read(scope, op.input("Variance")[0]), np.float64)
            gamma = np.where(np.abs(gamma) < _GAMMA, np.abs(gamma), 0.0)
            found = float(np.max(gamma / np.sqrt(variance + op.attr("epsilon"))))
            if found > largest:
                largest, layer = found, op.input("Scale")[0].split(".")[0]
    return largest, layer


def _give_outputs(op: Any, block: Any) -> None:
    """Add what a test program's operator has no use for."""
    for slot in ("SavedMean", "SavedVariance", "ReserveSpace"):
        if slot not in op.desc.output_names() or not op.desc.output(slot):
            op.desc.set_output(slot, [f"{op.desc.output('Y')[0]}.{slot}"])
        for name in op.desc.output(slot):
            if not block.has_var(name):
                block.create_var(name=name, dtype="float32")


def _is_gradient(op: Any) -> bool:
    return str(op.type).endswith("_grad")


__all__ = ["freeze_statistics", "largest_ratio", "reestimate_statistics"]
