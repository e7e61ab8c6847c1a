"""``fold_batch_norm``: rewrite programs so that quantizers see folded weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import paddle

from ... import compat
from ...graph.roles import is_forward
from ...scope import read, write
from .pairs import Left, find_pairs
from .strategies import STRATEGIES, Site
from .writer import Writer

STEP = "fold_batch_norm.step"
_MEANINGS = "0 merged once, 1 merged, 2 naive, 3 corrected, 4 divided"


@dataclass(frozen=True)
class _Merge:
    """Names of the values that are merged once."""

    weight: str
    axis: int
    bias: str | None
    gamma: str
    beta: str
    mean: str
    variance: str
    epsilon: float


@dataclass(frozen=True)
class Folding:
    """What was folded. ``print`` it for a list.

    Attributes:
        strategy: 0 to 4.
        folded: (what the batch norm wrote, the layer's weight) for each that was folded.
        left: the batch norms that stay as they were, with the reason.
    """

    strategy: int
    folded: tuple[tuple[str, str], ...]
    left: tuple[Left, ...]
    _merges: tuple[_Merge, ...] = field(default=(), repr=False)
    _counts: bool = field(default=False, repr=False)

    def start(self, scope: Any = None, place: Any = None) -> None:
        """Give the rewritten programs their start values; call it before ``quant_aware``.

        Call it after the start-up program has run and the float parameters were loaded. Strategy 0
        merges the values here: the weight becomes w gamma / sigma_r, beta becomes
        beta + gamma (bias - mu_r) / sigma_r; the values of the batch norm, which the programs read
        no more, become those that change nothing, so that the float program gives the same with
        them, and a second call does no harm. Strategy 3 with a delay starts to count. For the
        others there is nothing to do.

        Args:
            scope: holds the values; the global scope by default.
            place: where they are; the CPU by default.

        Raises:
            ValueError: a value is not in the scope.
        """
        scope, place = scope or paddle.static.global_scope(), place or paddle.CPUPlace()
        for merge in self._merges:
            _merge(merge, scope, place)
        if self._counts:
            write(scope, place, STEP, np.zeros([1], "float32"))

    def __str__(self) -> str:
        lines = [f"{output}  folded into {weight}" for output, weight in self.folded]
        lines += [f"{left.tensor}  left alone: {left.reason}" for left in self.left]
        return "\n".join(lines)


def fold_batch_norm(
    program: paddle.static.Program,
    test_program: paddle.static.Program | None = None,
    *,
    strategy: int,
    delay: int | None = None,
) -> Folding:
    """Fold batch norm into the layers before it, so that the folded weights are quantized.

    The programs are changed in place. Call it before ``minimize`` and ``quant_aware``, with the
    forward program and its ``clone(for_test=True)``, then :meth:`Folding.start` once the scope
    holds the float values. Quantizers need not know of it: a layer reads ``<weight>.folded``.

    With w and b the layer's weight and bias, sigma_r and mu_r the running statistics and sigma_b,
    mu_b those of the batch, of the layer in float:

    - 0, merged once: w gamma / sigma_r and beta + gamma (b - mu_r) / sigma_r are parameters, and
      the batch norm is gone.
    - 1, merged: the same is computed at every step; w, gamma, beta and b train, the statistics
      stay.
    - 2, naive: as 1 with sigma_b and mu_b, from a second, float layer; gradients pass through them
      as they do in a batch norm. The running statistics follow, and serve in the test program.
    - 3, corrected: w gamma / sigma_r is the weight, the output is multiplied by sigma_r / sigma_b,
      and the bias is that of 2. After ``delay`` steps the running statistics stay as they are and
      serve in training too.
    - 4, divided: w gamma / sigma_r is the weight, the output is divided by gamma / sigma_r, and
      the batch norm follows as before.

    In the test program every strategy computes what the program did before, up to rounding.

    Args:
        program: forward program of the old kind, for training.
        test_program: its test program.
        strategy: 0 to 4.
        delay: of strategy 3: steps after which the statistics are frozen; never by default.

    Returns:
        What was folded and what was not: a batch norm whose input is read elsewhere too, or that
        has no convolution or linear layer before it, stays.

    Raises:
        TypeError: a program of another kind.
        ValueError: no such strategy; a delay for another strategy than 3; a program that holds a
            backward pass, is quantized, or has no batch norm; programs that do not belong together.

    Source:
        arXiv 2111.03759, section 3.3; 3: arXiv 1806.08342, section 3.2.2.
    """
    if isinstance(strategy, bool) or strategy not in range(len(STRATEGIES)):
        raise ValueError(f"strategy must be 0 to 4 ({_MEANINGS}), got {strategy!r}.")
    if delay is not None and strategy != 3:
        raise ValueError(f"delay is of strategy 3, which freezes statistics, not of {strategy}.")
    if delay is not None and delay < 0:
        raise ValueError(f"delay must be a number of steps, 0 or more, got {delay!r}.")
    programs = [program] if test_program is None else [program, test_program]
    for held in programs:
        compat.require_legacy_static(held)
        _check(held)
    pairs, left = find_pairs(program)
    folded = tuple((pair.output, pair.weight) for pair in pairs)
    if test_program is not None:
        _check_belongs(folded, test_program)
    merges = tuple(_values_of(Site(program, pair)) for pair in pairs) if strategy == 0 else ()
    counts = delay is not None and any(pair.training for pair in pairs)
    for held in programs:
        _rewrite(held, strategy, delay)
    return Folding(strategy, folded, tuple(left), merges, counts)


def _check(program: Any) -> None:
    ops = program.global_block().ops
    if not all(is_forward(op.desc) for op in ops):
        raise ValueError(
            "the program holds a backward pass or an optimizer: call fold_batch_norm on the "
            "forward program, before minimize."
        )
    if any(op.has_attr("quantization_type") for op in ops):
        raise ValueError("the program is quantized: call fold_batch_norm before quant_aware.")
    if not any(op.type == "batch_norm" for op in ops):
        raise ValueError("the program has no batch norm: there is nothing to fold.")


def _check_belongs(folded: tuple[tuple[str, str], ...], test_program: Any) -> None:
    pairs, _ = find_pairs(test_program)
    others = [(pair.output, pair.weight) for pair in pairs if not pair.training]
    different = [name for name, _ in sorted({*folded} ^ {*others})]
    if different:
        raise ValueError(
            f"test_program does not belong to program: the batch norm that writes "
            f"{different[0]!r} can be folded in one alone. Clone it before the loss is added, with "
            f"clone(for_test=True)."
        )


def _rewrite(program: Any, strategy: int, delay: int | None) -> None:
    block = program.global_block()
    pairs, _ = find_pairs(program)
    learning = None
    if delay is not None and any(pair.training for pair in pairs):
        learning = _count(block, delay)
    for pair in pairs:
        STRATEGIES[strategy](Site(block, pair, learning if pair.training else None))
    program._sync_with_cpp()


def _count(block: Any, delay: int) -> str:
    """1 in the first ``delay`` steps, then 0."""
    block.create_var(name=STEP, shape=[1], dtype="float32", persistable=True, stop_gradient=True)
    first = Writer(block, block.ops[0], STEP)
    kind = block.var(STEP).dtype
    limit = first.operator("fill_constant", {}, shape=[1], value=float(delay), dtype=kind)
    below = first.operator("less_than", {"X": STEP, "Y": limit})
    kinds = {"in_dtype": block.var(below).dtype, "out_dtype": kind}
    learning = first.operator("cast", {"X": below}, **kinds)
    for name in (limit, below, learning):
        block.var(name).stop_gradient = True
    block.append_op(
        type="increment", inputs={"X": [STEP]}, outputs={"Out": [STEP]}, attrs={"step": 1.0}
    )
    return learning


def _values_of(site: Site) -> _Merge:
    pair = site.pair
    return _Merge(
        pair.weight,
        pair.weight_axis,
        pair.bias,
        site.gamma,
        site.beta,
        site.mean,
        site.variance,
        pair.norm.attr("epsilon"),
    )


def _merge(names: _Merge, scope: Any, place: Any) -> None:
    def value(name: str) -> np.ndarray:
        held = read(scope, name)
        if held is None:
            raise ValueError(
                f"the value of {name!r} is not in the scope: run the start-up program, or load the "
                f"float parameters, before start."
            )
        return held

    w, gamma, beta, mean = map(value, (names.weight, names.gamma, names.beta, names.mean))
    # In the parameters' precision: on merged values gamma / sigma is 1, without rounding.
    deviation = np.sqrt(value(names.variance).astype("float64") + names.epsilon).astype(w.dtype)
    factor = gamma / deviation
    bias = value(names.bias) if names.bias else np.zeros_like(mean)
    shape = [-1 if axis == names.axis else 1 for axis in range(w.ndim)]
    write(scope, place, names.weight, w * factor.reshape(shape))
    write(scope, place, names.beta, beta + (bias - mean) * factor)
    write(scope, place, names.gamma, deviation)
    for name in filter(None, (names.mean, names.bias)):
        write(scope, place, name, np.zeros_like(mean))


__all__ = ["Folding", "fold_batch_norm"]
