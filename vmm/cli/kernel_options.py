"""The options of `trapline run` that say which kernel is started, and how."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

BOOTING: Final = "Firmware and kernel"


class EntryName(StrEnum):
    """Values of `--entry`."""

    AUTO = "auto"
    REAL = "16"
    PROTECTED = "32"
    LONG = "64"


KernelOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="A bzImage, a Multiboot kernel or a flat binary.", rich_help_panel=BOOTING
    ),
]
InitrdOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE[ ARGS]",
        help="Its RAM disk; for Multiboot a module with its arguments. Repeatable.",
        rich_help_panel=BOOTING,
    ),
]
AppendOption = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Its command line.", rich_help_panel=BOOTING)
]
EntryOption = Annotated[
    EntryName | None,
    typer.Option(
        help="The mode it starts in: 16 (after the BIOS), 32 or 64 bits. Default auto: as its file says.",
        rich_help_panel=BOOTING,
    ),
]
LoadAddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="It is a flat binary for this address, such as 0x7c00, 1M or 1000:0100.",
        rich_help_panel=BOOTING,
    ),
]
