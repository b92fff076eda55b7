"""INT 13h for floppy disks: the change line, formats and media types, the parameter tables.

The data rate, motors and head timing need no attention, as the image is read beside the controller;
40:8F to 40:91 are filled for those who look. The disk cannot be made to have another shape:
functions 17h and 18h accept what it has.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 13h", diskette functions,
and section 3, "Diskette Drive Parameters".
"""

from __future__ import annotations

from typing import Final

from disks.image import SECTOR_BYTES
from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.caller import Caller
from vmm.firmware.geometry import own_geometry
from vmm.firmware.host import BootDrive, FirmwareHost, Geometry
from vmm.firmware.rom import ROM_SEGMENT
from vmm.firmware.transfers import (
    BAD_COMMAND,
    BAD_MEDIA_TYPE,
    CHANGED,
    NOT_FOUND,
    OK,
    TIME_OUT,
    Function,
    write_data,
)

PARAMETERS_VECTOR: Final = 0x1E
FILL_BYTE: Final = 8  # in the table
FIELD_BYTES: Final = 4  # C H R N of a sector to be formatted
CODE_512: Final = 2
TYPE_CHANGE_LINE: Final = 2  # 15h: a diskette drive that has one
# What 08h calls a drive, by sectors a track and cylinders
DRIVE_TYPES: Final = {9: 3, 15: 2, 18: 4, 21: 4, 36: 6}
TYPE_360K: Final = 1
TYPE_1440K: Final = 4
# What 17h may ask for, by cylinders and sectors a track
DASD_TYPES: Final = {1: (40, 9), 2: (40, 9), 3: (80, 15), 4: (80, 9)}
# 40:8F and 40:90, [PTL] §3: drive determined; medium established, its data rate in bits 6-7
DRIVES_KNOWN: Final = 0x77
STATE_RATES: Final = {9: 0x97, 15: 0x15, 18: 0x17, 21: 0x17, 36: 0xD7}


class Diskettes:
    """The floppy functions. `tables` are the ROM's parameter tables by sectors a track."""

    def __init__(self, host: FirmwareHost, tables: dict[int, int]) -> None:
        self._host = host
        self._tables = tables
        self.functions: dict[int, Function] = {
            0x05: self._format,
            0x15: self._disk_type,
            0x16: self._change_line,
            0x17: self._set_type,
            0x18: self._set_media,
        }

    def ready(self, drive: BootDrive) -> int:
        """Return OK if a sector may be moved; a disk that was changed is told once, [PTL] status 06h."""
        unit = drive.unit
        if unit is None:
            return OK
        if unit.image is None:
            return TIME_OUT
        if unit.changed:
            unit.changed = False  # by the seek that follows
            return CHANGED
        return OK

    def describe(self, caller: Caller, shape: Geometry) -> None:
        """Give what 08h gives of a floppy beside its shape: the type, ES:DI its parameters."""
        caller.bx = drive_type(shape)
        self._point(caller, shape)

    def _point(self, caller: Caller, shape: Geometry) -> None:
        caller.di = self._tables.get(shape.sectors, self._tables[18])
        caller.set_es(ROM_SEGMENT)

    def power_on(self) -> None:
        """Fill the drives' states in the data area."""
        data = Bda(self._host.memory)
        data.set_byte(b.DRIVES_KNOWN, DRIVES_KNOWN)
        for number in (0, 1):
            drive = self._host.drive(number)
            if drive is not None:
                shape = own_geometry(drive)
                data.set_byte(b.MEDIA_STATES + number, STATE_RATES.get(shape.sectors, 0x17))

    def _fill(self, caller: Caller) -> int:
        """Return the byte that formatting fills sectors with, from the table INT 1Eh points to."""
        offset, segment = (
            int.from_bytes(caller.memory.read(PARAMETERS_VECTOR * 4 + at, 2), "little") for at in (0, 2)
        )
        return caller.read((segment << 4) + offset + FILL_BYTE, 1)[0]

    # -- functions

    def _format(self, caller: Caller, drive: BootDrive) -> int:
        """Format the track CH, head DH: its sectors are those of the AL address fields at ES:BX."""
        status, image = self.ready(drive), drive.medium
        if status != OK or image is None:
            return status
        shape = own_geometry(drive)
        if caller.ch >= shape.cylinders or caller.dh >= shape.heads or not 1 <= caller.al <= shape.sectors:
            return NOT_FOUND
        fields = caller.read(caller.address(r.ES, caller.bx), caller.al * FIELD_BYTES)
        track = (caller.ch * shape.heads + caller.dh) * shape.sectors
        data = bytes((self._fill(caller),)) * SECTOR_BYTES
        for at in range(0, len(fields), FIELD_BYTES):
            cylinder, head, sector, code = fields[at : at + FIELD_BYTES]
            if (cylinder, head, code) != (caller.ch, caller.dh, CODE_512) or not 1 <= sector <= shape.sectors:
                return BAD_COMMAND
            lba = track + sector - 1
            if (lba + 1) * SECTOR_BYTES > image.size_bytes:
                return NOT_FOUND
            status = write_data(image, lba, data)
            if status != OK:
                return status
        return OK

    def _disk_type(self, caller: Caller, _drive: BootDrive) -> int:
        caller.ah = TYPE_CHANGE_LINE
        return OK

    def _change_line(self, _caller: Caller, drive: BootDrive) -> int:
        """16h: whether the disk was changed. The line stays active until a sector is asked for."""
        unit = drive.unit
        if unit is None:
            return OK
        if unit.image is None:
            return TIME_OUT
        return CHANGED if unit.changed else OK

    def _set_type(self, caller: Caller, drive: BootDrive) -> int:
        """17h: AL names a drive and medium to be formatted."""
        shape = own_geometry(drive)
        wanted = DASD_TYPES.get(caller.al)
        if wanted is None:
            return BAD_COMMAND
        return OK if wanted == (shape.cylinders, shape.sectors) else BAD_MEDIA_TYPE

    def _set_media(self, caller: Caller, drive: BootDrive) -> int:
        """18h: CH and CL name the last track and sector to be formatted; ES:DI is the table for them."""
        if drive.medium is None:
            return TIME_OUT
        shape = own_geometry(drive)
        last = caller.ch | (caller.cl & 0xC0) << 2
        if (last + 1, caller.cl & 0x3F) != (shape.cylinders, shape.sectors):
            return BAD_MEDIA_TYPE
        self._point(caller, shape)
        return OK


def drive_type(shape: Geometry) -> int:
    """Return the type of the drive for a disk, as CMOS and function 08h number them."""
    if shape.cylinders <= 40:
        return TYPE_360K
    return DRIVE_TYPES.get(shape.sectors, TYPE_1440K)
