"""Ways to damage a VHD: the bytes are changed, and checksums made right again where that is asked for."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from disks.vhd.layout import FOOTER_CHECKSUM_OFFSET, HEADER_CHECKSUM_OFFSET
from disks.vhd.record import with_checksum

Damage = Callable[[Path], None]
BLOCK = 512 << 10
STRIDE = 512 + BLOCK
TABLE = 1536
FIRST_BLOCK = 2048  # behind the table of an image of at most 128 blocks
CHILD_BLOCK = FIRST_BLOCK + 1024  # behind the texts of two locators


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def u64(value: int) -> bytes:
    return struct.pack(">Q", value)


def put(offset: int, data: bytes) -> Damage:
    """Write at an offset, from the end of the file if it is negative."""

    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset, 2 if offset < 0 else 0)
            file.write(data)

    return damage


def in_footers(position: int, data: bytes, *, copy: bool = True) -> Damage:
    """Change the footer and, unless told otherwise, its copy."""

    def damage(path: Path) -> None:
        footer = bytearray(path.read_bytes()[-512:])
        footer[position : position + len(data)] = data
        record = with_checksum(bytes(footer), FOOTER_CHECKSUM_OFFSET)
        put(-512, record)(path)
        if copy:
            put(0, record)(path)

    return damage


def in_header(position: int, data: bytes) -> Damage:
    def damage(path: Path) -> None:
        header = bytearray(path.read_bytes()[512:1536])
        header[position : position + len(data)] = data
        put(512, with_checksum(bytes(header), HEADER_CHECKSUM_OFFSET))(path)

    return damage


def entry(block: int, sector: int) -> Damage:
    return put(TABLE + block * 4, u32(sector))


def both(*damages: Damage) -> Damage:
    def damage(path: Path) -> None:
        for one in damages:
            one(path)

    return damage
