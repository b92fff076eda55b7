"""The exit table: reason, count, share and what the host spent, most frequent first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

from vmm.trace.events import ExitCount
from vmm.trace.reasons import find_reason

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NS_PER_US: Final = 1000
BAR_CELLS: Final = 12
BARS_FROM_COLUMNS: Final = 100  # a narrower terminal has no room for them
GAP_COLUMNS: Final = 3
PIPED_COLUMNS: Final = 200  # a file, or a pipe, breaks no lines
LEAST_TITLE: Final = 8
FULL_CELL: Final = "█"
PART_CELLS: Final = " ▏▎▍▌▋▊▉"


def sorted_exits(exits: Mapping[str, ExitCount]) -> list[tuple[str, ExitCount]]:
    """Return the reasons that occurred, most frequent first, then by name."""
    seen = [(key, count) for key, count in exits.items() if count.count]
    return sorted(seen, key=lambda entry: (-entry[1].count, entry[0]))


def exit_rows(exits: Mapping[str, ExitCount]) -> list[dict[str, Any]]:
    """Return the table as values for JSON: reason, title, count, share, host_us and cycles."""
    total = sum(count.count for count in exits.values()) or 1
    return [
        {
            "reason": key,
            "title": find_reason(key).title,
            "count": count.count,
            "share": round(count.count / total, 6),
            "host_us": round(count.host_ns / NS_PER_US, 3),
            "cycles": count.cycles,
        }
        for key, count in sorted_exits(exits)
    ]


def _bar(share: float) -> str:
    eighths = round(share * BAR_CELLS * 8)
    return (FULL_CELL * (eighths // 8) + PART_CELLS[eighths % 8]).rstrip()


def _cells(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    texts = {
        "count": f"{row['count']:,}",
        "share": f"{row['share'] * 100:.1f} %",
        "host µs": f"{row['host_us']:,.0f}",
        "each": f"{row['host_us'] / row['count']:,.2f}",
        "cycles": f"{row['cycles']:,}" if row["cycles"] else "",
    }
    return [texts[name] for name in names]


class Layout(NamedTuple):
    """The columns of numbers, how wide everything is, and the cells of the bar, if there is one."""

    names: list[str]
    widths: list[int]
    reason_width: int
    title_width: int
    bars: int


def _chosen(rows: Sequence[dict[str, Any]], total: dict[str, Any], width: int, bars: int) -> Layout:
    """Return the columns of numbers: what can be worked out from the others gives way to whole titles.

    In a terminal too narrow for that, times and cycles give way to titles of whole words.
    """
    names = ["count", "share", "host µs", "each", *(["cycles"] if total["cycles"] else [])]
    reason_width = max([len(row["reason"]) for row in rows], default=10)
    longest = max([len(row["title"]) for row in rows], default=0)
    longest_word = max([len(word) for row in rows for word in row["title"].split()], default=0)
    for gives_way in ("bars", "share", "each", "host µs", "cycles", ""):
        texts = [_cells(row, names) for row in (total, *rows) if row["count"]]
        widths = [max(map(len, column)) for column in zip(names, *texts, strict=True)]
        gaps = (len(widths) + 2 + bool(bars)) * GAP_COLUMNS
        left = width - reason_width - sum(widths) - bars - gaps
        if left >= (longest_word if gives_way in ("host µs", "cycles") else longest):
            break
        if gives_way == "bars":
            bars = 0
        elif gives_way in names:
            names.remove(gives_way)
    return Layout(names, widths, reason_width, max(left, LEAST_TITLE), bars)


def _build(exits: Mapping[str, ExitCount], width: int, utf8: bool) -> Table:
    from rich import box
    from rich.table import Table

    rows = exit_rows(exits)
    total = {"share": 1, **{name: sum(row[name] for row in rows) for name in ("count", "host_us", "cycles")}}
    layout = _chosen(rows, total, width, BAR_CELLS if utf8 and width >= BARS_FROM_COLUMNS else 0)
    names = layout.names
    footers = _cells(total, names) if rows else ["0", *[""] * (len(names) - 1)]
    table = Table(box=box.SIMPLE_HEAD if utf8 else box.ASCII2, show_footer=True, pad_edge=False)
    table.add_column(
        "reason", f"{len(rows)} reasons", style="bold cyan", no_wrap=True, min_width=layout.reason_width
    )
    table.add_column("what left the guest", "", overflow="fold", max_width=layout.title_width)
    for name, footer, wide in zip(names, footers, layout.widths, strict=True):
        head = name if utf8 else name.replace("µ", "u")
        table.add_column(head, footer, justify="right", no_wrap=True, min_width=wide)
    if layout.bars:
        table.add_column("", "", style="green", no_wrap=True, min_width=layout.bars)
    for row in rows:
        bar = [_bar(row["share"])] if layout.bars else []
        table.add_row(row["reason"], row["title"], *_cells(row, names), *bar)
    return table


def open_console(stream: TextIO, width: int | None = None) -> Console:
    """Return a console for tables; a file or a pipe is as wide as they like, unless COLUMNS is set."""
    from rich.console import Console

    console = Console(file=stream, width=width, highlight=False)
    if width is None and not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    return console


def print_exits(exits: Mapping[str, ExitCount], stream: TextIO, width: int | None = None) -> None:
    """Print the table: coloured on a terminal, plain under NO_COLOR, ASCII where UTF-8 is not spoken."""
    console = open_console(stream, width)
    console.print(_build(exits, console.width, console.encoding.startswith("utf")))
