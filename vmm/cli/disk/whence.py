"""`trapline disk whence`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from disks.words import printable
from vmm.cli.disk.options import AllowRoot, AsJson, IgnoreParentId, parent_rules
from vmm.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from disks.vhd.whence import Lookup, Origin

WHENCE_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk whence child.vhd 2048\n\ntrapline disk whence child.vhd 0-4095\n\n"
    "trapline disk whence --json child.vhd 0x800+16"
)
_NUMBER: Final = r"(0x[0-9a-f]+|\d+)"
_RANGE: Final = re.compile(rf"{_NUMBER}(?:([-+]){_NUMBER})?", re.IGNORECASE)
_WHY: Final = {
    "absent": "the block is absent",
    "clear": "the bit is clear",
    "beyond": "the sectors lie past the end of this disk",
}


def whence(
    path: Annotated[Path, typer.Argument(help="A VHD.")],
    sectors: Annotated[
        str,
        typer.Argument(metavar="LBA[-LAST|+N]", help="A sector, the first and the last, or N from one on."),
    ],
    as_json: AsJson = False,
    allow_root: AllowRoot = None,
    ignore_parent_id: IgnoreParentId = False,
) -> None:
    """Say which file supplies a sector: through which table entry and which bit, and who was asked before."""
    from disks.open import open_image
    from disks.vhd.fixed import FixedVhd
    from disks.vhd.sparse import SparseVhd
    from disks.vhd.whence import whence as origins

    first, count = parse_range(sectors)
    image = open_image(path, read_only=True, parents=parent_rules(allow_root, ignore_parent_id))
    try:
        if not isinstance(image, FixedVhd | SparseVhd):
            raise ConfigError(f"{path}: a raw image; sector N lies at N * 512 of the file")
        total = image.size_bytes // 512
        if first + count > total:
            raise UsageError(f"sectors {sectors}: the disk ends with sector {total - 1}")
        if as_json:
            typer.echo(json.dumps([_facts(origin) for origin in origins(image, first, count)], indent=2))
            return
        for origin in origins(image, first, count):
            typer.echo("\n".join(map(printable, lines_of(origin))))
    finally:
        image.close()


def parse_range(text: str) -> tuple[int, int]:
    """Return the first sector and how many `text` means."""
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"sectors {text!r}: expected LBA, FIRST-LAST or LBA+COUNT, such as 2048 or 0x800+16")
    first, how, second = int(match[1], 0 if match[1][:2].lower() == "0x" else 10), match[2], match[3]
    if how is None:
        return first, 1
    number = int(second, 0 if second[:2].lower() == "0x" else 10)
    count = number if how == "+" else number - first + 1
    if count <= 0:
        raise UsageError(f"sectors {text!r}: there are none")
    return first, count


def lines_of(origin: Origin) -> list[str]:
    """Return the lines that tell of one run."""
    last = origin.lba + origin.sectors - 1
    span = f"sectors {origin.lba}-{last}" if origin.sectors > 1 else f"sector {origin.lba}"
    lines = [f"{span}: {origin.path or 'zeros, held by no image'}"]
    for passed in origin.passed:
        told = f"{_lookup_text(passed.lookup)}: " if passed.lookup else ""
        lines.append(f"  {passed.path}: {told}{_WHY[passed.why]}")
    if origin.path is not None:
        told = f"{_lookup_text(origin.lookup)} is set, " if origin.lookup else "a fixed disk, "
        lines.append(f"  {origin.path}: {told}data at {origin.data_offset:#x}")
    return lines


def _lookup_text(lookup: Lookup) -> str:
    text = f"block {lookup.block}, BAT entry at {lookup.entry_offset:#x} = {lookup.entry:08X}h"
    if lookup.bitmap_byte is None:
        return text
    return f"{text}, bit {lookup.mask:02X}h of the byte at {lookup.bitmap_byte:#x}"


def _facts(origin: Origin) -> dict[str, Any]:
    """Return what `--json` prints of one run."""
    return {
        "lba": origin.lba,
        "sectors": origin.sectors,
        "level": origin.level,
        "path": None if origin.path is None else str(origin.path),
        "data_offset": origin.data_offset,
        "lookup": origin.lookup and origin.lookup._asdict(),
        "passed": [
            {
                "path": str(passed.path),
                "why": passed.why,
                "lookup": passed.lookup and passed.lookup._asdict(),
            }
            for passed in origin.passed
        ],
    }
