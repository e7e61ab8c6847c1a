"""What a suite found, as pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from typing import Any, TypeVar

from .overview import usual_folding
from .results import Group, Row, groups

_COLOURS = (
    "#1f77b4", "#d95f02", "#2ca02c", "#7b3294", "#8c564b", "#e7298a", "#666666", "#17becf",
    "#bcbd22",
)  # fmt: skip
_MARKS = "osD^vPX*<>"
ACADEMIC = "academic"
T = TypeVar("T")


def pictures(rows: Sequence[Row]) -> dict[str, bytes]:
    """PNG files by name, for each net; those that the rows have nothing for are left out.

    ``<net>-bits``: top-1 over bits, one line a method and one panel a setting. ``<net>-settings``:
    each setting against the academic one. ``<net>-folding``: strategies of folding.
    """
    drawn: dict[str, bytes] = {}
    for net in dict.fromkeys(row.net for row in rows):
        held = [g for g in groups(rows) if g.first.net == net and g.top1]
        made = {"bits": _bits(held), "settings": _settings(held), "folding": _folding(held)}
        drawn |= {f"{net.lower()}-{kind}.png": png for kind, png in made.items() if png}
    return drawn


def _bits(held: list[Group]) -> bytes | None:
    """Accuracy over bits."""
    held = usual_folding(held)
    if len({g.first.bits for g in held}) < 2:
        return None
    settings = _named(held, lambda g: g.first.setting)
    methods = _named(held, lambda g: g.first.method)
    bits = sorted({g.first.bits for g in held})
    figure, panels = _panels(len(settings))
    for axes, setting in zip(panels, settings):
        for method, colour, mark in _styled(methods):
            line = [g for g in held if (g.first.method, g.first.setting) == (method, setting)]
            line.sort(key=lambda g: g.first.bits)
            if line:
                _line(axes, [bits.index(g.first.bits) for g in line], line, method, colour, mark)
        axes.set_title(setting, fontsize=10)
        axes.set_xticks(range(len(bits)), [str(b) for b in bits])
        axes.set_xlabel("bits")
        axes.grid(alpha=0.3)
    _legend(figure, panels)
    return _png(figure)


def _settings(held: list[Group]) -> bytes | None:
    """Each setting beside the academic one."""
    held = usual_folding(held)
    settings = _named(held, lambda g: g.first.setting)
    if ACADEMIC not in settings or len(settings) < 2:
        return None
    settings = [ACADEMIC, *(s for s in settings if s != ACADEMIC)]
    methods = _named(held, lambda g: g.first.method)
    bits = sorted({g.first.bits for g in held}, reverse=True)
    figure, panels = _panels(len(bits))
    for axes, count in zip(panels, bits):
        for order, (method, colour, mark) in enumerate(_styled(methods)):
            line = [g for g in held if (g.first.method, g.first.bits) == (method, count)]
            line.sort(key=lambda g: settings.index(g.first.setting))
            # Beside each other: methods often come to the same.
            shift = (order - (len(methods) - 1) / 2) * 0.08
            at = [settings.index(g.first.setting) + shift for g in line]
            if line:
                _line(axes, at, line, method, colour, mark, joined=False)
        axes.set_title(f"{count} bits", fontsize=10)
        axes.set_xticks(range(len(settings)), settings, rotation=30, ha="right")
        axes.grid(alpha=0.3)
    _legend(figure, panels)
    return _png(figure)


def _folding(held: list[Group]) -> bytes | None:
    """Strategies of folding, where one method and setting has several."""
    lines: dict[str, list[Group]] = {}
    for g in held:
        first = g.first
        lines.setdefault(f"{first.method}, {first.bits} bits, {first.setting}", []).append(g)
    lines = {name: of for name, of in lines.items() if len({g.first.folding for g in of}) > 1}
    if not lines:
        return None
    figure, (axes,) = _panels(1)
    for (name, of), colour, mark in _styled(lines.items()):
        of.sort(key=_place)
        _line(axes, [_place(g) for g in of], of, name, colour, mark)
    names = ["none", "0 once", "1 merged", "2 naive", "3 corrected", "4 divided"]
    axes.set_xticks(range(-1, 5), names)
    axes.set_xlabel("folding strategy")
    axes.grid(alpha=0.3)
    _legend(figure, [axes])
    return _png(figure)


def _styled(held: Iterable[T]) -> Iterator[tuple[T, str, str]]:
    """Each with a colour and a mark; so many pairs of them differ as there will ever be methods."""
    return zip(held, cycle(_COLOURS), cycle(_MARKS))


def _place(group: Group) -> int:
    """Of a folding strategy on the axis; no folding is left of all."""
    return -1 if group.first.folding is None else group.first.folding


def _named(held: list[Group], key: Callable[[Group], str]) -> list[str]:
    return list(dict.fromkeys(map(key, held)))


def _panels(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    columns = min(3, count)
    lines = -(-count // columns)
    figure = Figure(
        figsize=(max(6.0, 3.6 * columns), 3.2 * lines + 0.8), dpi=110, layout="constrained"
    )
    made = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel().tolist()
    for spare in made[count:]:
        spare.set_visible(False)
    for first in made[::columns]:
        first.set_ylabel("top-1 (%)")
    return figure, made[:count]


def _line(
    axes: Any,
    at: Sequence[float],
    held: list[Group],
    name: str,
    colour: str,
    mark: str,
    joined: bool = True,
) -> None:
    """Means with the range over seeds; hollow where it is not deployable."""
    means = [g.mean or 0.0 for g in held]
    below = [m - min(g.top1) for m, g in zip(means, held)]
    above = [max(g.top1) - m for m, g in zip(means, held)]
    width = 1.2 if joined else 0
    axes.errorbar(at, means, [below, above], color=colour, linewidth=width, elinewidth=1, capsize=2)
    axes.plot([], [], mark, color=colour, linestyle="-" if joined else "", label=name)
    faces = [colour if g.deployable else "white" for g in held]
    for x, y, face in zip(at, means, faces):
        axes.plot(x, y, mark, color=colour, markerfacecolor=face, markersize=6)


def _legend(figure: Any, panels: Sequence[Any]) -> None:
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels()):
            found.setdefault(name, handle)
    title = "filled: deployable; hollow: not"
    figure.legend(
        found.values(), found, loc="outside lower center", ncols=6, fontsize=8, title=title,
        title_fontsize=8,
    )  # fmt: skip


def _png(figure: Any) -> bytes:
    content = io.BytesIO()
    # Without the version of the program that drew it: the same rows give the same file.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


__all__ = ["pictures"]
