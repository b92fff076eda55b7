"""`trapline disk`: make disk images and look at them.

Errors leave as exceptions; the main command turns them into one line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vmm.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from disks.image import BlockImage

app = typer.Typer(help="Make disk images and look at them.", no_args_is_help=True)

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_PROGRESS_FROM_BYTES: Final = 256 << 20
_FORMAT_OF_SUFFIX: Final = {
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


def parse_size(text: str) -> int:
    """Return the bytes `text` means: a number with an optional K, M, G or T (powers of 1024)."""
    upper = text.strip().upper()
    number = upper.removesuffix("IB").removesuffix("B") if upper[-1:] == "B" else upper
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        size = float(number.removesuffix(unit)) * _UNITS[unit]
        whole = int(size)
    except (ValueError, OverflowError):
        raise UsageError(f"size {text!r}: expected a number with K, M, G or T, such as 10M or 2G") from None
    if whole <= 0 or whole != size or whole % 512:
        raise UsageError(f"size {text!r}: expected a positive multiple of 512 bytes")
    return whole


@app.command(
    epilog="Examples:\n\ntrapline disk create disk.vhd 10G\n\n"
    "trapline disk create --type fixed boot.vhd 64M\n\ntrapline disk create data.img 512M"
)
def create(
    path: Annotated[Path, typer.Argument(help="The new image; its suffix decides the format.")],
    size: Annotated[str, typer.Argument(help="Size the guest sees: 10M, 2G, ...")],
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
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Make an empty disk image."""
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
    with _progress(path, size_bytes) as progress, new_file(path, replace=force) as file:
        if kind == "raw":
            file.resize(size_bytes)
        elif fixed:
            write_fixed(file, size_bytes, sparse=sparse, progress=progress)
        else:
            write_dynamic(file, size_bytes, block_bytes=block_bytes)


@app.command(epilog="Examples:\n\ntrapline disk info disk.vhd\n\ntrapline disk info --json disk.vhd")
def info(
    path: Annotated[Path, typer.Argument(help="An image.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what an image is, how large, and what is odd about it."""
    from disks.open import open_image

    image = open_image(path, read_only=True)
    try:
        facts = describe(path, image)
    finally:
        image.close()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        for line in value if isinstance(value, list) else [value]:
            typer.echo(f"{key.replace('_', ' ') + ':':18}{_human(key, line)}")


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
        facts["blocks_used"] = len(vhd.store.table.used())
    facts["warnings"] = list(vhd.warnings)
    return facts


def _human(key: str, value: object) -> str:
    """Return a value for people: byte counts with a unit beside them."""
    if not key.endswith("_bytes") or not isinstance(value, int) or value < 1024:
        return str(value)
    scaled, units = value / 1024, iter(("KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while scaled >= 1024 and unit != "TiB":
        scaled, unit = scaled / 1024, next(units)
    return f"{value} ({scaled:.4g} {unit})"


def _format_for(path: Path) -> str:
    """Return the format the suffix of `path` stands for."""
    kind = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path}: no format goes with {path.suffix}; say --format vhd or --format raw")
    return kind


@contextmanager
def _progress(path: Path, total: int) -> Iterator[Callable[[int], None] | None]:
    """Show a bar on a terminal while a large image takes its room."""
    if total < _PROGRESS_FROM_BYTES or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(True), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"creating {path.name}", total=total)
        yield lambda done: bar.update(task, completed=done)
