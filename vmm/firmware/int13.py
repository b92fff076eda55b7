"""INT 13h: disks, by cylinder, head and sector, and by the packets of EDD.

Hard disks and floppies take 512-byte sectors, CD-ROMs only packets, in 2048-byte blocks. Reads and
writes go straight to the image, beside the drive's own interface, and take no virtual time.
Formatting, and EDD's locking and ejecting, are not modelled.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 13h"; [EDD] BIOS
Enhanced Disk Drive Specification 3.0; [ET] El Torito 1.0 §4.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from disks.errors import HOST_ERRORS, ReadOnlyError
from disks.image import SECTOR_BYTES
from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware import cdrom
from vmm.firmware.bda import Bda
from vmm.firmware.caller import Caller
from vmm.firmware.geometry import logical_geometry, own_geometry
from vmm.firmware.host import BootDrive, FirmwareHost

# Status codes, [PTL] "Interrupt 13h", [EDD] §8
OK: Final = 0x00
BAD_COMMAND: Final = 0x01
WRITE_PROTECTED: Final = 0x03
NOT_FOUND: Final = 0x04
PARAMETER_FAILED: Final = 0x07
CONTROLLER_FAILED: Final = 0x20

FIRST_HD: Final = 0x80
EDD_CHECK, EDD_ANSWER = 0x55AA, 0xAA55
EDD_VERSION: Final = 0x21  # EDD 1.1
EDD_PACKETS: Final = 0x01  # functions 42h-44h, 47h, 48h
PACKET_BYTES: Final = 16
PACKET_MAX_BLOCKS: Final = 127  # [EDD] §8.2
FLAT_BUFFER: Final = 0xFFFF_FFFF
PARAMETERS_BYTES: Final = 0x1A
PARAMETERS_2_BYTES: Final = 0x1E
INFO_CHS_VALID: Final = 0x0002
INFO_REMOVABLE: Final = 0x0004
INFO_LOCKABLE_NO_CHS: Final = 0x0070  # change line, lockable, geometry is a maximum
CD_PACKET_BYTES: Final = 0x13
ANSWER_IN_AH: Final = frozenset({0x15, 0x41})  # functions whose success is not AH = 0
NO_CONFIGURATION: Final = 0xFFFF_FFFF
FLOPPY_TYPES: Final = {9: 3, 15: 2, 18: 4, 36: 6}  # by sectors a track

Function = Callable[[Caller, BootDrive], int]


class Int13:
    """The disk services. Each function returns a status, which AH, CF and the BDA then hold."""

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._bda = Bda(host.memory)
        self._any: dict[int, Function] = {
            0x00: self._reset,
            0x01: self._last_status,
            0x41: self._check_extensions,
            0x42: self._packet_read,
            0x43: self._packet_write,
            0x44: self._packet_verify,
            0x47: self._reset,
            0x48: self._parameters_extended,
        }
        self._disk: dict[int, Function] = self._any | {
            0x02: self._read,
            0x03: self._write,
            0x04: self._verify,
            0x08: self._parameters,
            0x0C: self._reset,
            0x0D: self._reset,
            0x10: self._reset,
            0x11: self._reset,
            0x14: self._reset,
            0x15: self._disk_type,
        }
        self._cd: dict[int, Function] = self._any | {0x4B: self._emulation_status}

    def call(self, caller: Caller) -> None:
        """Serve one INT 13h."""
        number = caller.ah
        drive = self._host.drive(caller.dl)
        if drive is None:
            status = self._absent(caller, number)
        else:
            function = (self._cd if drive.kind == "cd" else self._disk).get(number)
            status = BAD_COMMAND if function is None else function(caller, drive)
        if status != OK or number not in ANSWER_IN_AH:
            caller.ah = status
        if number != 0x01:
            self._bda.set_byte(b.DISK_STATUS, status)
        caller.set_carry(status != OK)

    def _absent(self, caller: Caller, number: int) -> int:
        """A drive that is not there: reset succeeds, as the controller is there; 15h says none."""
        if number == 0x00 and caller.dl < FIRST_HD:
            return OK
        if number == 0x08:
            caller.dl = len(self._host.numbers("hd" if caller.dl >= FIRST_HD else "floppy"))
            return PARAMETER_FAILED
        return BAD_COMMAND

    # -- transfers

    def _transfer(self, image_call: Callable[[], None]) -> int:
        try:
            image_call()
        except ReadOnlyError:
            return WRITE_PROTECTED
        except HOST_ERRORS:
            return CONTROLLER_FAILED
        return OK

    def _read_sectors(self, caller: Caller, drive: BootDrive, lba: int, sectors: int, linear: int) -> int:
        return self._transfer(lambda: caller.write(linear, drive.image.read(lba, sectors)))

    def _write_sectors(self, caller: Caller, drive: BootDrive, lba: int, sectors: int, linear: int) -> int:
        if drive.image.read_only:
            return WRITE_PROTECTED
        data = caller.read(linear, sectors * SECTOR_BYTES)
        return self._transfer(lambda: drive.image.write(lba, data))

    def _locate(self, caller: Caller, drive: BootDrive) -> int | None:
        """Return the LBA that CX and DH name, or None if the AL sectors from there do not exist."""
        shape = logical_geometry(drive)
        sector = caller.cl & 0x3F
        cylinder = caller.ch | (caller.cl & 0xC0) << 2
        if not 1 <= sector <= shape.sectors or caller.dh >= shape.heads or cylinder >= shape.cylinders:
            return None
        lba = (cylinder * shape.heads + caller.dh) * shape.sectors + sector - 1
        return lba if (lba + caller.al) * SECTOR_BYTES <= drive.image.size_bytes else None

    def _by_chs(self, caller: Caller, drive: BootDrive, move: Callable[[int], int]) -> int:
        if not 1 <= caller.al <= 128:
            return BAD_COMMAND
        lba = self._locate(caller, drive)
        status = NOT_FOUND if lba is None else move(lba)
        if status != OK:
            caller.al = 0
        return status

    # -- functions 00h-15h

    def _reset(self, _caller: Caller, _drive: BootDrive) -> int:
        return OK

    def _last_status(self, _caller: Caller, _drive: BootDrive) -> int:
        return self._bda.byte(b.DISK_STATUS)

    def _read(self, caller: Caller, drive: BootDrive) -> int:
        linear = caller.address(r.ES, caller.bx)
        return self._by_chs(
            caller, drive, lambda lba: self._read_sectors(caller, drive, lba, caller.al, linear)
        )

    def _write(self, caller: Caller, drive: BootDrive) -> int:
        linear = caller.address(r.ES, caller.bx)
        return self._by_chs(
            caller, drive, lambda lba: self._write_sectors(caller, drive, lba, caller.al, linear)
        )

    def _verify(self, caller: Caller, drive: BootDrive) -> int:
        return self._by_chs(caller, drive, lambda _lba: OK)

    def _parameters(self, caller: Caller, drive: BootDrive) -> int:
        shape = logical_geometry(drive)
        last = shape.cylinders - 1
        caller.al = 0
        caller.ch = last & 0xFF
        caller.cl = shape.sectors | last >> 2 & 0xC0
        caller.dh = shape.heads - 1
        caller.dl = len(self._host.numbers(drive.kind))
        caller.bl = FLOPPY_TYPES.get(shape.sectors, 4) if drive.kind == "floppy" else 0
        return OK

    def _disk_type(self, caller: Caller, drive: BootDrive) -> int:
        if drive.kind == "floppy":
            caller.ah = 1
            return OK
        shape = logical_geometry(drive)
        sectors = shape.cylinders * shape.heads * shape.sectors
        caller.ah, caller.cx, caller.dx = 3, sectors >> 16, sectors & 0xFFFF
        return OK

    # -- functions 41h-48h, [EDD] §8

    def _check_extensions(self, caller: Caller, drive: BootDrive) -> int:
        if caller.bx != EDD_CHECK or drive.kind == "floppy":
            return BAD_COMMAND
        caller.bx, caller.cx = EDD_ANSWER, EDD_PACKETS
        caller.ah = EDD_VERSION
        return OK

    def _by_packet(
        self, caller: Caller, drive: BootDrive, move: Callable[[int, int, int], int] | None
    ) -> int:
        """Run `move(lba, sectors, linear)`, in 512-byte sectors, for the packet at DS:SI."""
        address = caller.address(r.DS, caller.si)
        size, _, count, offset, segment, block = struct.unpack("<BBHHHQ", caller.read(address, PACKET_BYTES))
        if size < PACKET_BYTES or count > PACKET_MAX_BLOCKS:
            return BAD_COMMAND
        linear = segment * 16 + offset
        if segment << 16 | offset == FLAT_BUFFER and size >= PACKET_BYTES + 8:
            linear = int.from_bytes(caller.read(address + PACKET_BYTES, 4), "little")
        ratio = cdrom.SECTORS_PER_BLOCK if drive.kind == "cd" else 1
        status = NOT_FOUND
        if (block + count) * ratio * SECTOR_BYTES <= drive.image.size_bytes:
            status = OK if move is None or not count else move(block * ratio, count * ratio, linear)
        if status != OK:
            caller.write(address + 2, b"\0\0")
        return status

    def _packet_read(self, caller: Caller, drive: BootDrive) -> int:
        return self._by_packet(
            caller,
            drive,
            lambda lba, sectors, linear: self._read_sectors(caller, drive, lba, sectors, linear),
        )

    def _packet_write(self, caller: Caller, drive: BootDrive) -> int:
        if drive.kind == "cd":
            return WRITE_PROTECTED
        return self._by_packet(
            caller,
            drive,
            lambda lba, sectors, linear: self._write_sectors(caller, drive, lba, sectors, linear),
        )

    def _packet_verify(self, caller: Caller, drive: BootDrive) -> int:
        return self._by_packet(caller, drive, None)

    def _parameters_extended(self, caller: Caller, drive: BootDrive) -> int:
        address = caller.address(r.DS, caller.si)
        room = int.from_bytes(caller.read(address, 2), "little")
        if room < PARAMETERS_BYTES or drive.kind == "floppy":
            return BAD_COMMAND
        own = own_geometry(drive)
        flags, block_bytes = INFO_CHS_VALID, SECTOR_BYTES
        if drive.kind == "cd":
            flags, block_bytes = INFO_REMOVABLE | INFO_LOCKABLE_NO_CHS, cdrom.BLOCK_BYTES
        chs = (0xFFFF_FFFF,) * 3 if drive.kind == "cd" else own
        size = PARAMETERS_2_BYTES if room >= PARAMETERS_2_BYTES else PARAMETERS_BYTES
        total = drive.image.size_bytes // block_bytes
        result = struct.pack("<HHIIIQHI", size, flags, *chs, total, block_bytes, NO_CONFIGURATION)
        caller.write(address, result[:size])
        return OK

    # -- function 4Bh, [ET] §4

    def _emulation_status(self, caller: Caller, drive: BootDrive) -> int:
        """AL = 01h: tell how the disc was booted. AL = 00h ends an emulation: there is none."""
        entry = cdrom.boot_entry(drive.image)
        if caller.al not in (0, 1) or entry is None:
            return BAD_COMMAND
        place = (entry.block, 0, 0, entry.segment, entry.sectors)
        packet = struct.pack("<BBBBIHHHHBBB", CD_PACKET_BYTES, entry.media, drive.number, 0, *place, 0, 0, 0)
        caller.write(caller.address(r.DS, caller.si), packet)
        return OK
