"""`trapline disk info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vmm.cli.disk.options import AllowRoot, AsJson, IgnoreParentId, human, parent_rules

if TYPE_CHECKING:
    from disks.image import BlockImage

INFO_EXAMPLES: Final = "Examples:\n\ntrapline disk info disk.vhd\n\ntrapline disk info --json disk.vhd"


def info(
    path: Annotated[Path, typer.Argument(help="An image.")],
    as_json: AsJson = False,
    allow_root: AllowRoot = None,
    ignore_parent_id: IgnoreParentId = False,
) -> None:
    """Say what an image is, how large, and what is odd about it."""
    from disks.open import open_image

    image = open_image(path, read_only=True, parents=parent_rules(allow_root, ignore_parent_id))
    try:
        facts = describe(path, image)
    finally:
        image.close()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        for line in value if isinstance(value, list) else [value]:
            typer.echo(f"{key.replace('_', ' ') + ':':18}{human(key, line)}")


def describe(path: Path, image: BlockImage) -> dict[str, object]:
    """Return the facts `info` prints, plain values only."""
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
    facts["warnings"] = list(vhd.warnings)
    return facts
