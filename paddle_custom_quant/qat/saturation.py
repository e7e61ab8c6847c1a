"""Warn where quantized weights are much larger than the float ones and nothing normalises after.

Textbook DoReFa always fills [-1, 1]; a layer without normalisation behind it then saturates.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Any

import numpy as np
import paddle

from ..scope import read
from ..target import WEIGHT
from .evaluate import evaluate
from .insertion import Inserted

log = logging.getLogger("paddle_custom_quant")

RATIO = 3.0  # mean |quantized| over mean |float|
NORMALISATIONS = ("batch_norm", "sync_batch_norm", "layer_norm", "instance_norm", "group_norm")
TRANSPARENT = (
    "elementwise_add", "reshape2", "relu", "relu6", "leaky_relu", "pool2d", "dropout", "squeeze2",
    "flatten_contiguous_range", "transpose2", "cast", "concat",
)  # fmt: skip


def warn(program: paddle.static.Program, inserted: Inserted, scope: Any, place: Any) -> None:
    """Log one warning that names the layers, if there are any.

    Args:
        program: the quantized program.
        inserted: what was inserted into it.
        scope: holds the weights and the quantizers' start values.
        place: where the quantized weights are computed.
    """
    readers = defaultdict(list)
    for op in program.global_block().ops:
        for name in op.input_arg_names:
            readers[name].append(op)
    suspects = {
        placed.label: placed
        for placed in inserted.placement
        if placed.target.role == WEIGHT
        and not placed.quantizer.passes_gradient
        and not _normalised(placed.target.readers[0].output, readers)
    }
    known = {
        label: placed for label, placed in suspects.items() if read(scope, placed.root) is not None
    }
    computed = {p.target.name for p in known.values() if p.target.name != p.root}
    values = evaluate(program, [*known, *sorted(computed)], place, scope)
    grown = []
    for label, placed in known.items():
        name = placed.target.name
        floats = values.get(name, read(scope, name))
        assert floats is not None
        ratio = np.abs(values[label]).mean() / max(np.abs(floats).mean(), 1e-30)
        if ratio > RATIO:
            grown.append(f"{suspects[label].root} ({ratio:.0f} times)")
    if grown:
        log.warning(
            "quantized weights are several times larger than the float ones in layers that no "
            "normalisation follows, which may saturate: %s. Use a quantizer that keeps their "
            "scale, such as DoReFaWeight(bits, rescale=True).",
            ", ".join(grown),
        )


def _normalised(name: str, readers: dict[str, list[Any]]) -> bool:
    """Whether every way from this tensor meets a normalisation before the next layer."""
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        ops = [op for op in readers[name] if not op.type.endswith("_grad")]
        if not all(op.type in NORMALISATIONS or op.type in TRANSPARENT for op in ops) or not ops:
            return False
        behind = {op.output_arg_names[0] for op in ops if op.type in TRANSPARENT}
        waiting += behind - seen
    return True
