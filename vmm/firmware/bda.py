"""The BIOS data area at 0040:0000: the firmware's only variables, so that RAM is its whole state.

Sources: [PTL] IBM Personal System/2 and Personal Computer BIOS Interface Technical Reference,
section 3, "Data Areas and ROM Tables".
"""

from __future__ import annotations

from typing import Final

from devices.backplane import GuestMemory

BASE: Final = 0x400
BYTES: Final = 0x100

# Offsets from 0040:0000, [PTL] §3
COM_PORTS: Final = 0x00
LPT_PORTS: Final = 0x08
EBDA_SEGMENT: Final = 0x0E
EQUIPMENT: Final = 0x10
MEMORY_KIB: Final = 0x13
KEY_FLAGS: Final = 0x17
KEY_FLAGS_2: Final = 0x18
KEYPAD_NUMBER: Final = 0x19
KEY_HEAD: Final = 0x1A
KEY_TAIL: Final = 0x1C
KEY_BUFFER: Final = 0x1E
KEY_BUFFER_END_OFFSET: Final = 0x3E
RECALIBRATED: Final = 0x3E
DISKETTE_STATUS: Final = 0x41
VIDEO_MODE: Final = 0x49
COLUMNS: Final = 0x4A
PAGE_BYTES: Final = 0x4C
PAGE_START: Final = 0x4E
CURSORS: Final = 0x50
CURSOR_SHAPE: Final = 0x60
ACTIVE_PAGE: Final = 0x62
CRTC_PORT: Final = 0x63
RESET_FLAG: Final = 0x72
TICKS: Final = 0x6C
MIDNIGHT: Final = 0x70
BREAK: Final = 0x71
DISK_STATUS: Final = 0x74
DISK_COUNT: Final = 0x75
LPT_TIMEOUTS: Final = 0x78
COM_TIMEOUTS: Final = 0x7C
KEY_BUFFER_START: Final = 0x80
KEY_BUFFER_END: Final = 0x82
LAST_ROW: Final = 0x84
FONT_HEIGHT: Final = 0x85
VIDEO_OPTIONS: Final = 0x87
VIDEO_SWITCHES: Final = 0x88
VGA_FLAGS: Final = 0x89
DISPLAY_CODE: Final = 0x8A
DISK_INTERRUPT: Final = 0x8E
DRIVES_KNOWN: Final = 0x8F
MEDIA_STATES: Final = 0x90
KEY_FLAGS_3: Final = 0x96
KEY_FLAGS_4: Final = 0x97
WAIT_FLAG: Final = 0x98  # far pointer: the byte whose bit 7 tells that the time is over
WAIT_LEFT: Final = 0x9C  # microseconds
WAIT_ACTIVE: Final = 0xA0
PRINT_SCREEN: Final = 0x100  # 0050:0000


class Bda:
    """Reads and writes fields by their offset."""

    __slots__ = ("_memory",)

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory

    def byte(self, offset: int) -> int:
        """Return the byte at `offset`."""
        return self._memory.read(BASE + offset, 1)[0]

    def word(self, offset: int) -> int:
        """Return the word at `offset`."""
        return int.from_bytes(self._memory.read(BASE + offset, 2), "little")

    def dword(self, offset: int) -> int:
        """Return the double word at `offset`."""
        return int.from_bytes(self._memory.read(BASE + offset, 4), "little")

    def set_byte(self, offset: int, value: int) -> None:
        """Store a byte."""
        self._memory.write(BASE + offset, bytes((value & 0xFF,)))

    def set_word(self, offset: int, value: int) -> None:
        """Store a word."""
        self._memory.write(BASE + offset, (value & 0xFFFF).to_bytes(2, "little"))

    def set_dword(self, offset: int, value: int) -> None:
        """Store a double word."""
        self._memory.write(BASE + offset, (value & 0xFFFF_FFFF).to_bytes(4, "little"))
