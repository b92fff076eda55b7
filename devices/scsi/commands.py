"""Operation codes, and what a CDB says to somebody who reads a trace.

Sources:
    [SPC-2] T10/1236D revision 20, §7; [SBC-2] T10/1417D revision 16, §5; [MMC-3] T10/1363D, table 217.
    [SAM-2] T10/1157D revision 24, §5.1 (CDB and its control byte).
"""

from __future__ import annotations

from typing import Final, NamedTuple

# Of disks and CD-ROMs
TEST_UNIT_READY: Final = 0x00
REQUEST_SENSE: Final = 0x03
INQUIRY: Final = 0x12
MODE_SENSE_6: Final = 0x1A
START_STOP_UNIT: Final = 0x1B
PREVENT_ALLOW_MEDIUM_REMOVAL: Final = 0x1E
READ_CAPACITY: Final = 0x25
READ_10: Final = 0x28
SEEK_10: Final = 0x2B
MODE_SENSE_10: Final = 0x5A
REPORT_LUNS: Final = 0xA0  # of the target
READ_12: Final = 0xA8

# Of disks
REZERO_UNIT: Final = 0x01
FORMAT_UNIT: Final = 0x04  # refused
READ_6: Final = 0x08
WRITE_6: Final = 0x0A
SEEK_6: Final = 0x0B
MODE_SELECT_6: Final = 0x15
RESERVE_6: Final = 0x16
RELEASE_6: Final = 0x17
SEND_DIAGNOSTIC: Final = 0x1D
WRITE_10: Final = 0x2A
VERIFY_10: Final = 0x2F
SYNCHRONIZE_CACHE_10: Final = 0x35
READ_DEFECT_DATA_10: Final = 0x37
WRITE_SAME_10: Final = 0x41  # refused
UNMAP: Final = 0x42  # refused
MODE_SELECT_10: Final = 0x55
READ_16: Final = 0x88
WRITE_16: Final = 0x8A
VERIFY_16: Final = 0x8F
SYNCHRONIZE_CACHE_16: Final = 0x91
WRITE_SAME_16: Final = 0x93  # refused
SERVICE_ACTION_IN_16: Final = 0x9E
WRITE_12: Final = 0xAA
VERIFY_12: Final = 0xAF
READ_DEFECT_DATA_12: Final = 0xB7

# Of CD-ROMs
READ_TOC: Final = 0x43
GET_CONFIGURATION: Final = 0x46
GET_EVENT_STATUS: Final = 0x4A
READ_DISC_INFORMATION: Final = 0x51
READ_TRACK_INFORMATION: Final = 0x52
SET_CD_SPEED: Final = 0xBB
MECHANISM_STATUS: Final = 0xBD
READ_CD: Final = 0xBE

NAMES: Final = {
    value: name.replace("_", " ")
    for name, value in list(globals().items())
    if isinstance(value, int) and name.isupper()
}
NAMES[READ_CAPACITY] = "READ CAPACITY 10"

READ_CAPACITY_16: Final = 0x10  # service action of 9Eh
LONGEST_CDB: Final = 16
LENGTHS: Final = (6, 10, 10, 6, 16, 12, 6, 6)
"""Bytes of a CDB by its group code, [SPC-2] §4.3. Of the reserved group and the vendor's as few as there may
be: a target on a parallel bus that wanted more than its initiator has would wait for ever."""

SIX_BYTE_LBA: Final = 0x1F_FFFF
SIX_BYTE_MOST: Final = 256  # what a transfer length of 0 means

# Where a command that names blocks has its address and its number of blocks
ADDRESSES: Final = {
    **dict.fromkeys((SEEK_6, READ_6, WRITE_6), (slice(1, 4), slice(4, 5))),
    **dict.fromkeys((READ_10, WRITE_10, VERIFY_10, SYNCHRONIZE_CACHE_10), (slice(2, 6), slice(7, 9))),
    **dict.fromkeys((WRITE_SAME_10,), (slice(2, 6), slice(7, 9))),
    **dict.fromkeys((READ_12, WRITE_12, VERIFY_12), (slice(2, 6), slice(6, 10))),
    **dict.fromkeys((READ_16, WRITE_16, VERIFY_16, SYNCHRONIZE_CACHE_16), (slice(2, 10), slice(10, 14))),
    WRITE_SAME_16: (slice(2, 10), slice(10, 14)),
    READ_CD: (slice(2, 6), slice(6, 9)),
    SEEK_10: (slice(2, 6), slice(0, 0)),
}


class Decoded(NamedTuple):
    """A CDB in words. `lba` is None where it names no block."""

    name: str
    lba: int | None
    blocks: int


def length_of(opcode: int) -> int:
    """Return the bytes of a CDB with this operation code."""
    return LENGTHS[opcode >> 5]


def addressed(cdb: bytes) -> tuple[int, int]:
    """Return block and number of blocks of a CDB that names them, padded to LONGEST_CDB bytes."""
    where, length = ADDRESSES[cdb[0]]
    lba, blocks = be(cdb[where]), be(cdb[length])
    if cdb[0] in (READ_6, WRITE_6, SEEK_6):
        return lba & SIX_BYTE_LBA, 0 if cdb[0] == SEEK_6 else blocks or SIX_BYTE_MOST
    return lba, blocks


def decode(cdb: bytes) -> Decoded:
    """Return what a CDB of any length says."""
    cdb = cdb.ljust(LONGEST_CDB, b"\0")
    opcode = cdb[0]
    name = NAMES.get(opcode, f"command {opcode:02X}h")
    if opcode == SERVICE_ACTION_IN_16:
        is_capacity = cdb[1] & 0x1F == READ_CAPACITY_16
        name = "READ CAPACITY 16" if is_capacity else f"{name} {cdb[1] & 0x1F:02X}h"
    return Decoded(name, *addressed(cdb)) if opcode in ADDRESSES else Decoded(name, None, 0)


def be(data: bytes) -> int:
    """Return the number in big-endian bytes."""
    return int.from_bytes(data, "big")
