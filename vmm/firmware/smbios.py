"""The SMBIOS tables: what operating systems and inventory programs read about the machine.

Only what is so: no serial numbers, no caches, and what the specification calls unknown where there is
no such thing as a voltage.

Sources: [SMBIOS] DMTF DSP0134, System Management BIOS Reference Specification 2.4, §2.1 (entry point) and
§3.3 (structures).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from vmm.firmware.tables import ALIGNMENT, Table, with_checksum

MAJOR, MINOR = 2, 4
BCD_REVISION: Final = MAJOR << 4 | MINOR
ENTRY: Final = struct.Struct("<4sBBBBHB5s5sBHIHB")
INTERMEDIATE_AT: Final = 0x10
CHECKSUM_AT: Final = 0x04
INTERMEDIATE_CHECKSUM_AT: Final = 0x15

MAKER: Final = "Trapline"
VERSION: Final = "1.0"
RELEASED: Final = "11/22/2026"
SEGMENT: Final = 0xF000
# §3.3.1.1: PCI, boot from CD, selectable boot, EDD, floppies of 360K 1.2M 720K 2.88M, INT 5, 9, 14h, 17h, 10h
CHARACTERISTICS: Final = sum(1 << bit for bit in (7, 15, 16, 19, 22, 23, 24, 25, 26, 27, 28, 29, 30))
VIRTUAL_MACHINE: Final = 0x10  # second extension byte
NOT_THERE: Final = 0xFF  # embedded controller
NO_IDENTITY: Final = bytes(16)
POWER_SWITCH: Final = 6
DESKTOP: Final = 3
SAFE: Final = 3
NO_SECURITY: Final = 3
CENTRAL_PROCESSOR: Final = 3
OTHER: Final = 1
ENABLED: Final = 0x41  # the socket is populated
NO_CACHE: Final = 0xFFFF
CLOCK_MHZ: Final = 1000
ON_BOARD, SYSTEM_MEMORY, NO_CORRECTION = 3, 3, 3
NO_HANDLE: Final = 0xFFFE
WIDTH: Final = 64
DIMM: Final = 9
RAM: Final = 7
DETAIL_OTHER: Final = 2
IN_KIB: Final = 0x8000
KIB: Final = 1024
MIB: Final = 1024 * KIB
BIOS, SYSTEM, CHASSIS, PROCESSOR, ARRAY, DEVICE, MAPPED, BOOT, END = 0, 1, 3, 4, 16, 17, 19, 32, 127


def _handle(kind: int) -> int:
    """One structure of each type, so the type gives the handle."""
    return kind << 8


def _structure(kind: int, body: bytes, strings: Sequence[str] = ()) -> bytes:
    header = struct.pack("<BBH", kind, len(body) + 4, _handle(kind))
    text = b"".join(string.encode() + b"\0" for string in strings) or b"\0"
    return header + body + text + b"\0"


def _size_word(ram_bytes: int) -> int:
    """Return the size of a memory device, in MiB or, where that is not whole and it fits, in KiB."""
    kib = ram_bytes // KIB
    return IN_KIB | kib if ram_bytes % MIB and kib < IN_KIB else ram_bytes // MIB


def structures(ram_bytes: int, processor_id: tuple[int, int]) -> list[bytes]:
    """Return all structures, §3.3; `processor_id` is EAX and EDX of CPUID function 1."""
    kib = ram_bytes // KIB
    bios = struct.pack(
        "<BBHBBQBBBBBB", 1, 2, SEGMENT, 3, 0, CHARACTERISTICS, 0, VIRTUAL_MACHINE, 1, 0, NOT_THERE, NOT_THERE
    )
    system = struct.pack("<BBBB16sBBB", 1, 2, 3, 0, NO_IDENTITY, POWER_SWITCH, 0, 0)
    chassis = struct.pack(
        "<BBBBBBBBBIBBBB", 1, DESKTOP, 0, 0, 0, SAFE, SAFE, SAFE, NO_SECURITY, 0, 0, 0, 0, 0
    )
    processor = struct.pack(
        "<BBBBIIBBHHHBBHHHBBB", 1, CENTRAL_PROCESSOR, OTHER, 2, *processor_id, 0, 0, 0, CLOCK_MHZ, CLOCK_MHZ,
        ENABLED, OTHER, NO_CACHE, NO_CACHE, NO_CACHE, 0, 0, 0,
    )  # fmt: skip
    array = struct.pack("<BBBIHH", ON_BOARD, SYSTEM_MEMORY, NO_CORRECTION, kib, NO_HANDLE, 1)
    device = struct.pack(
        "<HHHHHBBBBBHHBBBB", _handle(ARRAY), NO_HANDLE, WIDTH, WIDTH, _size_word(ram_bytes), DIMM, 0, 1, 0,
        RAM, DETAIL_OTHER, 0, 0, 0, 0, 0,
    )  # fmt: skip
    mapped = struct.pack("<IIHB", 0, kib - 1, _handle(ARRAY), 1)
    return [
        _structure(BIOS, bios, (MAKER, VERSION, RELEASED)),
        _structure(SYSTEM, system, (MAKER, "Virtual PC/AT", VERSION)),
        _structure(CHASSIS, chassis, (MAKER,)),
        _structure(PROCESSOR, processor, ("CPU 0", MAKER)),
        _structure(ARRAY, array),
        _structure(DEVICE, device, ("DIMM 0",)),
        _structure(MAPPED, mapped),
        _structure(BOOT, bytes(7)),
        _structure(END, b""),
    ]


def smbios(ram_bytes: int, processor_id: tuple[int, int]) -> Table:
    """Return the entry point, `_SM_` and `_DMI_`, with the structures behind it, for the ROM."""
    parts = structures(ram_bytes, processor_id)
    data = b"".join(parts)

    def table(address: int) -> bytes:
        start = -(-ENTRY.size // ALIGNMENT) * ALIGNMENT
        entry = ENTRY.pack(
            b"_SM_", 0, ENTRY.size, MAJOR, MINOR, max(map(len, parts)), 0, bytes(5), b"_DMI_", 0, len(data),
            address + start, len(parts), BCD_REVISION,
        )  # fmt: skip
        relative = INTERMEDIATE_CHECKSUM_AT - INTERMEDIATE_AT
        entry = entry[:INTERMEDIATE_AT] + with_checksum(entry[INTERMEDIATE_AT:], relative)
        return with_checksum(entry, CHECKSUM_AT).ljust(start, b"\0") + data

    return table
