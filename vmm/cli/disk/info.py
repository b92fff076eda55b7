"""`trapline disk info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vmm.cli.disk.options import AllowRoot, AsJson, IgnoreParentId, human, parent_rules

if TYPE_CHECKING:
    from disks.image import BlockImage
    from disks.vhd.facts import ParentFacts
    from disks.vhd.parents import ParentRules
    from disks.vhd.sparse import SparseVhd

INFO_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk info disk.vhd\n\ntrapline disk info --json disk.vhd\n\n"
    "trapline disk info --allow-root /srv/bases child.vhd"
)


def info(
    path: Annotated[Path, typer.Argument(help="An image.")],
    as_json: AsJson = False,
    allow_root: AllowRoot = None,
    ignore_parent_id: IgnoreParentId = False,
) -> None:
    """Say what an image is, how large, and what is odd about it.

    Of a differencing image whose parent cannot be used, what the image itself says is told, with a warning.
    """
    image, problems = _open(path, parent_rules(allow_root, ignore_parent_id))
    try:
        facts = describe(path, image, problems)
    finally:
        image.close()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        if value is None:
            continue
        for line in value if isinstance(value, list) else [value]:
            typer.echo(f"{key.replace('_', ' ') + ':':18}{human(key, line)}")


def _open(path: Path, rules: ParentRules) -> tuple[BlockImage, list[str]]:
    """Open an image, if need be without its parent or its name; return it with what is wrong with that."""
    from disks.errors import HOST_ERRORS, UnclearFormatError
    from disks.hostfile import HostFile
    from disks.open import open_image
    from disks.vhd.opening import open_level
    from disks.vhd.sparse import SparseVhd

    try:
        return open_image(path, read_only=True, parents=rules), []
    except HOST_ERRORS as problem:
        file = HostFile.open(path, read_only=True)
        try:
            image = open_level(file)
        except BaseException:
            file.close()
            raise problem from None
        is_child = isinstance(image, SparseVhd) and image.is_differencing
        if is_child or isinstance(problem, UnclearFormatError):
            return image, [" ".join(str(problem).split())]
        image.close()
        raise


def describe(path: Path, image: BlockImage, problems: list[str]) -> dict[str, object]:
    """Return the facts `info` prints, plain values only."""
    from disks.vhd.facts import level_facts
    from disks.vhd.fixed import FixedVhd
    from disks.vhd.sparse import SparseVhd

    status = path.stat()
    vhd = image if isinstance(image, FixedVhd | SparseVhd) else None
    facts: dict[str, object] = {
        "path": str(path),
        "format": "vhd" if vhd else "raw",
        "virtual_bytes": image.size_bytes,
        "file_bytes": status.st_size,
        "allocated_bytes": status.st_blocks * 512,
    }
    if vhd is None:
        return facts
    footer = vhd.footer
    facts["type"] = footer.type_name
    facts["unique_id"] = str(footer.unique_id)
    facts["creator"] = footer.creator_application.decode("ascii", "replace").strip("\0 ")
    facts["created"] = footer.created.isoformat()
    facts["geometry"] = "{}/{}/{}".format(*footer.geometry)
    if isinstance(vhd, SparseVhd):
        facts["block_bytes"] = vhd.store.header.block_bytes
        facts["blocks"] = vhd.store.table.blocks
        facts["blocks_used"] = vhd.store.table.present()
        own = level_facts(path)
        facts["footer_copy"] = own.footer_copy
        if own.parent is not None:
            facts.update(_parent_facts(vhd, own.parent))
    facts["warnings"] = [*vhd.warnings, *problems]
    return facts


def _parent_facts(image: SparseVhd, said: ParentFacts) -> dict[str, object]:
    """Return what a differencing image says of its parent, and what was found."""
    from datetime import UTC, datetime

    from disks.vhd.layout import EPOCH_UNIX_SECONDS

    header, parent = image.store.header, image.parent
    noted = datetime.fromtimestamp(header.parent_timestamp + EPOCH_UNIX_SECONDS, UTC)
    facts: dict[str, object] = {
        "parent_name": said.name,
        "parent_id": str(header.parent_id),
        "parent_locators": [f"{code}: {text or '(no text)'}" for code, text in said.locators],
        "parent_noted": noted.isoformat(),
        "parent_path": None,
        "parent_modified": None,
        "chain": [str(level.path) for level in image.levels],
        "chain_depth": len(image.levels) if parent is not None else None,
    }
    if parent is not None:
        now = datetime.fromtimestamp(int(parent.path.stat().st_mtime), UTC)
        facts["parent_path"] = str(parent.path)
        facts["parent_modified"] = now.isoformat()
    return facts
