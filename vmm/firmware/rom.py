"""The 64-KiB ROM at F0000h: entry points that trap to Python, and the little code around them.

Every entry pushes its vector and does OUT to `TRAP_PORT`; the service (bios.py) works on the
caller's registers and on the frame on its stack. Programs find entries, tables and dates where any
PC has them, and the tables that operating systems search for. The image also appears below 4 GiB,
where the reset vector is.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, section 2 (entry points) and
section 4 ("ROM BIOS compatibility" addresses); [AT] IBM PC/AT Technical Reference, BIOS listing (the tables).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from vmm.firmware import kernel_stub, stubs
from vmm.firmware.assembler import near_jump
from vmm.firmware.rom_fonts import FONT_OFFSETS, place_fonts
from vmm.firmware.stubs import (
    BIOS32,
    BOOT_VECTOR,
    IRET,
    KEYBOARD_VECTOR,
    MOUSE_VECTOR,
    NO_BOOT_VECTOR,
    PCI_FLAT,
    RTC_VECTOR,
    TICK_VECTOR,
)
from vmm.firmware.tables import Table, place_tables, service_directory

ROM_BYTES: Final = 0x10000
ROM_SEGMENT: Final = 0xF000
ROM_ADDRESS: Final = 0xF0000

TABLES_START: Final = 0x0100
CODE_START: Final = 0xC000
CODE_END: Final = 0xE05B

# Where programs expect things in any PC's ROM, [PTL] §4
POST_ENTRY: Final = 0xE05B
CONFIGURATION: Final = 0xE6F5
DISKETTE_TABLE: Final = 0xEFC7
VIDEO_TABLE: Final = 0xF0A4
DUMMY_ENTRY: Final = 0xFF53
RESET_ENTRY: Final = 0xFFF0
DATE: Final = 0xFFF5
MODEL: Final = 0xFFFE
FIXED_ENTRIES: Final = {
    0xE2C3: 0x02, 0xE6F2: 0x19, 0xE739: 0x14, 0xE82E: 0x16, 0xE987: 0x09, 0xEC59: 0x13, 0xEF57: 0x0E,
    0xEFD2: 0x17, 0xF065: 0x10, 0xF841: 0x12, 0xF84D: 0x11, 0xF859: 0x15, 0xFE6E: 0x1A, 0xFEA5: 0x08,
    0xFF54: 0x05,
}  # fmt: skip

MODEL_AT: Final = 0xFC
SUBMODEL_AT: Final = 0x01
REVISION: Final = 0x00
# Features, [PTL] INT 15h C0h: second 8259, clock chip, INT 15h 4Fh called, EBDA; INT 16h 09h
FEATURES: Final = bytes((0x74, 0x40, 0, 0, 0))
ROM_DATE: Final = b"11/22/26"
SIGNATURE: Final = b"Trapline BIOS\0"

# INT 0Ah-0Fh and 71h-77h are interrupt lines; the others are services
SERVICE_VECTORS: Final = (
    0x02, 0x05, *range(0x0A, 0x18), 0x1A, 0x71, 0x72, 0x73, 0x75, 0x76, 0x77,
)  # fmt: skip

# Diskette parameters, [AT] DISK_BASE: step rate and head unload, head load, motor off in ticks, sector size
# code, last sector, gap, data length, gap to format with, fill byte, head settle ms, motor start in 1/8 s
DISKETTE: Final = struct.Struct("<11B")
DISKETTES: Final = {
    sectors: DISKETTE.pack(0xDF, 2, 0x25, 2, sectors, gap, 0xFF, format_gap, 0xF6, 15, 8)
    for sectors, gap, format_gap in (
        (18, 0x1B, 0x6C), (8, 0x2A, 0x50), (9, 0x2A, 0x50), (15, 0x1B, 0x54), (36, 0x1B, 0x50),
    )
}  # fmt: skip
# CRT controller registers 0-15 for 40x25, 80x25, colour graphics and monochrome; buffer sizes, columns,
# mode registers, [AT] VIDEO_PARMS
VIDEO: Final = bytes.fromhex(
    "38282d0a1f06191c02070607000000007150 5a0a1f06191c02070607000000003828 2d0a7f066470020106070000000061"
    "50520f19061919020d0b0c000000000008 0010 0040 0040 2828505028285050 2c282d292a2e1e29"
)


class Rom(NamedTuple):
    """The image, and offsets in it: entries by vector or service number, and where INT 74h goes on."""

    data: bytes
    entries: dict[int, int]
    mouse_return: int
    diskettes: dict[int, int]  # parameter tables by sectors a track


def build_rom(tables: Sequence[Table] = ()) -> Rom:
    """Return the ROM with `tables` in it. The same bytes every time."""
    image = bytearray(ROM_BYTES)
    entries: dict[int, int] = {}
    position = CODE_START

    def place(code: bytes) -> int:
        nonlocal position
        start = position
        image[start : start + len(code)] = code
        position += len(code)
        assert position <= CODE_END
        return start

    tail = place(stubs.service_tail())
    for vector in SERVICE_VECTORS:
        push = stubs.PUSH_BYTE + bytes((vector,))
        entries[vector] = place(push + near_jump(position + len(push), tail))
    mouse, mouse_return = stubs.mouse()
    for number, code in (
        (TICK_VECTOR, stubs.tick()), (KEYBOARD_VECTOR, stubs.keyboard()), (RTC_VECTOR, stubs.clock()),
        (MOUSE_VECTOR, mouse), (BOOT_VECTOR, stubs.boot(BOOT_VECTOR)),
        (NO_BOOT_VECTOR, stubs.boot(NO_BOOT_VECTOR)), (stubs.HALT_ENTRY, stubs.halt()),
        (stubs.KERNEL_ENTRY, kernel_stub.kernel()),
        (BIOS32, stubs.flat_service(BIOS32)), (PCI_FLAT, stubs.flat_service(PCI_FLAT)),
    ):  # fmt: skip
        entries[number] = place(code)
    diskettes = {sectors: place(table) for sectors, table in DISKETTES.items()}
    _place_fixed(image, entries)
    place_fonts(image)
    all_tables = (service_directory(ROM_ADDRESS + entries[BIOS32]), *tables)
    place_tables(image, ROM_ADDRESS, TABLES_START, min(FONT_OFFSETS.values()), all_tables)
    return Rom(bytes(image), entries, entries[MOUSE_VECTOR] + mouse_return, diskettes)


def _place_fixed(image: bytearray, entries: dict[int, int]) -> None:
    """Put in what has an address of its own."""
    reset = stubs.JMP_FAR + struct.pack("<HH", POST_ENTRY, ROM_SEGMENT)
    configuration = struct.pack("<HBBB", 8, MODEL_AT, SUBMODEL_AT, REVISION) + FEATURES
    pieces = {
        0: SIGNATURE,
        POST_ENTRY: stubs.power_on(),
        CONFIGURATION: configuration,
        DISKETTE_TABLE: DISKETTES[18],
        VIDEO_TABLE: VIDEO,
        DUMMY_ENTRY: IRET,
        RESET_ENTRY: reset,
        DATE: ROM_DATE,
        MODEL: bytes((MODEL_AT,)),
    }
    pieces |= {at: near_jump(at, entries[vector]) for at, vector in FIXED_ENTRIES.items()}
    for at, data in pieces.items():
        assert not any(image[at : at + len(data)]), hex(at)
        image[at : at + len(data)] = data
