"""Sense data: why a command ended with CHECK CONDITION.

Sources:
    [SPC-2] T10/1236D revision 20, §7.20 REQUEST SENSE, table 102 fixed format, annex C codes.
    [SBC-2] T10/1417D revision 16, §4.13 (the information field names the block).
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, NamedTuple

import msgspec

from devices.saved import Byte, Natural

CURRENT_ERROR: Final = 0x70  # response code, [SPC-2] §7.20.3
VALID: Final = 0x80
FIXED_BYTES: Final = 18
ADDITIONAL_BYTES: Final = FIXED_BYTES - 8


class Sense(NamedTuple):
    """Sense key, additional sense code and its qualifier; the block at fault where there is one."""

    key: Annotated[int, msgspec.Meta(ge=0, le=0x0F)]
    code: Byte
    qualifier: Byte = 0
    information: Natural | None = None

    def at(self, lba: int) -> Sense:
        """Return the same with the block it happened at."""
        return self._replace(information=lba)


NO_SENSE: Final = Sense(0x0, 0x00)
NOT_STARTED: Final = Sense(0x2, 0x04, 0x02)  # initializing command required
MEDIUM_ABSENT: Final = Sense(0x2, 0x3A)
WRITE_ERROR: Final = Sense(0x3, 0x0C)
UNRECOVERED_READ: Final = Sense(0x3, 0x11)
LIST_LENGTH: Final = Sense(0x5, 0x1A)
INVALID_OPCODE: Final = Sense(0x5, 0x20)
OUT_OF_RANGE: Final = Sense(0x5, 0x21)
INVALID_FIELD: Final = Sense(0x5, 0x24)
NO_SUCH_LUN: Final = Sense(0x5, 0x25)
INVALID_PARAMETER: Final = Sense(0x5, 0x26)
SAVING_UNSUPPORTED: Final = Sense(0x5, 0x39)
REMOVAL_PREVENTED: Final = Sense(0x5, 0x53, 0x02)
ILLEGAL_MODE: Final = Sense(0x5, 0x64)
MEDIUM_CHANGED: Final = Sense(0x6, 0x28)
WAS_RESET: Final = Sense(0x6, 0x29)
WRITE_PROTECTED: Final = Sense(0x7, 0x27)
OVERLAPPED: Final = Sense(0xB, 0x4E)
MISCOMPARE: Final = Sense(0xE, 0x1D)


def fixed_sense(sense: Sense) -> bytes:
    """Return 18 bytes of fixed-format sense data. A block past 32 bits cannot be named in it."""
    information = sense.information
    valid = information is not None and information <= 0xFFFF_FFFF
    return struct.pack(
        ">BxBIB4xBB4x",
        CURRENT_ERROR | (VALID if valid else 0),
        sense.key,
        information if valid else 0,
        ADDITIONAL_BYTES,
        sense.code,
        sense.qualifier,
    )
