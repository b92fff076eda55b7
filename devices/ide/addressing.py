"""From the task file to a sector number and back: CHS, 28-bit and 48-bit addresses.

Sources:
    [ATA-6] T13/1410D revision 3b, §6.2 and §6.20.
    [ATA-2] X3T10/948D revision 4c, §6.2: cylinder, head and sector.
"""

from __future__ import annotations

from devices.ide.commands import EXT_TRANSFERS
from devices.ide.identify import Geometry
from devices.ide.registers import COUNT, DEV_HEAD, DEV_LBA, DEVICE, TaskFile


def address_of(registers: TaskFile, opcode: int, translation: Geometry) -> int | None:
    """Return the sector the task file names for `opcode`, or None where CHS names none."""
    if opcode in EXT_TRANSFERS:
        return registers.lba48()
    if registers.current[DEVICE] & DEV_LBA:
        return registers.lba28()
    _, heads, per_track = translation
    cylinder, sector = divmod(registers.low24(), 0x100)
    head = registers.current[DEVICE] & DEV_HEAD
    if not 1 <= sector <= per_track or head >= heads:
        return None
    return (cylinder * heads + head) * per_track + sector - 1


def count_of(registers: TaskFile, opcode: int) -> int:
    """Return how many sectors the task file asks for."""
    return registers.count48() if opcode in EXT_TRANSFERS else registers.count28()


def show_address(registers: TaskFile, opcode: int, translation: Geometry, lba: int, remaining: int) -> None:
    """Leave `lba` and a count in the registers, in the way `opcode` addressed the disk."""
    registers.current[COUNT] = remaining & 0xFF
    if opcode in EXT_TRANSFERS:
        registers.previous[COUNT] = remaining >> 8 & 0xFF
        registers.set_lba48(lba)
    elif registers.current[DEVICE] & DEV_LBA:
        registers.set_lba28(lba)
    else:
        _, heads, per_track = translation
        track, sector = divmod(lba, per_track)
        registers.set_chs(track // heads, track % heads, sector + 1)
