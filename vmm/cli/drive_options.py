"""Options of `trapline run` about the hard disks: which, what survives, undo disks, where parents may lie."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

DRIVES: Final = "Hard disks"


class UndoName(StrEnum):
    """Values of `--undo-action`."""

    ASK = "ask"
    COMMIT = "commit"
    KEEP = "keep"
    DISCARD = "discard"


HdOption = Annotated[
    list[str] | None,
    typer.Option(
        "--hd",
        metavar="PATH[,OPTION=...]",
        help="A disk, raw or VHD; repeatable. Options: format=raw|vhd; "
        "sync=always (every write survives a crash of the host), on-flush (what the guest flushed does; "
        "default), never (only a crash of Trapline is survived); "
        "parent-writable=yes (write it though images stand on it).",
        rich_help_panel=DRIVES,
    ),
]
SnapshotOption = Annotated[
    bool,
    typer.Option(
        "--snapshot", metavar="", help="Drop what is written to disks and floppies.", rich_help_panel=DRIVES
    ),
]
UndoOption = Annotated[
    bool,
    typer.Option(
        "--undo",
        metavar="",
        help="Write to undo disks (disk.undo.vhd), and ask at the end: commit, keep or discard.",
        rich_help_panel=DRIVES,
    ),
]
UndoActionOption = Annotated[
    UndoName | None,
    typer.Option(
        help="--undo for scripts: what becomes of the undo disks. Default ask, or keep without a terminal.",
        rich_help_panel=DRIVES,
    ),
]
AllowRootOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-root",
        metavar="DIR",
        help="Where parents of a differencing VHD may lie, besides its own directory; repeatable.",
        rich_help_panel=DRIVES,
    ),
]
IgnoreParentIdOption = Annotated[
    bool,
    typer.Option(
        "--ignore-parent-id",
        metavar="",
        help="Take a parent of a VHD whose identity is not the one expected.",
        rich_help_panel=DRIVES,
    ),
]


def chosen_undo(undo: bool, action: UndoName | None) -> str | None:
    """Return what the two options ask for; None if for nothing."""
    if action is not None:
        return action.value
    return UndoName.ASK.value if undo else None
