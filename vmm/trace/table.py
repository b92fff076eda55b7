"""The exit table: reason, count, share and what the host spent, most frequent first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TextIO

from vmm.trace.events import ExitCount
from vmm.trace.reasons import find_reason

if TYPE_CHECKING:
    from rich.table import Table

NS_PER_US: Final = 1000
BAR_CELLS: Final = 12
FULL_CELL: Final = "█"
PART_CELLS: Final = " ▏▎▍▌▋▊▉"


def sorted_exits(exits: Mapping[str, ExitCount]) -> list[tuple[str, ExitCount]]:
    """Return the reasons that occurred, most frequent first, then by name."""
    seen = [(key, count) for key, count in exits.items() if count.count]
    return sorted(seen, key=lambda entry: (-entry[1].count, entry[0]))


def exit_rows(exits: Mapping[str, ExitCount]) -> list[dict[str, Any]]:
    """Return the table as values for JSON: reason, title, count, share and host_us."""
    total = sum(count.count for count in exits.values()) or 1
    return [
        {
            "reason": key,
            "title": find_reason(key).title,
            "count": count.count,
            "share": round(count.count / total, 6),
            "host_us": round(count.host_ns / NS_PER_US, 3),
        }
        for key, count in sorted_exits(exits)
    ]


def _bar(share: float) -> str:
    eighths = round(share * BAR_CELLS * 8)
    return (FULL_CELL * (eighths // 8) + PART_CELLS[eighths % 8]).rstrip()


def _build(exits: Mapping[str, ExitCount], bars: bool) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if bars else box.ASCII2, show_footer=True, pad_edge=False)
    rows = exit_rows(exits)
    count, host_us = sum(row["count"] for row in rows), sum(row["host_us"] for row in rows)
    table.add_column("reason", f"{len(rows)} reasons", style="bold cyan", no_wrap=True)
    table.add_column("what left the guest", "", overflow="ellipsis", no_wrap=True)
    table.add_column("count", f"{count:,}", justify="right", no_wrap=True)
    table.add_column("share", "100.0 %" if rows else "", justify="right", no_wrap=True)
    if bars:
        table.add_column("", "", style="green", min_width=BAR_CELLS, no_wrap=True)
    table.add_column("host µs" if bars else "host us", f"{host_us:,.0f}", justify="right", no_wrap=True)
    table.add_column("each", f"{host_us / count:,.2f}" if count else "", justify="right", no_wrap=True)
    for row in rows:
        cells = [row["reason"], row["title"], f"{row['count']:,}", f"{row['share'] * 100:.1f} %"]
        cells += [_bar(row["share"])] if bars else []
        each = row["host_us"] / row["count"]
        table.add_row(*cells, f"{row['host_us']:,.0f}", f"{each:,.2f}")
    return table


def print_exits(exits: Mapping[str, ExitCount], stream: TextIO, width: int | None = None) -> None:
    """Print the table: coloured on a terminal, plain under NO_COLOR, ASCII where UTF-8 is not spoken."""
    from rich.console import Console

    console = Console(file=stream, width=width, highlight=False)
    console.print(_build(exits, bars=console.encoding.startswith("utf")))
