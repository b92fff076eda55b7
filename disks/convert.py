"""Converting an image, and the chain behind it, to a new raw or VHD file with the same contents.

NOT modelled: other formats (`disks.foreign` has qemu-img translate them from and to raw).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from disks.copying import AnyImage, copy
from disks.hostfile import HostFile
from disks.newfile import Progress, new_file
from disks.vhd.create import DynamicBuilder, Identity, write_fixed
from disks.vhd.header import DEFAULT_BLOCK_BYTES


@dataclass(frozen=True)
class RawTarget:
    """A raw image; zeros take no room on the host."""


@dataclass(frozen=True)
class FixedTarget:
    """A fixed VHD; its room on the host is taken at once unless `sparse`."""

    sparse: bool = False
    identity: Identity = field(default_factory=Identity)


@dataclass(frozen=True)
class DynamicTarget:
    """A dynamic VHD; blocks of zeros are left out."""

    block_bytes: int = DEFAULT_BLOCK_BYTES
    identity: Identity = field(default_factory=Identity)


Target = RawTarget | FixedTarget | DynamicTarget


def convert(
    image: AnyImage, path: Path, target: Target, *, replace: bool = False, progress: Progress | None = None
) -> int:
    """Make `path` an image of `target`'s kind that shows a guest what `image` does.

    The file appears whole and durable or not at all. Return how many bytes that are not zeros it holds;
    `progress` is told the bytes read of what `copying.held_bytes` counts.
    """
    with new_file(path, replace=replace) as file:
        return write_contents(image, file, target, progress)


def write_contents(image: AnyImage, file: HostFile, target: Target, progress: Progress | None = None) -> int:
    """Do what `convert` does in an empty `file`, without making it durable."""
    size = image.size_bytes
    if isinstance(target, DynamicTarget):
        builder = DynamicBuilder(file, size, block_bytes=target.block_bytes, identity=target.identity)
        written = copy(image, builder.write, progress)
        builder.finish()
        return written
    if isinstance(target, FixedTarget):
        write_fixed(file, size, sparse=target.sparse, identity=target.identity)
    else:
        file.resize(size)
    return copy(image, file.write_at, progress)
