"""INT 13h: disks, by cylinder, head and sector, and who serves the other functions.

Hard disks and floppies take 512-byte sectors, CD-ROMs only packets (edd.py), in 2048-byte blocks. An
emulated drive is a floppy or hard disk like any other. Diagnostics and the controller's own functions
succeed without doing anything; long sectors (0Ah, 0Bh) and formatting a hard disk are not there.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 13h"; [EDD] BIOS
Enhanced Disk Drive Specification 3.0; [ET] El Torito 1.0 §4; [RBIL] Ralf Brown's Interrupt List 61.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from disks.image import SECTOR_BYTES
from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.caller import Caller
from vmm.firmware.disc_services import DiscServices
from vmm.firmware.diskettes import Diskettes
from vmm.firmware.drives import DriveTable
from vmm.firmware.edd import Edd
from vmm.firmware.host import BootDrive, FirmwareHost
from vmm.firmware.transfers import (
    BAD_COMMAND,
    NOT_FOUND,
    OK,
    PARAMETER_FAILED,
    Function,
    read_sectors,
    write_sectors,
)

FIRST_HD: Final = 0x80
MOST_SECTORS: Final = 128  # a call moves at most 64 KiB
ANSWER_IN_AH: Final = frozenset({0x15, 0x41})  # functions whose success is not AH = 0
FUNCTION_STATUS: Final = 0x01
TYPE_HARD_DISK: Final = 3


class Int13:
    """The disk services. Each function returns a status, which AH, CF and the BDA then hold."""

    def __init__(self, host: FirmwareHost, drives: DriveTable, diskettes: Diskettes) -> None:
        self._host = host
        self._drives = drives
        self._diskettes = diskettes
        self._bda = Bda(host.memory)
        edd, discs = Edd(host, drives), DiscServices(host, drives)
        common: dict[int, Function] = {0x00: self._nothing, 0x01: self._last_status} | discs.functions
        chs: dict[int, Function] = {
            0x02: self._read,
            0x03: self._write,
            0x04: self._verify,
            0x08: self._parameters,
        }
        # Set up, seek, reset, test: the drives are always ready
        hard_disk = dict.fromkeys((0x09, 0x0C, 0x0D, 0x10, 0x11, 0x14), self._nothing)
        self._functions: dict[str, dict[int, Function]] = {
            "floppy": common | chs | diskettes.functions,
            "hd": common | chs | hard_disk | {0x15: self._disk_type} | edd.functions,
            "cd": common | edd.functions,
        }

    def call(self, caller: Caller) -> None:
        """Serve one INT 13h."""
        number, unit = caller.ah, caller.dl
        drive = self._drives.find(unit)
        if drive is None:
            status = self._absent(caller, number)
        else:
            function = self._functions[drive.kind].get(number)
            status = BAD_COMMAND if function is None else function(caller, drive)
        if status != OK or number not in ANSWER_IN_AH:
            caller.ah = status
        if number != FUNCTION_STATUS:
            self._bda.set_byte(b.DISK_STATUS if unit >= FIRST_HD else b.DISKETTE_STATUS, status)
        caller.set_carry(status != OK)

    def _absent(self, caller: Caller, number: int) -> int:
        """A drive that is not there: reset succeeds, as the controller is there; 15h says none.

        Without an error, and CX:DX, which count the sectors of a hard disk, are not touched: [RBIL] AH=15h.
        """
        if number == 0x00 and caller.dl < FIRST_HD:
            return OK
        if number == 0x08:
            return self._absent_parameters(caller)
        if number == 0x15:
            caller.ah = 0
            return OK
        return BAD_COMMAND

    def _absent_parameters(self, caller: Caller) -> int:
        """Tell how many there are; of a floppy nothing else, without an error, [PTL] AH=08h."""
        if caller.dl >= FIRST_HD:
            caller.dl = self._drives.count("hd")
            return PARAMETER_FAILED
        count = self._drives.count("floppy")
        caller.bx = caller.cx = 0
        caller.dx = count
        return OK

    def _by_chs(self, caller: Caller, drive: BootDrive, move: Callable[[int, int], int], memory: bool) -> int:
        """Run `move(lba, sectors)` for what AL, CX and DH name."""
        image = drive.medium
        if not caller.al or (memory and caller.al > MOST_SECTORS):
            return BAD_COMMAND
        status = self._diskettes.ready(drive)
        if status != OK or image is None:
            return status
        shape = self._drives.shape(drive)
        sector = caller.cl & 0x3F
        cylinder = caller.ch | (caller.cl & 0xC0) << 2
        lba = (cylinder * shape.heads + caller.dh) * shape.sectors + sector - 1
        inside = 1 <= sector <= shape.sectors and caller.dh < shape.heads and cylinder < shape.cylinders
        if not inside or (lba + caller.al) * SECTOR_BYTES > image.size_bytes:
            return NOT_FOUND
        return move(lba, caller.al)

    def _move(
        self, caller: Caller, drive: BootDrive, move: Callable[[int, int], int], *, memory: bool = True
    ) -> int:
        status = self._by_chs(caller, drive, move, memory)
        if status != OK:
            caller.al = 0
        return status

    # -- functions

    def _nothing(self, _caller: Caller, _drive: BootDrive) -> int:
        return OK

    def _last_status(self, caller: Caller, _drive: BootDrive) -> int:
        return self._bda.byte(b.DISK_STATUS if caller.dl >= FIRST_HD else b.DISKETTE_STATUS)

    def _read(self, caller: Caller, drive: BootDrive) -> int:
        image, linear = drive.medium, caller.address(r.ES, caller.bx)
        if image is None:
            return self._diskettes.ready(drive)
        return self._move(caller, drive, lambda lba, n: read_sectors(caller, image, lba, n, linear))

    def _write(self, caller: Caller, drive: BootDrive) -> int:
        image, linear = drive.medium, caller.address(r.ES, caller.bx)
        if image is None:
            return self._diskettes.ready(drive)
        return self._move(caller, drive, lambda lba, n: write_sectors(caller, image, lba, n, linear))

    def _verify(self, caller: Caller, drive: BootDrive) -> int:
        return self._move(caller, drive, lambda _lba, _n: OK, memory=False)

    def _parameters(self, caller: Caller, drive: BootDrive) -> int:
        shape = self._drives.shape(drive)
        last = shape.cylinders - 1
        caller.al = 0
        caller.ch = last & 0xFF
        caller.cl = shape.sectors | last >> 2 & 0xC0
        caller.dh = shape.heads - 1
        caller.dl = self._drives.count(drive.kind)
        if drive.kind == "floppy":
            self._diskettes.describe(caller, shape)
        return OK

    def _disk_type(self, caller: Caller, drive: BootDrive) -> int:
        shape = self._drives.shape(drive)
        sectors = shape.cylinders * shape.heads * shape.sectors
        caller.ah, caller.cx, caller.dx = TYPE_HARD_DISK, sectors >> 16, sectors & 0xFFFF
        return OK
