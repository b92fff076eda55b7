"""Registers, commands and times of the 82077AA.

Source: [82077AA] Intel 82077AA CHMOS Single-Chip Floppy Disk Controller, 290166.
"""

from __future__ import annotations

from typing import Final

DRIVES: Final = 4

# Digital output register, [82077AA] §2.1.3
DOR_SELECT: Final = 0x03
DOR_NOT_RESET: Final = 0x04
DOR_DMA_GATE: Final = 0x08
DOR_MOTOR: Final = 0x10  # of drive 0
# Main status and data rate select
MSR_BUSY: Final = 0x10
MSR_NON_DMA: Final = 0x20
MSR_DIO: Final = 0x40
MSR_RQM: Final = 0x80
DSR_RESET: Final = 0x80
RATE: Final = 0x03
DIR_CHANGED: Final = 0x80

ST0_SEEK_END: Final = 0x20
ST0_EQUIPMENT: Final = 0x10
ST0_INVALID: Final = 0x80
ST0_READY_CHANGED: Final = 0xC0
ST3_FIXED: Final = 0x28  # ready and two sides
ST3_TRACK_0: Final = 0x10
ST3_PROTECTED: Final = 0x40
VERSION_82077: Final = 0x90

# Operations, by the low five bits of the command
READ_TRACK: Final = 0x02
WRITE_DATA: Final = 0x05
READ_DATA: Final = 0x06
WRITE_DELETED: Final = 0x09
READ_DELETED: Final = 0x0C
FORMAT_TRACK: Final = 0x0D
VERIFY: Final = 0x16
WRITES: Final = frozenset({WRITE_DATA, WRITE_DELETED, FORMAT_TRACK})

# Commands by their low five bits: number of parameters, [82077AA] table 5-1
SPECIFY, SENSE_DRIVE, RECALIBRATE, SENSE_INTERRUPT, READ_ID = 0x03, 0x04, 0x07, 0x08, 0x0A
DUMPREG, SEEK, VERSION, PERPENDICULAR, CONFIGURE, LOCK = 0x0E, 0x0F, 0x10, 0x12, 0x13, 0x14
PARAMETERS: Final = {
    READ_TRACK: 8, SPECIFY: 2, SENSE_DRIVE: 1, WRITE_DATA: 8, READ_DATA: 8, RECALIBRATE: 1,
    SENSE_INTERRUPT: 0, WRITE_DELETED: 8, READ_ID: 1, READ_DELETED: 8, FORMAT_TRACK: 5, DUMPREG: 0,
    SEEK: 2, VERSION: 0, PERPENDICULAR: 1, CONFIGURE: 3, LOCK: 0, VERIFY: 8,
}  # fmt: skip
DATA_COMMANDS: Final = frozenset(
    {READ_TRACK, WRITE_DATA, READ_DATA, WRITE_DELETED, READ_DELETED, FORMAT_TRACK, VERIFY}
)
RELATIVE: Final = 0x80
RELATIVE_UP: Final = 0x40
LOCK_BIT: Final = 0x80
NON_DMA: Final = 0x01  # in SPECIFY's second parameter
IMPLIED_SEEK: Final = 0x40  # in CONFIGURE's second
POLLING_OFF: Final = 0x10
FIFO_OFF: Final = 0x20  # after reset

RESET_NS: Final = 10_000
COMMAND_NS: Final = 200_000
STEP_NS: Final = 1_000_000  # a unit of the step rate at 500 kbit/s
SLOWEST_STEP: Final = 16
