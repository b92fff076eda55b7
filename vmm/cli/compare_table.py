"""The table of a comparison: a column a technique; array, exits, costs; then what is behind each star."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from vmm.techniques.compare import Column, slowdown
from vmm.trace.events import ExitCount
from vmm.trace.table import open_console

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

STAR: Final = " *"
NONE: Final = "-"
LONGEST_CELL: Final = 12
MOST_REASONS: Final = 24
LEAST_LABEL: Final = 20
GAP: Final = 3  # between two columns
EDGES: Final = 2
Rows = list[tuple[str, list[str]]]
Sections = Sequence[tuple[str, Rows]]


def print_comparison(columns: Sequence[Column], stream: TextIO, *, whole: bool = False) -> None:
    """Print the table; with `whole` every entry of the array, else those that differ somewhere.

    Where a terminal has no room for all techniques there are several tables, bare first in each.
    """
    console = open_console(stream)
    utf8 = console.encoding.startswith("utf")
    sections = (
        ("RESULTS", array_rows(columns, whole=whole)),
        ("EXITS", exit_rows(columns, whole=whole)),
        ("IN ALL", total_rows(columns, utf8)),
    )
    names = [column.outcome.technique.replace("-", "-\n") for column in columns]
    label_width, groups = _layout(names, sections, console.width)
    for group in groups:
        console.print(_table([names[index] for index in group], _part(sections, group), utf8, label_width))
    for column in columns:
        _print_notes(console.print, column)


def _layout(names: Sequence[str], sections: Sections, width: int) -> tuple[int, list[list[int]]]:
    """Return how wide the first column is, and which columns each table has, by number."""
    rows = [row for _, rows in sections for row in rows]
    longest = max(len(label) for label, _ in rows) + 1
    label_width = min(longest, max(width * 2 // 5, LEAST_LABEL))
    widths = [
        max(*map(len, name.split("\n")), *(len(cells[index]) for _, cells in rows)) + GAP
        for index, name in enumerate(names)
    ]
    groups: list[list[int]] = [[0]]
    left = room = width - label_width - EDGES - widths[0]
    for index in range(1, len(names)):
        if widths[index] > left and len(groups[-1]) > 1:
            groups.append([0])
            left = room
        groups[-1].append(index)
        left -= widths[index]
    return label_width, groups


def _part(sections: Sections, group: Sequence[int]) -> Sections:
    """Return the cells of some columns, without the rows that say nothing of them."""
    found = []
    for title, rows in sections:
        part = [(label, [cells[index] for index in group]) for label, cells in rows]
        found.append((title, [(label, cells) for label, cells in part if any(c != NONE for c in cells)]))
    return found


def _table(names: Sequence[str], sections: Sections, utf8: bool, label_width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if utf8 else box.ASCII2, pad_edge=False)
    table.add_column("", style="cyan", overflow="fold", min_width=label_width, max_width=label_width)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for title, rows in sections:
        if rows:
            table.add_row(Text(title, style="bold"))
        for label, cells in rows:
            table.add_row(Text(f" {label}"), *map(_styled, cells))
        table.add_section()
    return table


def _styled(cell: str) -> Text:
    from rich.text import Text

    return Text(cell, style="bold red" if cell.endswith(STAR) else "")


def array_rows(columns: Sequence[Column], *, whole: bool) -> Rows:
    """Return a row an entry, and one that counts how many are equal to bare's."""
    bare = next(column for column in columns if column.outcome.technique == "bare")
    if not bare.array:
        return []
    values = [{entry.index: entry.value for entry in column.array} for column in columns]
    wrong = [
        {difference.index for difference in column.differences if difference.got is not None}
        for column in columns
    ]
    rows: Rows = []
    for entry in bare.array:
        if not (whole or any(entry.index in indexes for indexes in wrong)):
            continue
        cells = [
            _short(value.get(entry.index, NONE)) + (STAR if entry.index in indexes else "")
            for value, indexes in zip(values, wrong, strict=True)
        ]
        rows.append((f"{entry.index:03d} {entry.name}", cells))
    total = len(bare.array)
    rows.append((f"equal to bare, of {total}", [f"{total - len(c.differences)}" for c in columns]))
    return rows


def _short(value: str) -> str:
    return value if len(value) <= LONGEST_CELL else f"{value[: LONGEST_CELL - 1]}~"


def exit_rows(columns: Sequence[Column], *, whole: bool) -> Rows:
    """Return a row a reason, most frequent first; rare ones together unless `whole` is asked for."""
    reasons = {reason for column in columns for reason in column.outcome.exits}
    counts = {
        reason: [column.outcome.exits.get(reason, ExitCount()).count for column in columns]
        for reason in reasons
    }
    order = sorted(counts, key=lambda reason: (-max(counts[reason]), reason))
    shown = order if whole or len(order) <= MOST_REASONS + 1 else order[:MOST_REASONS]
    rows = [(reason, [f"{count:,}" if count else NONE for count in counts[reason]]) for reason in shown]
    rest = order[len(shown) :]
    if rest:
        sums = [sum(column) for column in zip(*(counts[reason] for reason in rest), strict=True)]
        label = f"{len(rest)} rarer reasons (--all)"
        rows.append((label, [f"{count:,}" if count else NONE for count in sums]))
    return rows


def total_rows(columns: Sequence[Column], utf8: bool) -> Rows:
    """Return exits, host time, cycles, wall time and slowdown."""
    ratios = [slowdown(column, columns) for column in columns]
    return [
        ("exits", [f"{column.count:,}" for column in columns]),
        (f"host {'µs' if utf8 else 'us'} in exits", [f"{column.host_us:,.0f}" for column in columns]),
        ("modelled cycles", [f"{column.cycles:,}" if column.cycles else NONE for column in columns]),
        ("wall seconds", [f"{column.outcome.wall_s:.2f}" for column in columns]),
        ("slowdown", [NONE if ratio is None else f"{ratio:.2f}x" for ratio in ratios]),
    ]


def _print_notes(say: Callable[[Text], None], column: Column) -> None:
    from rich.text import Text

    outcome = column.outcome
    differing = [difference for difference in column.differences if difference.got is not None]
    missing = len(column.differences) - len(differing)
    if outcome.fault:
        lost = f", {missing} entries not reached" if missing else ""
        say(Text(f"{outcome.technique} ended before its time: {outcome.fault}{lost}", style="yellow"))
    elif missing:
        say(Text(f"{outcome.technique}: {missing} entries are missing", style="yellow"))
    if differing:
        say(Text(f"{outcome.technique} differs from bare in {len(differing)} places:", style="bold"))
    for difference in differing:
        why = f"{difference.instruction}: {difference.reason}" if difference.reason else "no cause was named"
        say(Text(f"  {difference.index:03d} {difference.name}: {difference.got}, not {difference.bare}"))
        say(Text(f"      {why}"))
