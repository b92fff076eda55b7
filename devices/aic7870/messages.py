"""Messages of the parallel bus: their codes, and where one ends.

Sources:
    [SCSI-2] ANSI X3.131-1994, §6.6 messages, table 10.
"""

from __future__ import annotations

from typing import Final

COMMAND_COMPLETE: Final = 0x00
EXTENDED: Final = 0x01
SAVE_DATA_POINTER: Final = 0x02
RESTORE_POINTERS: Final = 0x03
DISCONNECT: Final = 0x04
INITIATOR_DETECTED_ERROR: Final = 0x05
ABORT: Final = 0x06
MESSAGE_REJECT: Final = 0x07
NO_OPERATION: Final = 0x08
MESSAGE_PARITY_ERROR: Final = 0x09
BUS_DEVICE_RESET: Final = 0x0C
ABORT_TAG: Final = 0x0D
CLEAR_QUEUE: Final = 0x0E
SIMPLE_QUEUE_TAG: Final = 0x20
ORDERED_QUEUE_TAG: Final = 0x22
TWO_BYTES: Final = range(0x20, 0x30)

IDENTIFY: Final = 0x80
IDENTIFY_DISCONNECT: Final = 0x40
IDENTIFY_LUN: Final = 0x07

# Extended messages: code, and bytes behind the length
SDTR: Final = 0x01
SDTR_BYTES: Final = 3
WDTR: Final = 0x03
WDTR_BYTES: Final = 2

FASTEST_PERIOD: Final = 0x19  # in 4 ns: 10 MHz, fast SCSI
MOST_OFFSET: Final = 15
WIDE_BUS: Final = 1  # transfer width exponent: 2^1 bytes


LONGEST_SENT: Final = 5  # by a target: SDTR


def is_complete(message: bytes | bytearray) -> bool:
    """Tell whether the bytes that came so far are a whole message."""
    code = message[0]
    if code == EXTENDED:
        return len(message) >= 2 and len(message) >= 2 + (message[1] or 256)
    return len(message) >= (2 if code in TWO_BYTES else 1)


def sdtr(period: int, offset: int) -> bytes:
    """Return SYNCHRONOUS DATA TRANSFER REQUEST."""
    return bytes((EXTENDED, SDTR_BYTES, SDTR, period, offset))


def wdtr(width: int) -> bytes:
    """Return WIDE DATA TRANSFER REQUEST."""
    return bytes((EXTENDED, WDTR_BYTES, WDTR, width))
