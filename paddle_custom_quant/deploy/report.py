"""What a comparison found, as data, JSON and a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Row:
    """One engine against the fake-quantized program.

    Attributes:
        engine: its name.
        samples: how many inputs it ran.
        top1_agreement: share of samples with the same largest value of the first result.
        largest: largest difference of a value, over the range of its result; of several results the
            worst, also below.
        mean: mean difference, over the same range.
        beyond_step: share of values that differ by more than 1/255 of the range.
        integer_layers: convolutions and linear layers that multiplied integers.
        all_layers: convolutions and linear layers.
        float_kernels: those that did not, in the engine's words.
        milliseconds: median of one batch, by batch size: (integers, the same net in float).
        size: bytes on disk.
        float_size: bytes of the float net in the same format.
        skipped: why it was not run; empty if it was.
        failed: why it gave no result; empty if it gave one.
    """

    engine: str
    samples: int = 0
    top1_agreement: float = 0.0
    largest: float = 0.0
    mean: float = 0.0
    beyond_step: float = 0.0
    integer_layers: int = 0
    all_layers: int = 0
    float_kernels: list[str] = field(default_factory=list)
    milliseconds: dict[int, tuple[float, float]] = field(default_factory=dict)
    size: int = 0
    float_size: int = 0
    skipped: str = ""
    failed: str = ""

    @property
    def ran(self) -> bool:
        """There is a result."""
        return not (self.skipped or self.failed)

    @property
    def samples_per_second(self) -> dict[int, tuple[float, float]]:
        """Samples per second, by batch size: (integers, the same net in float)."""
        return {
            size: (1000 * size / here, 1000 * size / floats)
            for size, (here, floats) in self.milliseconds.items()
        }


@dataclass(frozen=True)
class LayerRow:
    """One quantized tensor: the integer reference against the program.

    Attributes:
        tensor: its name in the program.
        share: of its values that differ.
        steps: largest difference.
    """

    tensor: str
    share: float
    steps: int


@dataclass(frozen=True)
class Comparison:
    """All engines, and all layers if they were asked for."""

    samples: int
    rows: list[Row]
    layers: list[LayerRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, engine: str) -> Row:
        """The row of an engine.

        Raises:
            KeyError: it was not compared.
        """
        for row in self.rows:
            if row.engine == engine:
                return row
        raise KeyError(engine)

    def to_json(self) -> str:
        """The whole comparison as JSON."""
        held = asdict(self)
        for row, cells in zip(self.rows, held["rows"]):
            cells["samples_per_second"] = row.samples_per_second
        return json.dumps(held, indent=2) + "\n"

    def __str__(self) -> str:
        sizes = sorted({n for row in self.rows for n in row.milliseconds})
        head = ["engine", "samples", "top-1", "largest", "mean", "> 1/255", "integer", "size"]
        for n in sizes:
            head += [f"batch {n} (float)", "per second (float)"]
        lines = _table([head, *(_cells(row, sizes) for row in self.rows if row.ran)])
        lines += [f"{row.engine}: skipped, {row.skipped}" for row in self.rows if row.skipped]
        lines += [row.failed for row in self.rows if row.failed]
        for row in self.rows:
            lines += [f"{row.engine}: float kernel {name}" for name in row.float_kernels[:5]]
        if self.layers:
            cells = [[r.tensor, f"{r.share:.3%}", str(r.steps)] for r in self.layers]
            lines += ["", *_table([["tensor", "values that differ", "steps"], *cells])]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _cells(row: Row, sizes: list[int]) -> list[str]:
    size = f"{row.size / 1000:.0f} kB ({row.size / row.float_size:.2f})" if row.float_size else "-"
    cells = [
        row.engine,
        str(row.samples),
        f"{row.top1_agreement:.2%}",
        f"{row.largest:.1e}",
        f"{row.mean:.1e}",
        f"{row.beyond_step:.2%}",
        f"{row.integer_layers}/{row.all_layers}" if row.all_layers else "-",
        size,
    ]
    for n in sizes:
        pair = row.milliseconds.get(n)
        if not pair:
            cells += ["-", "-"]
            continue
        here, floats = row.samples_per_second[n]
        cells += [f"{pair[0]:.2f} ms ({pair[1] / pair[0]:.2f}x)", f"{here:.0f} ({floats:.0f})"]
    return cells


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]


__all__ = ["Comparison", "LayerRow", "Row"]
