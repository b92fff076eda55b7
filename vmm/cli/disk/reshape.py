"""`trapline disk compact`, `resize` and `reparent`: an image changed in place, its contents kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from disks.words import printable
from vmm.cli.disk.options import AllowRoot, AsJson, DryRun, IgnoreParentId, human, parent_rules, parse_size
from vmm.cli.disk.progress import progress
from vmm.errors import UsageError

if TYPE_CHECKING:
    from disks.vhd.resize import Resizing

COMPACT_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk compact disk.vhd\n\ntrapline disk compact --dry-run child.vhd"
)
RESIZE_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk resize disk.vhd 40G\n\ntrapline disk resize --dry-run disk.vhd 512M"
)
REPARENT_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk reparent child.vhd\n\ntrapline disk reparent child.vhd /images/base.vhd\n\n"
    "trapline disk reparent --fix-timestamp child.vhd"
)
_PARTITIONS: Final = "partition table and file systems are untouched: the guest has to be told"


def compact(
    path: Annotated[Path, typer.Argument(help="A dynamic or differencing VHD that nobody uses.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    allow_root: AllowRoot = None,
    ignore_parent_id: IgnoreParentId = False,
) -> None:
    """Drop what an image need not hold, and give the room back to the host.

    Blocks of zeros go; of a differencing image, blocks that hold what the parent holds. The contents
    stay, and so does the file's time of modification, which children of the image note. Zero the free
    room of the guest's file systems first. Ctrl-C at any moment leaves a good image; run it again to go on.
    """
    from disks.vhd.compact import compact as compact_image

    rules = parent_rules(allow_root, ignore_parent_id)
    with progress(f"compacting {path.name}", 2 * path.stat().st_size) as told:
        done, warnings = compact_image(path, rules, dry_run=dry_run, progress=told)
    facts: dict[str, object] = {
        "path": str(path),
        "dry_run": dry_run,
        "blocks_dropped": len(done.dropped),
        "blocks_moved": len(done.moves),
        "old_file_bytes": done.bytes_before,
        "new_file_bytes": done.bytes_after,
        "saved_bytes": done.bytes_before - done.bytes_after,
    }
    _report(facts, list(warnings), as_json)


def resize(
    path: Annotated[Path, typer.Argument(help="A fixed or dynamic VHD that nobody uses.")],
    size: Annotated[str, typer.Argument(help="The new size the guest sees: 10M, 2G, ... up to 2040G.")],
    force: Annotated[bool, typer.Option("--force", help="Also if other images stand on it.")] = False,
    search: Annotated[
        list[Path] | None,
        typer.Option("--search", metavar="DIR", help="A directory, besides its own, with its children."),
    ] = None,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="Fixed VHD: take new room on the host only when written.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Give a disk another size.

    Only zeros are cut off: a disk that holds data past its new end is refused. Partition table and file
    systems are the guest's, and stay as they are. A differencing image has the size of its parent.
    Ctrl-C at any moment leaves the old size or the new one.
    """
    from disks.vhd.resize import resize as resize_image

    new = parse_size(size)
    with progress(f"resizing {path.name}", new) as done:
        outcome = resize_image(
            path, new, search=search or (), force=force, sparse=sparse, dry_run=dry_run, progress=done
        )
    _report(_resizing(path, outcome, dry_run), _resize_notes(outcome), as_json)


def _resizing(path: Path, outcome: Resizing, dry_run: bool) -> dict[str, object]:
    return {
        "path": str(path),
        "dry_run": dry_run,
        "type": outcome.disk_type,
        "old_virtual_bytes": outcome.old_bytes,
        "new_virtual_bytes": outcome.new_bytes,
        "blocks_moved": outcome.blocks_moved,
    }


def _resize_notes(outcome: Resizing) -> list[str]:
    notes = [
        f"{child} stands on it and keeps the size it has: read past its parent's end it has zeros"
        for child in outcome.children
    ]
    return [*notes, _PARTITIONS] if outcome.new_bytes != outcome.old_bytes else notes


def reparent(
    child: Annotated[Path, typer.Argument(help="A differencing VHD that nobody uses.")],
    parent: Annotated[
        Path | None, typer.Argument(help="Its parent; default: its own, wherever that is found now.")
    ] = None,
    fix_timestamp: Annotated[
        bool, typer.Option("--fix-timestamp", help="Only note when the parent was modified last.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take another image or size: the contents may become nonsense.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    allow_root: AllowRoot = None,
) -> None:
    """Tell a differencing image where its parent lies, and what it is.

    After a move: the names in the image are made to fit. Without PARENT, the parent is looked for as
    always and then by its identity, beside the image and in each --allow-root. Another image than the
    one the child was made on is taken only with --force; else the contents stay, and so does the time of
    modification, which children of the image note. Ctrl-C at any moment leaves the old names or the new.
    """
    from disks.vhd.reparent import reparent as reparent_image

    if fix_timestamp and parent is not None:
        raise UsageError("--fix-timestamp goes without PARENT: naming a parent notes its time as well")
    done = reparent_image(
        child, parent, parent_rules(allow_root), force=force, only_timestamp=fix_timestamp, dry_run=dry_run
    )
    facts: dict[str, object] = {
        "path": str(child),
        "dry_run": dry_run,
        "changed": done.changed,
        "parent": str(done.parent.path),
        "old_parent_id": str(done.old_id),
        "new_parent_id": str(done.parent.unique_id),
        "old_parent_name": done.old_name,
        "new_parent_name": done.new_name,
        "old_parent_modified": _time(done.old_timestamp),
        "new_parent_modified": _time(done.parent.modified),
    }
    _report(facts, list(done.warnings), as_json)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _report(facts: dict[str, object], warnings: list[str], as_json: bool) -> None:
    """Print what was done, or would be: as one JSON object, or a line a fact and the warnings behind."""
    if as_json:
        typer.echo(json.dumps({**facts, "warnings": warnings}, indent=2))
        return
    for key, value in facts.items():
        if key != "dry_run":
            shown = ("yes" if value else "no") if isinstance(value, bool) else human(key, value)
            typer.echo(f"{key.replace('_', ' ') + ':':20} {shown}")
    if facts["dry_run"]:
        typer.echo("nothing was changed (--dry-run)")
    for warning in warnings:
        typer.echo(f"note: {printable(warning)}", err=True)
