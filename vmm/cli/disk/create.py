"""`trapline disk create`."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from vmm.cli.disk.options import (
    AllowRoot,
    AsJson,
    BlockSize,
    DryRun,
    Force,
    IgnoreParentId,
    human,
    parent_rules,
    parse_size,
)
from vmm.cli.disk.progress import progress
from vmm.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from disks.hostfile import HostFile
    from disks.vhd.parents import ParentRules

CREATE_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk create disk.vhd 10G\n\n"
    "trapline disk create --type fixed boot.vhd 64M\n\ntrapline disk create data.img 512M\n\n"
    "trapline disk create --parent base.vhd child.vhd"
)
FORMAT_OF_SUFFIX: Final = {
    ".vhd": "vhd",
    ".vpc": "vhd",
    ".img": "raw",
    ".raw": "raw",
    ".bin": "raw",
    ".dd": "raw",
    "": "raw",
}


class FormatName(StrEnum):
    """Values of `--format`."""

    VHD = "vhd"
    RAW = "raw"


class TypeName(StrEnum):
    """Values of `--type`."""

    FIXED = "fixed"
    DYNAMIC = "dynamic"


def create(
    path: Annotated[Path, typer.Argument(help="The new image; its suffix decides the format.")],
    size: Annotated[
        str | None, typer.Argument(help="Size the guest sees: 10M, 2G, ... A child has its parent's.")
    ] = None,
    disk_type: Annotated[
        TypeName | None, typer.Option("--type", help="VHD: dynamic grows on use (default), fixed does not.")
    ] = None,
    disk_format: Annotated[
        FormatName | None, typer.Option("--format", help="Default: vhd for .vhd, raw for .img and .raw.")
    ] = None,
    block_size: BlockSize = None,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="Fixed VHD: take room on the host only when written.")
    ] = False,
    force: Force = False,
    parent: Annotated[
        Path | None,
        typer.Option("--parent", metavar="VHD", help="Make a differencing VHD, which stands on this image."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    allow_root: AllowRoot = None,
    ignore_parent_id: IgnoreParentId = False,
) -> None:
    """Make an empty disk image, or a child that shows its parent until it is written."""
    place = Place(path, force, dry_run)
    if parent is not None:
        given = {"SIZE": size, "--type": disk_type, "--block-size": block_size, "--sparse": sparse or None}
        _refuse_for_child([name for name, value in given.items() if value is not None])
        if disk_format is FormatName.RAW:
            raise UsageError("--parent is for VHD images; a raw image has no parent")
        facts = _create_child(place, parent, parent_rules(allow_root, ignore_parent_id))
    else:
        if allow_root or ignore_parent_id:
            raise UsageError("--allow-root and --ignore-parent-id go with --parent; there is none")
        if size is None:
            raise UsageError("SIZE is missing: say how large the disk is, such as 10G, or name its --parent")
        kind = disk_format.value if disk_format else _format_for(path)
        if kind == "raw" and disk_type is not None:
            raise UsageError("--type is for VHD images; a raw image has no types")
        kind = kind if kind == "raw" else (disk_type or TypeName.DYNAMIC).value
        facts = _create_base(place, kind, parse_size(size), block_size, sparse)
    _report(facts, dry_run, as_json)


class Place(NamedTuple):
    """Where an image is made, or only seems to be."""

    path: Path
    force: bool
    dry_run: bool

    def file(self) -> AbstractContextManager[HostFile]:
        """Return the new file."""
        from disks.newfile import new_file, no_file

        return (no_file if self.dry_run else new_file)(self.path, replace=self.force)


def _create_base(
    place: Place, kind: str, size_bytes: int, block_size: str | None, sparse: bool
) -> dict[str, object]:
    from disks.vhd.create import Identity, write_dynamic, write_fixed

    if sparse and kind != "fixed":
        raise UsageError("--sparse is for fixed VHD images; others take room only as they are written")
    if block_size is not None and kind != "dynamic":
        raise UsageError("--block-size is for dynamic VHD images")
    who = Identity()
    facts: dict[str, object] = {"path": str(place.path), "format": "vhd", "type": kind}
    with progress(f"creating {place.path.name}", size_bytes) as done, place.file() as file:
        if kind == "raw":
            file.resize(size_bytes)
            facts |= {"format": "raw", "type": None}
        elif kind == "fixed":
            write_fixed(file, size_bytes, sparse=sparse or place.dry_run, progress=done, identity=who)
        else:
            block_bytes = parse_size(block_size or "2M")
            write_dynamic(file, size_bytes, block_bytes=block_bytes, identity=who)
            facts["block_bytes"] = block_bytes
        facts |= {"virtual_bytes": size_bytes, "file_bytes": file.size()}
    return facts if kind == "raw" else {**facts, "unique_id": str(who.unique_id)}


def _refuse_for_child(given: list[str]) -> None:
    """A child is like its parent: nothing of it can be chosen."""
    if given:
        what = ", ".join(given)
        raise UsageError(
            f"{what} cannot go with --parent: size and blocks are the parent's, the type differencing"
        )


def _create_child(place: Place, parent: Path, rules: ParentRules) -> dict[str, object]:
    from disks.open import open_image
    from disks.vhd.create import Identity, roots_needed, write_child
    from disks.vhd.fixed import FixedVhd
    from disks.vhd.sparse import SparseVhd

    path, who = place.path, Identity()
    if path.resolve() == parent.resolve():
        raise UsageError(f"{path}: an image cannot be its own parent")
    image = open_image(parent, read_only=True, parents=rules)
    try:
        if not isinstance(image, FixedVhd | SparseVhd):
            raise ConfigError(
                f"{parent}: a raw image cannot be a parent, since it has no identity; trapline disk convert "
                "makes a VHD of it"
            )
        with place.file() as file:
            write_child(file, path, image, identity=who)
            file_bytes = file.size()
        return {
            "path": str(path),
            "format": "vhd",
            "type": "differencing",
            "virtual_bytes": image.size_bytes,
            "file_bytes": file_bytes,
            "unique_id": str(who.unique_id),
            "parent": str(parent),
            "roots_needed": [str(root) for root in roots_needed(path, image)],
        }
    finally:
        image.close()


def _report(facts: dict[str, object], dry_run: bool, as_json: bool) -> None:
    """Say what was made: without --json and --dry-run only, on stderr, what opening a child will need."""
    roots = facts.get("roots_needed", [])
    for root in roots if isinstance(roots, list) else ():
        typer.echo(f"trapline: opening {facts['path']} will need --allow-root {root}", err=True)
    if dry_run:
        facts.pop("unique_id", None)  # every image has another
    if as_json:
        typer.echo(json.dumps({**facts, "dry_run": dry_run}, indent=2))
    elif dry_run:
        for key, value in facts.items():
            if value and key != "roots_needed":
                typer.echo(f"{key.replace('_', ' ') + ':':18}{human(key, value)}")
        typer.echo("nothing was written (--dry-run)")


def _format_for(path: Path) -> str:
    """Return the format the suffix of `path` stands for."""
    kind = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path}: no format goes with {path.suffix}; say --format vhd or --format raw")
    return kind
