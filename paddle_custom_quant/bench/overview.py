"""A suite in a few small tables: methods against settings, and ways to fold batch norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .page import summary
from .results import FAILED, Group, Row, as_markdown, groups

NOTE = "Top-1 in percent, mean over seeds; in brackets: not deployable; -: not trained."


def overview(rows: Sequence[Row]) -> str:
    """Markdown: for each net and number of bits a table of methods and settings.

    A table of foldings follows where a method has several in one setting.
    """
    held = groups(rows)
    parts = [NOTE + "\n"]
    for net in dict.fromkeys(g.first.net for g in held):
        of_net = [g for g in held if g.first.net == net]
        usual = usual_folding(of_net)
        for bits in sorted({g.first.bits for g in usual}, reverse=True):
            of_bits = [g for g in usual if g.first.bits == bits]
            if len({(g.first.method, g.first.setting) for g in of_bits}) > 1:
                name = f"{net}, {bits} bits"
                parts.append(_table(name, of_bits, _method, lambda g: g.first.setting))
        several = several_foldings(of_net)
        if several:
            parts.append(_table(f"{net}, folding", several, _form, _folding))
    return "\n".join(parts)


def as_document(rows: Sequence[Row]) -> str:
    """``results.md``: how many cells came to what, the overview, and one line a group."""
    return f"{summary(rows)}\n\n{overview(rows)}\n{as_markdown(rows)}"


def usual_folding(held: Sequence[Group]) -> list[Group]:
    """One group of each method, bits and setting: of the folding most have, else of none."""
    found = [g.first.folding for g in held if g.first.folding is not None]
    usual = max(sorted(set(found)), key=found.count) if found else None
    chosen: dict[str, Group] = {}
    for g in held:
        kept = chosen.setdefault(_form(g), g)
        if _nearness(g, usual) > _nearness(kept, usual):
            chosen[_form(g)] = g
    return [g for g in held if chosen[_form(g)] is g]


def _nearness(g: Group, usual: int | None) -> int:
    return 2 if g.first.folding == usual else 1 if g.first.folding is None else 0


def several_foldings(held: Sequence[Group]) -> list[Group]:
    """The groups of each method, bits and setting that come with more than one folding."""
    counts: dict[str, int] = {}
    for g in held:
        counts[_form(g)] = counts.get(_form(g), 0) + 1
    return [g for g in held if counts[_form(g)] > 1]


def _method(g: Group) -> str:
    return g.first.method


def _form(g: Group) -> str:
    return f"{g.first.method}, {g.first.bits} bits, {g.first.setting}"


def _folding(g: Group) -> str:
    return "not folded" if g.first.folding is None else f"folding {g.first.folding}"


def _table(
    name: str, held: Sequence[Group], line: Callable[[Group], str], column: Callable[[Group], str]
) -> str:
    lines, columns = (list(dict.fromkeys(map(key, held))) for key in (line, column))
    found = {(line(g), column(g)): g for g in held}
    table = [[name, *columns], ["---"] * (1 + len(columns))]
    table += [[one, *(_cell(found.get((one, other))) for other in columns)] for one in lines]
    return "".join(f"| {' | '.join(texts)} |\n" for texts in table)


def _cell(g: Group | None) -> str:
    if g is not None and any(row.status == FAILED for row in g.rows):
        return FAILED
    if g is None or g.mean is None:
        return "-"
    return f"{g.mean:.2f}" if g.deployable else f"({g.mean:.2f})"


__all__ = ["NOTE", "as_document", "overview", "several_foldings", "usual_folding"]
