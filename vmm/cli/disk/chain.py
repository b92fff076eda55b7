"""`trapline disk chain`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from disks.words import printable
from vmm.cli.disk.options import AllowRoot, AsJson, IgnoreParentId, parent_rules, scaled
from vmm.errors import ConfigError

if TYPE_CHECKING:
    from disks.vhd.tree import Family, Node

CHAIN_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk chain child.vhd\n\ntrapline disk chain --search /srv/pupils base.vhd\n\n"
    "trapline disk chain --json child.vhd"
)
HEADINGS: Final = ("image", "type", "blocks", "owns", "share", "file", "saves")


def chain(
    path: Annotated[Path, typer.Argument(help="A VHD.")],
    search: Annotated[
        list[Path] | None,
        typer.Option("--search", metavar="DIR", help="A directory in which to look for relatives, too."),
    ] = None,
    as_json: AsJson = False,
    allow_root: AllowRoot = None,
    ignore_parent_id: IgnoreParentId = False,
) -> None:
    """Draw the images that an image stands on, and those beside it that stand on the same.

    "owns" is what the image (marked *) shows from each file, "share" the part of the disk that is; "saves" is
    by how much a file is smaller than a full copy of what it shows.
    """
    from disks.open import open_image
    from disks.vhd.fixed import FixedVhd
    from disks.vhd.sparse import SparseVhd
    from disks.vhd.tree import family_of

    rules = parent_rules(allow_root, ignore_parent_id)
    image = open_image(path, read_only=True, parents=rules)
    try:
        if not isinstance(image, FixedVhd | SparseVhd):
            raise ConfigError(f"{path}: a raw image stands on no other")
        family = family_of(image, rules.under(path), search or ())
    finally:
        image.close()
    if as_json:
        typer.echo(json.dumps(_facts(family), indent=2))
    else:
        _print(family)


def _facts(family: Family) -> dict[str, Any]:
    """Return what `--json` prints: the chain as a list, and the whole family nested."""
    levels = sorted(
        (node for _, node in _walk(family.base, "", "", _ASCII) if node.level is not None),
        key=lambda node: node.level or 0,
    )
    return {
        "image": str(family.image),
        "virtual_bytes": family.virtual_bytes,
        "zero_bytes": family.zero_bytes,
        "left_out": family.left_out,
        "levels": [_node_facts(node, family) for node in levels],
        "tree": _nested(family.base, family),
    }


def _node_facts(node: Node, family: Family) -> dict[str, Any]:
    share = None if node.owned_bytes is None else round(node.owned_bytes * 100 / family.virtual_bytes, 2)
    return {
        "path": str(node.path),
        "level": node.level,
        "type": node.type_name,
        "blocks": node.blocks,
        "blocks_used": node.blocks_used,
        "file_bytes": node.file_bytes,
        "owned_bytes": node.owned_bytes,
        "share_percent": share,
        "seen_bytes": node.seen_bytes,
        "saves_bytes": node.saves_bytes,
        "problem": node.problem or None,
    }


def _nested(node: Node, family: Family) -> dict[str, Any]:
    children = [_nested(child, family) for child in node.children]
    return {**_node_facts(node, family), "children": children}


_BOXES: Final = ("├── ", "└── ", "│   ", "    ")
_ASCII: Final = ("|-- ", "`-- ", "|   ", "    ")


def _walk(node: Node, lead: str, below: str, signs: tuple[str, str, str, str]) -> Iterator[tuple[str, Node]]:
    """Yield each node with the branch drawn before its name, from the base on."""
    yield lead, node
    for number, child in enumerate(node.children, 1):
        is_last = number == len(node.children)
        branch, further = (signs[1], signs[3]) if is_last else (signs[0], signs[2])
        yield from _walk(child, below + branch, below + further, signs)


def _print(family: Family) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    signs = _BOXES if console.encoding.lower().startswith("utf") else _ASCII
    home = family.base.path.resolve().parent
    rows: list[tuple[tuple[str, ...], str]] = [(HEADINGS, "bold")]
    for lead, node in _walk(family.base, "", "", signs):
        style = "bold cyan" if node.level == 0 else "" if node.level is not None else "dim"
        rows.append((_cells(lead, node, family, home), style))
    zeros = (scaled(family.zero_bytes), _percent(family.zero_bytes, family))
    rows.append((("zeros, held by no image", "", "", *zeros, "", ""), ""))
    widths = [max(len(cells[column]) for cells, _ in rows) for column in range(len(HEADINGS))]
    for cells, style in rows:
        left = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
        console.print(Text("  ".join([*left, *right]).rstrip(), style))
    for _, node in _walk(family.base, "", "", signs):
        if node.problem:
            console.print(Text(printable(f"{node.path}: {node.problem}"), "yellow"))
    if family.left_out:
        console.print(f"and {family.left_out} more images that stand on these")


def _cells(lead: str, node: Node, family: Family, home: Path) -> tuple[str, ...]:
    path = node.path.resolve()
    name = str(path.relative_to(home)) if path.is_relative_to(home) else str(path)
    blocks = "" if node.blocks is None else f"{node.blocks_used} of {node.blocks}"
    owned = node.owned_bytes
    return (
        f"{lead}{printable(name)}{' *' * (node.level == 0)}",
        node.type_name or "?",
        blocks,
        "" if owned is None else scaled(owned),
        "" if owned is None else _percent(owned, family),
        scaled(node.file_bytes),
        "" if node.saves_bytes is None else scaled(node.saves_bytes),
    )


def _percent(part: int, family: Family) -> str:
    return f"{part * 100 / family.virtual_bytes:.1f} %"
