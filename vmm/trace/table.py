"""The exit table: reason, count, share and what the host spent, most frequent first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from vmm.trace.events import ExitCount
from vmm.trace.reasons import find_reason

if TYPE_CHECKING:
    from rich.table import Table

NS_PER_US: Final = 1000
BAR_CELLS: Final = 12
BARS_FROM_COLUMNS: Final = 100  # a narrower terminal has no room for them
GAP_COLUMNS: Final = 3
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


def _columns(width: int, with_cycles: bool) -> list[str]:
    """Return the columns of numbers; the share gives way to the cycles where there is no room for both."""
    if not with_cycles:
        return ["count", "share", "host µs", "each"]
    share = ["share"] if width >= BARS_FROM_COLUMNS else []
    return ["count", *share, "host µs", "each", "cycles"]


def _build(exits: Mapping[str, ExitCount], width: int, utf8: bool) -> Table:
    from rich import box
    from rich.table import Table

    rows = exit_rows(exits)
    sums = {name: sum(row[name] for row in rows) for name in ("count", "host_us", "cycles")}
    names = _columns(width, sums["cycles"] > 0)
    total = _cells({**sums, "share": 1}, names) if rows else ["0", *[""] * (len(names) - 1)]
    cells = [_cells(row, names) for row in rows]
    if not utf8:
        names[names.index("host µs")] = "host us"
    bars = utf8 and width >= BARS_FROM_COLUMNS
    widths = [max(map(len, column)) for column in zip(names, total, *cells, strict=True)]
    reason_width = max([len(row["reason"]) for row in rows], default=10)
    gaps = (len(widths) + 2 + bars) * GAP_COLUMNS
    left = width - reason_width - sum(widths) - bars * BAR_CELLS - gaps
    table = Table(box=box.SIMPLE_HEAD if utf8 else box.ASCII2, show_footer=True, pad_edge=False)
    table.add_column(
        "reason", f"{len(rows)} reasons", style="bold cyan", no_wrap=True, min_width=reason_width
    )
    table.add_column("what left the guest", "", overflow="ellipsis", no_wrap=True, max_width=max(left, 1))
    for name, footer, wide in zip(names, total, widths, strict=True):
        table.add_column(name, footer, justify="right", no_wrap=True, min_width=wide)
    if bars:
        table.add_column("", "", style="green", no_wrap=True, min_width=BAR_CELLS)
    for row, columns in zip(rows, cells, strict=True):
        bar = [_bar(row["share"])] if bars else []
        table.add_row(row["reason"], row["title"], *columns, *bar)
    return table


def print_exits(exits: Mapping[str, ExitCount], stream: TextIO, width: int | None = None) -> None:
    """Print the table: coloured on a terminal, plain under NO_COLOR, ASCII where UTF-8 is not spoken."""
    from rich.console import Console

    console = Console(file=stream, width=width, highlight=False)
    console.print(_build(exits, console.width, console.encoding.startswith("utf")))
