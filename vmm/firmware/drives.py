"""The drives as INT 13h numbers them, an emulated one included, and the shape each shows.

Sources: [ET] El Torito 1.0 §1.3; [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, section 3,
"Fixed Disk Drive Parameter Table".
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from vmm.firmware import bda as b
from vmm.firmware import ebda
from vmm.firmware.bda import Bda
from vmm.firmware.ebda import Ebda
from vmm.firmware.emulation import FIRST_HARD_DISK, Emulation
from vmm.firmware.geometry import (
    MAX_HEADS,
    MAX_SECTORS,
    logical_geometry,
    own_geometry,
    with_shape,
)
from vmm.firmware.host import BootDrive, DriveKind, FirmwareHost, Geometry

DISK_TABLE: Final = struct.Struct("<HBBBHBBHBHBB")
TRANSLATED: Final = 0xA0  # the table also holds the drive's own geometry
NO_PRECOMPENSATION: Final = 0xFFFF
MANY_HEADS: Final = 0x08  # control byte: more than eight
TABLES: Final = 2
EQUIPMENT_FLOPPY: Final = 0x0001
EQUIPMENT_FLOPPIES_SHIFT: Final = 6
EQUIPMENT_FLOPPIES: Final = 0x00C1


class DriveTable:
    """Who answers to a number in DL."""

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._bda = Bda(host.memory)
        self._ebda = Ebda(host.memory)
        self.emulation = Emulation(self._ebda)

    def emulated(self) -> BootDrive | None:
        """Return the emulated drive, if there is one."""
        number = self.emulation.cd_number
        disc = self._host.drive(number) if number else None
        return None if disc is None or disc.kind != "cd" else self.emulation.drive(disc.image)

    def find(self, number: int) -> BootDrive | None:
        """Return the drive that DL names; one that gave way to an emulated drive under its new number."""
        emulated = self.emulated()
        if emulated is None:
            return self._host.drive(number)
        if number == emulated.number:
            return emulated
        if number & FIRST_HARD_DISK != emulated.number or self._is_cd(number):
            return self._host.drive(number)
        real = self._host.drive(number - 1)
        return None if real is None else msgspec.structs.replace(real, number=number)

    def _is_cd(self, number: int) -> bool:
        drive = self._host.drive(number)
        return drive is not None and drive.kind == "cd"

    def count(self, kind: DriveKind) -> int:
        """Return how many drives of a kind there are."""
        emulated = self.emulated()
        return len(self._host.numbers(kind)) + (emulated is not None and emulated.kind == kind)

    def shape(self, drive: BootDrive) -> Geometry:
        """Return the geometry INT 13h shows: for a real disk, what was found at power-on."""
        index = self._host_number(drive) - FIRST_HARD_DISK
        if drive.kind == "hd" and drive.logical is None and index in range(ebda.DISK_SHAPES_MOST):
            heads, sectors = self._ebda.read(ebda.DISK_SHAPES + 2 * index, 2)
            if 1 <= heads <= MAX_HEADS and 1 <= sectors <= MAX_SECTORS:
                return with_shape(drive, (heads, sectors))
        return logical_geometry(drive)

    def _host_number(self, drive: BootDrive) -> int:
        emulated = self.emulated()
        moved = emulated is not None and emulated.kind == drive.kind and drive.number > emulated.number
        return drive.number - moved

    def power_on(self) -> None:
        """Look at every disk: remember shapes, fill the tables of INT 41h and 46h and the data area."""
        for drive in self._host.drives:
            index = drive.number - FIRST_HARD_DISK
            if drive.kind == "hd" and index in range(ebda.DISK_SHAPES_MOST):
                shape = logical_geometry(drive)
                self._ebda.write(ebda.DISK_SHAPES + 2 * index, bytes((shape.heads, shape.sectors)))
                if index < TABLES:
                    self._ebda.write(
                        ebda.DISK_TABLES + index * ebda.DISK_TABLE_BYTES,
                        _disk_table(shape, own_geometry(drive)),
                    )
            if drive.unit is not None and drive.unit.image is not None:
                drive.unit.changed = False  # the heads have moved
        self.publish()

    def publish(self) -> None:
        """Tell the numbers of drives in the BIOS data area."""
        self._bda.set_byte(b.DISK_COUNT, self.count("hd"))
        floppies = self.count("floppy")
        equipment = self._bda.word(b.EQUIPMENT) & ~EQUIPMENT_FLOPPIES
        if floppies:
            equipment |= EQUIPMENT_FLOPPY | (floppies - 1 & 3) << EQUIPMENT_FLOPPIES_SHIFT
        self._bda.set_word(b.EQUIPMENT, equipment)


def _disk_table(shape: Geometry, own: Geometry) -> bytes:
    """A fixed disk parameter table, the translated form where the two geometries differ."""
    translated = TRANSLATED if shape != own else 0
    physical = (own.cylinders, own.heads) if translated else (0, 0)
    table = DISK_TABLE.pack(
        shape.cylinders, shape.heads, translated, own.sectors if translated else 0, NO_PRECOMPENSATION, 0,
        MANY_HEADS if shape.heads > 8 else 0, *physical, shape.cylinders, shape.sectors, 0,
    )  # fmt: skip
    return table[:-1] + bytes((-sum(table) & 0xFF,))
