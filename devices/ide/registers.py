"""Registers and bits that an ATA channel shows, and the task file of one device.

Names follow ATA-6; older ones are in the comments.

Sources:
    [ATA-6] T13/1410D revision 3b, AT Attachment with Packet Interface - 6, chapter 7.
    [ATA-2] X3T10/948D revision 4c, for cylinder/head/sector addressing.
"""

from __future__ import annotations

from typing import Final

# Command block, [ATA-6] §7.2 (offset from 1F0h)
DATA: Final = 0
ERROR: Final = 1  # read
FEATURES: Final = 1  # write
COUNT: Final = 2  # Sector Count; Interrupt Reason of a PACKET command
LBA_LOW: Final = 3  # Sector Number
LBA_MID: Final = 4  # Cylinder Low; Byte Count low
LBA_HIGH: Final = 5  # Cylinder High; Byte Count high
DEVICE: Final = 6  # Device/Head
STATUS: Final = 7  # read
COMMAND: Final = 7  # write
COMMAND_BLOCK_PORTS: Final = 8

# Status, [ATA-6] §7.15
SR_ERR: Final = 0x01  # CHK for PACKET commands
SR_DRQ: Final = 0x08
SR_DSC: Final = 0x10  # seek complete, [ATA-2] §7.2.13
SR_DF: Final = 0x20
SR_DRDY: Final = 0x40
SR_BSY: Final = 0x80
SR_READY: Final = SR_DRDY | SR_DSC

# Error, [ATA-6] §7.9
ER_ABRT: Final = 0x04
ER_IDNF: Final = 0x10
ER_UNC: Final = 0x40
DIAGNOSTIC_PASSED: Final = 0x01  # [ATA-6] table 26

# Device, [ATA-6] §7.7
DEV_HEAD: Final = 0x0F  # head, or LBA 27:24
DEV_SELECT: Final = 0x10
DEV_LBA: Final = 0x40
DEV_ALWAYS: Final = 0xA0  # read as ones

# Device Control (3F6h), [ATA-6] §7.8
DC_NIEN: Final = 0x02
DC_SRST: Final = 0x04
DC_HOB: Final = 0x80

# Interrupt Reason, [ATA-6] §8.23
IR_CD: Final = 0x01  # command packet or status rather than data
IR_IO: Final = 0x02  # to the host

SECTOR: Final = 512
LBA28_SECTORS: Final = 0x0FFF_FFFF  # the most that words 60-61 can report


class TaskFile:
    """The registers a host writes before a command; each but Device remembers its former value.

    That former value is what 48-bit commands take as the high half, [ATA-6] §6.20.
    """

    __slots__ = ("current", "previous")

    def __init__(self) -> None:
        self.current = bytearray(COMMAND_BLOCK_PORTS)
        self.previous = bytearray(COMMAND_BLOCK_PORTS)

    def write(self, offset: int, value: int) -> None:
        """Take a host write of any register but Data and Command."""
        if offset == DEVICE:
            self.current[DEVICE] = value | DEV_ALWAYS
        else:
            self.previous[offset] = self.current[offset]
            self.current[offset] = value

    def sign(self, mid: int, high: int) -> None:
        """Load the signature of a device, [ATA-6] §9.12; the Device register keeps its bits."""
        self.current[COUNT] = self.current[LBA_LOW] = 1
        self.current[LBA_MID], self.current[LBA_HIGH] = mid, high
        self.previous[:] = bytes(COMMAND_BLOCK_PORTS)

    def count28(self) -> int:
        """Return the sector count of an 8-bit count command: 0 means 256."""
        return self.current[COUNT] or 0x100

    def count48(self) -> int:
        """Return the sector count of an EXT command: 0 means 65,536."""
        return self.previous[COUNT] << 8 | self.current[COUNT] or 0x1_0000

    def low24(self) -> int:
        """Return LBA Low, Mid and High as one number."""
        return int.from_bytes(self.current[LBA_LOW:DEVICE], "little")

    def lba28(self) -> int:
        """Return the address of a 28-bit command."""
        return (self.current[DEVICE] & DEV_HEAD) << 24 | self.low24()

    def lba48(self) -> int:
        """Return the address of an EXT command."""
        return int.from_bytes(self.previous[LBA_LOW:DEVICE], "little") << 24 | self.low24()

    def set_lba28(self, lba: int) -> None:
        """Show `lba` as a 28-bit command leaves it."""
        self.current[LBA_LOW:DEVICE] = (lba & 0xFF_FFFF).to_bytes(3, "little")
        self.current[DEVICE] = self.current[DEVICE] & ~DEV_HEAD | lba >> 24 & DEV_HEAD

    def set_lba48(self, lba: int) -> None:
        """Show `lba` as an EXT command leaves it."""
        self.current[LBA_LOW:DEVICE] = (lba & 0xFF_FFFF).to_bytes(3, "little")
        self.previous[LBA_LOW:DEVICE] = (lba >> 24 & 0xFF_FFFF).to_bytes(3, "little")

    def set_chs(self, cylinder: int, head: int, sector: int) -> None:
        """Show an address in the current translation."""
        self.current[LBA_LOW] = sector & 0xFF
        self.current[LBA_MID], self.current[LBA_HIGH] = cylinder & 0xFF, cylinder >> 8 & 0xFF
        self.current[DEVICE] = self.current[DEVICE] & ~DEV_HEAD | head & DEV_HEAD
