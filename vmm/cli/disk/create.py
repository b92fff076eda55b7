"""`trapline disk create`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from vmm.cli.disk.options import AllowRoot, Force, parent_rules, parse_size
from vmm.cli.disk.progress import progress
from vmm.errors import ConfigError, UsageError

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
    block_size: Annotated[
        str | None,
        typer.Option("--block-size", metavar="SIZE", help="Blocks of a dynamic VHD: 2M (default) or 512K."),
    ] = None,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="Fixed VHD: take room on the host only when written.")
    ] = False,
    force: Force = False,
    parent: Annotated[
        Path | None,
        typer.Option("--parent", metavar="VHD", help="Make a differencing VHD, which stands on this image."),
    ] = None,
    allow_root: AllowRoot = None,
) -> None:
    """Make an empty disk image, or a child that shows its parent until it is written."""
    if parent is not None:
        given = {"SIZE": size, "--type": disk_type, "--block-size": block_size, "--sparse": sparse or None}
        _refuse_for_child([name for name, value in given.items() if value is not None])
        if disk_format is FormatName.RAW:
            raise UsageError("--parent is for VHD images; a raw image has no parent")
        create_child(path, parent, allow_root, force)
        return
    if allow_root:
        raise UsageError("--allow-root says where the parents of --parent may lie; there is none")
    if size is None:
        raise UsageError("SIZE is missing: say how large the disk is, such as 10G, or name its --parent")
    from disks.newfile import new_file
    from disks.vhd.create import write_dynamic, write_fixed

    kind = disk_format.value if disk_format else _format_for(path)
    size_bytes, block_bytes = parse_size(size), parse_size(block_size or "2M")
    if kind == "raw" and disk_type is not None:
        raise UsageError("--type is for VHD images; a raw image has no types")
    fixed = kind == "vhd" and disk_type is TypeName.FIXED
    if sparse and not fixed:
        raise UsageError("--sparse is for fixed VHD images; others take room only as they are written")
    if block_size is not None and (fixed or kind == "raw"):
        raise UsageError("--block-size is for dynamic VHD images")
    with progress(f"creating {path.name}", size_bytes) as done, new_file(path, replace=force) as file:
        if kind == "raw":
            file.resize(size_bytes)
        elif fixed:
            write_fixed(file, size_bytes, sparse=sparse, progress=done)
        else:
            write_dynamic(file, size_bytes, block_bytes=block_bytes)


def _refuse_for_child(given: list[str]) -> None:
    """A child is like its parent: nothing of it can be chosen."""
    if given:
        what = ", ".join(given)
        raise UsageError(
            f"{what} cannot go with --parent: size and blocks are the parent's, the type differencing"
        )


def create_child(path: Path, parent: Path, allow_root: list[Path] | None, force: bool) -> None:
    """Make a child; say on stderr what its opening will need."""
    from disks.newfile import new_file
    from disks.open import open_image
    from disks.vhd.create import roots_needed, write_child
    from disks.vhd.fixed import FixedVhd
    from disks.vhd.sparse import SparseVhd

    if path.resolve() == parent.resolve():
        raise UsageError(f"{path}: an image cannot be its own parent")
    image = open_image(parent, read_only=True, parents=parent_rules(allow_root))
    try:
        if not isinstance(image, FixedVhd | SparseVhd):
            raise ConfigError(
                f"{parent}: a raw image cannot be a parent, since it has no identity; trapline disk convert "
                "makes a VHD of it"
            )
        with new_file(path, replace=force) as file:
            write_child(file, path, image)
        for root in roots_needed(path, image):
            typer.echo(f"trapline: opening {path} will need --allow-root {root}", err=True)
    finally:
        image.close()


def _format_for(path: Path) -> str:
    """Return the format the suffix of `path` stands for."""
    kind = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path}: no format goes with {path.suffix}; say --format vhd or --format raw")
    return kind
