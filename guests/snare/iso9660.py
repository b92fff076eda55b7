"""The smallest ISO 9660 volume that boots a file by El Torito without emulation.

One directory with one file. The firmware loads the whole file at 7C00h, in 512-byte sectors.

Sources:
  [ECMA-119] Volume and File Structure of CDROM for Information Interchange, 2nd edition.
  [EL-TORITO] "El Torito" Bootable CD-ROM Format Specification 1.0.
"""

from __future__ import annotations

import struct
from typing import Final

SECTOR: Final = 2048
SYSTEM_AREA: Final = 16  # sectors that the standard leaves to others, [ECMA-119] §6.2.1
PRIMARY, BOOT_RECORD, TERMINATOR, PATH_L, PATH_M, ROOT, CATALOG, DATA = range(SYSTEM_AREA, SYSTEM_AREA + 8)
DATE: Final = bytes((80, 1, 1, 0, 0, 0, 0))  # 1 January 1980, so that the same input gives the same image
LONG_DATE: Final = b"1980010100000000\0"
NO_DATE: Final = b"0" * 16 + b"\0"
VIRTUAL_SECTOR: Final = 512


def both(value: int, size: int) -> bytes:
    """Return a number in both byte orders, [ECMA-119] §7.2.3 and §7.3.3."""
    return value.to_bytes(size, "little") + value.to_bytes(size, "big")


def directory_record(name: bytes, sector: int, length: int, flags: int) -> bytes:
    """Return one entry of a directory, [ECMA-119] §9.1."""
    body = bytes(1) + both(sector, 4) + both(length, 4) + DATE + bytes((flags, 0, 0)) + both(1, 2)
    body += bytes((len(name),)) + name
    body += bytes((len(body) + 1) % 2)
    return bytes((len(body) + 1,)) + body


def descriptor(kind: int, body: bytes) -> bytes:
    """Return a volume descriptor, [ECMA-119] §8.1."""
    return (bytes((kind,)) + b"CD001\x01" + body).ljust(SECTOR, b"\0")


def primary(label: str, sectors: int) -> bytes:
    """Return the primary volume descriptor, [ECMA-119] §8.4."""
    path_table = len(path_record("little"))
    body = bytes(1) + b" " * 32 + label.encode().ljust(32) + bytes(8) + both(sectors, 4) + bytes(32)
    body += both(1, 2) + both(1, 2) + both(SECTOR, 2) + both(path_table, 4)
    body += struct.pack("<II", PATH_L, 0) + struct.pack(">II", PATH_M, 0)
    body += directory_record(b"\0", ROOT, SECTOR, 2)
    body += b" " * (128 * 4 + 37 * 3) + LONG_DATE * 2 + NO_DATE * 2 + b"\x01"
    return descriptor(1, body)


def path_record(order: str) -> bytes:
    """Return the path table: the root directory only, [ECMA-119] §9.4."""
    mark = "<" if order == "little" else ">"
    return struct.pack(f"{mark}BBIH", 1, 0, ROOT, 1) + bytes(2)


def boot_catalog(load_sectors: int) -> bytes:
    """Return the validation entry, whose words add up to 0, and the default entry, [EL-TORITO] §2."""
    validation = bytearray(struct.pack("<BBH24sHBB", 1, 0, 0, b"Trapline", 0, 0x55, 0xAA))
    total = sum(struct.unpack("<16H", validation))
    struct.pack_into("<H", validation, 28, -total & 0xFFFF)
    default = struct.pack("<BBHBBHI20x", 0x88, 0, 0, 0, 0, load_sectors, DATA)
    return bytes(validation) + default


def bootable_volume(label: str, name: str, program: bytes) -> bytes:
    """Return an image whose file `name` is started by the firmware."""
    program = program.ljust(-(-len(program) // SECTOR) * SECTOR, b"\0")
    sectors = DATA + len(program) // SECTOR
    root = directory_record(b"\0", ROOT, SECTOR, 2) + directory_record(b"\1", ROOT, SECTOR, 2)
    root += directory_record(f"{name};1".encode(), DATA, len(program), 0)
    parts = (
        primary(label, sectors),
        descriptor(0, b"EL TORITO SPECIFICATION".ljust(64, b"\0") + struct.pack("<I", CATALOG)),
        descriptor(255, b""),
        path_record("little"),
        path_record("big"),
        root,
        boot_catalog(len(program) // VIRTUAL_SECTOR),
    )
    return bytes(SYSTEM_AREA * SECTOR) + b"".join(part.ljust(SECTOR, b"\0") for part in parts) + program
