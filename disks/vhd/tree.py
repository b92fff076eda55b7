"""A family of images: the chain behind one, the other images that stand on it, and who holds how much.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Differencing Hard Disk Image".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from disks.errors import HOST_ERRORS
from disks.hostfile import HostFile
from disks.image import SECTOR_BYTES
from disks.vhd.family import Member, members
from disks.vhd.layers import SURVEY_SECTORS
from disks.vhd.opening import open_vhd
from disks.vhd.parents import ParentRules
from disks.vhd.sparse import SparseVhd, VhdImage

MAX_RELATIVES: Final = 500  # images beside the chain that are opened to be counted


@dataclass
class Node:
    """One image of the family; what is None is not known, or does not apply.

    `owned_bytes` is what the image asked about shows from this file, `seen_bytes` what anybody holds of this
    image's own disk, `saves_bytes` by how much its file is smaller than a full copy of that would be.
    """

    path: Path
    level: int | None = None  # 0 for the image asked about, 1 for its parent; None beside the chain
    type_name: str | None = None
    blocks: int | None = None
    blocks_used: int | None = None
    file_bytes: int = 0
    owned_bytes: int | None = None
    seen_bytes: int | None = None
    saves_bytes: int | None = None
    problem: str = ""
    children: list[Node] = field(default_factory=list)


@dataclass
class Family:
    """The base with all that stands on it, and what the image shows that nobody holds."""

    base: Node
    image: Path
    virtual_bytes: int
    zero_bytes: int
    left_out: int = 0


def family_of(image: VhdImage, rules: ParentRules, search: Iterable[Path] = ()) -> Family:
    """Return the family of an open image: its chain, and the relatives beside it and in `search`."""
    levels: list[VhdImage] = [*image.levels]
    shares, zeros = shares_of(image)
    nodes = []
    for number, level in enumerate(levels):
        node = _node(level, number)
        node.owned_bytes = shares[number]
        nodes.append(node)
    for parent, child in zip(nodes[1:], nodes, strict=False):
        parent.children.append(child)
    found = Family(nodes[-1], image.path, image.size_bytes, zeros)
    directories = [*(level.path.resolve().parent for level in levels), *search]
    _add_relatives(found, levels, nodes, list(members(directories)), rules)
    return found


def shares_of(image: VhdImage) -> tuple[list[int], int]:
    """Return the bytes each level supplies to what the image shows, and those that nobody holds."""
    shares, zeros = [0] * len(image.levels), 0
    total = image.size_bytes // SECTOR_BYTES
    for lba in range(0, total, SURVEY_SECTORS):
        for extent in image.resolve(lba, min(SURVEY_SECTORS, total - lba)):
            if extent.file is None:
                zeros += extent.sectors * SECTOR_BYTES
            else:
                shares[extent.level] += extent.sectors * SECTOR_BYTES
    return shares, zeros


def _node(image: VhdImage, number: int | None) -> Node:
    node = Node(image.path, number, image.footer.type_name, file_bytes=image.path.stat().st_size)
    node.seen_bytes = sum(shares_of(image)[0])
    if isinstance(image, SparseVhd):
        node.blocks, node.blocks_used = image.store.table.blocks, image.store.table.present()
        if image.is_differencing:
            node.saves_bytes = max(0, node.seen_bytes - node.file_bytes)
    return node


def _add_relatives(
    family: Family, levels: list[VhdImage], nodes: list[Node], known: list[Member], rules: ParentRules
) -> None:
    """Hang each image that is not of the chain below the one it names as its parent."""
    seen = {level.path.resolve() for level in levels}
    waiting = [(node, level.footer.unique_id) for node, level in zip(nodes, levels, strict=True)]
    opened = 0
    while waiting:
        parent, unique_id = waiting.pop()
        for member in known:
            if member.parent_id != unique_id or member.path.resolve() in seen:
                continue
            seen.add(member.path.resolve())
            opened += 1
            if opened > MAX_RELATIVES:
                family.left_out += 1
                continue
            child = _relative(member.path, rules)
            parent.children.append(child)
            waiting.append((child, member.unique_id))
    _sort(family.base)


def _sort(node: Node) -> None:
    node.children.sort(key=lambda child: child.path.resolve())
    for child in node.children:
        _sort(child)


def _relative(path: Path, rules: ParentRules) -> Node:
    """Return the node of an image beside the chain; one that cannot be opened says why."""
    try:
        file = HostFile.open(path, read_only=True)
        try:
            image = open_vhd(file, rules=rules)
        except BaseException:
            file.close()
            raise
        try:
            return _node(image, None)
        finally:
            image.close()
    except HOST_ERRORS as error:
        return Node(path, file_bytes=path.stat().st_size, problem=str(error).splitlines()[0])
