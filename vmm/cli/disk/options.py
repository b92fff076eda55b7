"""What the commands on disk images have in common: sizes, and where parents may lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from disks.words import printable
from vmm.errors import UsageError

if TYPE_CHECKING:
    from disks.vhd.parents import ParentRules

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

AllowRoot = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-root",
        metavar="DIR",
        help="A directory, besides the image's own, where the parents of a differencing image may lie.",
    ),
]
IgnoreParentId = Annotated[
    bool, typer.Option("--ignore-parent-id", help="Take a parent whose identity is not the one expected.")
]
BlockSize = Annotated[
    str | None,
    typer.Option("--block-size", metavar="SIZE", help="Blocks of a dynamic VHD: 2M (default) or 512K."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]


def parent_rules(allow_root: list[Path] | None, ignore_parent_id: bool = False) -> ParentRules:
    """Return the rules the options stand for."""
    from disks.vhd.parents import ParentRules

    return ParentRules(tuple(allow_root or ()), ignore_parent_id)


def parse_size(text: str) -> int:
    """Return the bytes `text` means: a number with an optional K, M, G or T (powers of 1024)."""
    upper = text.strip().upper()
    number = upper.removesuffix("IB").removesuffix("B") if upper[-1:] == "B" else upper
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        size = float(number.removesuffix(unit)) * _UNITS[unit]
        whole = int(size)
    except (ValueError, OverflowError):
        raise UsageError(f"size {text!r}: expected a number with K, M, G or T, such as 10M or 2G") from None
    if whole <= 0 or whole != size or whole % 512:
        raise UsageError(f"size {text!r}: expected a positive multiple of 512 bytes")
    return whole


def human(key: str, value: object) -> str:
    """Return a value for people: byte counts with a unit beside them, nothing a terminal would obey."""
    if not key.endswith("_bytes") or not isinstance(value, int) or value < 1024:
        return printable(value)
    return f"{value} ({scaled(value)})"


def scaled(size: int) -> str:
    """Return a byte count with the unit that suits it."""
    if size < 1024:
        return f"{size} B"
    amount, units = size / 1024, iter(("KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while amount >= 1024 and unit != "TiB":
        amount, unit = amount / 1024, next(units)
    return f"{amount:.4g} {unit}"
