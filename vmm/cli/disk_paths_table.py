"""The table of `trapline compare --disk-paths`: a row a path, first reading, then writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TextIO

from vmm.cli.disk_path_child import Work
from vmm.cli.disk_paths import GROUPS, SECTOR_BYTES, Measured, grouped
from vmm.trace.table import open_console

if TYPE_CHECKING:
    from rich.table import Table

NONE: Final = "-"
ALMOST_NOTHING: Final = 0.0005
BROKEN: Final = {"interrupt": "inter-\nrupt", "hypercall": "hyper-\ncall"}  # nine columns go into 80
WAYS: Final = {"read": "READING", "write": "WRITING"}


def print_paths(paths: Sequence[Measured], stream: TextIO) -> None:
    """Print the table, then why a path has no numbers."""
    from rich.text import Text

    console = open_console(stream)
    console.print(_table(paths, console.encoding.startswith("utf")))
    for path, outcome in paths:
        if outcome.fault:
            console.print(Text(f"{path.title}: {outcome.fault}", style="yellow"))


def _table(paths: Sequence[Measured], utf8: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if utf8 else box.ASCII2, pad_edge=False, padding=0)
    table.add_column("", style="cyan", no_wrap=True)
    groups = [BROKEN.get(group, group) for group in GROUPS]
    headings = ("exits/\nsector", *groups, "other", "bytes/\nexit", "inter-\nrupts\nin all",
                f"host\n{'µs' if utf8 else 'us'}/\nsector")  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for way, title in WAYS.items():
        works = [(path.title, outcome.work[way]) for path, outcome in paths if way in outcome.work]
        if works:
            sizes = {f"{work.sectors:,}" for _, work in works}
            table.add_row(Text(title, style="bold"))
            if len(sizes) == 1:
                table.add_row(Text(f"{sizes.pop()} sectors", style="bold"))
        for name, work in works:
            table.add_row(Text(f" {name}"), *cells(work))
        table.add_section()
    return table


def cells(work: Work) -> list[str]:
    """Return the numbers of a row; the groups are parts of the exits a sector."""
    count = sum(entry.count for entry in work.exits.values())
    groups = grouped(work)
    return [
        _number(count / work.sectors),
        *(_number(number / work.sectors) for number in groups.values()),
        f"{work.sectors * SECTOR_BYTES / count:,.0f}" if count else NONE,
        f"{groups['interrupt']:,}",
        _number(work.host_ns / 1e3 / work.sectors),
    ]


def _number(value: float) -> str:
    return NONE if value < ALMOST_NOTHING else f"{value:.3f}" if value < 10 else f"{value:.1f}"
