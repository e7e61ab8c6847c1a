"""Summaries as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .summary import QuantizedTensor, Summary


def summary_table(summary: Summary, rows: int | None = 10) -> str:
    """A summary as a few lines and a table of quantized tensors.

    Args:
        summary: the facts.
        rows: quantized tensors to list, ``None`` for all.
    """
    by = f", written by Paddle {summary.paddle_version}" if summary.paddle_version else ""
    lines = [f"{summary.source}: {summary.kind}{by}"]
    if summary.operators:
        parts = ", ".join(f"{n} {part}" for part, n in summary.operators_by_part.items())
        lines += [
            f"operators    {summary.operators} ({parts}), {summary.quantizer_operators} of "
            f"quantizers",
            f"             {_counted(summary.operators_by_type, 8)}",
        ]
    disk = ", ".join(f"{name} {size_text(size)}" for name, size in summary.files.items())
    lines.append(
        f"parameters   {summary.parameters} with {summary.parameter_elements:,} values, "
        f"{size_text(summary.parameter_bytes)}; {summary.quantizer_parameters} of quantizers"
        + (f"; on disk: {disk}" if disk else "")
    )
    if summary.net_operators:
        share = summary.integer_operators / summary.net_operators
        lines.append(
            f"integers     {summary.integer_layers} of {summary.layers} layers with weights, "
            f"{summary.integer_operators} of {summary.net_operators} operators ({share:.0%})"
        )
    for reason, kinds in summary.float_operators.items():
        lines.append(f"left float   {_counted(kinds, 6)}: {reason}")
    if summary.quantized:
        listed = summary.quantized[:rows]
        lines += ["", *columns([_HEADS, *(_row(q) for q in listed)])]
        if len(listed) < len(summary.quantized):
            lines.append(f"... and {len(summary.quantized) - len(listed)} more quantized tensors")
    return printable("\n".join(lines))


_HEADS = ("tensor", "role", "quantizer", "bits", "step", "range", "scales", "read by")


def _row(q: QuantizedTensor) -> tuple[str, ...]:
    bits = "?" if q.bits is None else f"{'~' if q.bits_counted else ''}{q.bits}"
    kinds = list(dict.fromkeys(reader.split(" -> ")[0] for reader in q.readers))
    return (
        q.tensor, q.role, q.quantizer, bits, span(q.step), span(q.range, always=True),
        str(q.channels) if q.range else "?", ", ".join(kinds) or "nothing",
    )  # fmt: skip


def span(pair: tuple[float, float] | None, always: bool = False) -> str:
    """Two numbers as text, one where they are equal."""
    if pair is None:
        return "?"
    low, high = pair
    return f"{low:.4g}" if low == high and not always else f"{low:.4g} .. {high:.4g}"


def size_text(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _counted(kinds: dict[str, int], most: int) -> str:
    named = [f"{n} {kind}" for kind, n in list(kinds.items())[:most]]
    rest = sum(list(kinds.values())[most:])
    return ", ".join(named + ([f"{rest} others"] if rest else []))


def columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows of cells as lines, one column below another."""
    rows = [tuple(printable(cell) for cell in row) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]


def printable(text: str) -> str:
    """Text from a model, safe to print: a terminal obeys control characters."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


__all__ = ["columns", "printable", "size_text", "span", "summary_table"]
