"""INT 13h, functions 41h-4Eh: disks by LBA, "enhanced disk drive" services, version 3.0.

A CD-ROM drive can be locked; its tray cannot be opened from here, so ejecting fails. Transfers
beyond 127 blocks are refused, as the specification has it.

Sources: [EDD] BIOS Enhanced Disk Drive Specification 3.0 (Phoenix); [T13] T13/1484D "EDD-2" §8 (device path).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from disks.image import SECTOR_BYTES, BlockImage
from vmm.cpu import registers as r
from vmm.firmware import cdrom, ebda
from vmm.firmware.caller import Caller
from vmm.firmware.drives import DriveTable
from vmm.firmware.ebda import Ebda
from vmm.firmware.geometry import own_geometry
from vmm.firmware.host import BootDrive, FirmwareHost
from vmm.firmware.tables import with_checksum
from vmm.firmware.transfers import (
    BAD_COMMAND,
    EJECT_FAILED,
    LOCKED,
    LOCKED_TOO_OFTEN,
    NOT_FOUND,
    NOT_LOCKED,
    NOT_REMOVABLE,
    OK,
    WRITE_PROTECTED,
    Function,
    read_sectors,
    write_sectors,
)

CHECK, ANSWER = 0x55AA, 0xAA55
VERSION: Final = 0x30
# Interface subsets, 41h
PACKETS: Final = 0x01  # 42h-44h, 47h, 48h
REMOVABLE: Final = 0x02  # 45h, 46h, 48h, 49h
ENHANCED: Final = 0x04  # 48h with device path
PACKET: Final = struct.Struct("<BBHHHQ")
PACKET_64_BYTES: Final = PACKET.size + 8
PACKET_MAX_BLOCKS: Final = 127  # §8.2
FLAT_BUFFER: Final = 0xFFFF_FFFF
VERIFY_WRITES: Final = 2  # 43h, AL at most

# Result of 48h: bytes up to EDD 1.x, 2.x, 3.0
BYTES_1: Final = 0x1A
BYTES_2: Final = 0x1E
BYTES_3: Final = 0x42
BYTES_3_LONG: Final = 0x4A  # [T13]: a device path of 16 bytes in place of 8
SIZES: Final = (BYTES_3_LONG, BYTES_3, BYTES_2, BYTES_1)
INFO_CHS_VALID: Final = 0x0002
INFO_REMOVABLE: Final = 0x0004
INFO_LOCKABLE_NO_CHS: Final = 0x0070  # change line, lockable, geometry is a maximum
RESULT: Final = struct.Struct("<HHIIIQHI")
NO_CONTROLLER_TABLE: Final = 0xFFFF_FFFF
PATH: Final = struct.Struct("<HBBH4s8s8s")  # then the device path and two bytes
PATH_KEY: Final = 0xBEDD
SCSI_DEVICE: Final = struct.Struct("<HQ")  # id, logical unit
IDE_FUNCTION: Final = (0, 1, 1)  # bus, slot, function of the IDE controller

CONTROLLER: Final = struct.Struct("<HHBBBBBBHHBB")  # the device parameter table extension
IDE_PORTS: Final = ((0x1F0, 0x3F6, 14), (0x170, 0x376, 15))
HEAD_PREFIX: Final = 0xE0  # LBA addressing; bit 4: slave
OPTION_LBA: Final = 0x0010
OPTION_REMOVABLE: Final = 0x0020
OPTION_ATAPI: Final = 0x0040
OPTION_TRANSLATED: Final = 0x0208  # CHS translation, assisted by LBA
EXTENSION_REVISION: Final = 0x11
LOCK, UNLOCK, TELL = 0, 1, 2
MOST_LOCKS: Final = 0xFF
HARDWARE_SETTINGS: Final = 6  # 4Eh, AL at most

Move = Callable[[BlockImage, int, int, int], int]


class Edd:
    """The packet functions."""

    def __init__(self, host: FirmwareHost, drives: DriveTable) -> None:
        self._host = host
        self._drives = drives
        self._ebda = Ebda(host.memory)
        self.functions: dict[int, Function] = {
            0x41: self._check,
            0x42: self._read,
            0x43: self._write,
            0x44: self._verify,
            0x45: self._lock,
            0x46: self._eject,
            0x47: self._verify,
            0x48: self._parameters,
            0x49: self._changed,
            0x4E: self._hardware,
        }

    def _check(self, caller: Caller, drive: BootDrive) -> int:
        if caller.bx != CHECK:
            return BAD_COMMAND
        caller.bx = ANSWER
        caller.cx = PACKETS | ENHANCED | (REMOVABLE if drive.kind == "cd" else 0)
        caller.ah = VERSION
        return OK

    # -- transfers

    def _by_packet(self, caller: Caller, drive: BootDrive, move: Move | None) -> int:
        """Run `move(image, lba, sectors, linear)`, in 512-byte sectors, for the packet at DS:SI."""
        address = caller.address(r.DS, caller.si)
        size, _, count, offset, segment, block = PACKET.unpack(caller.read(address, PACKET.size))
        if size < PACKET.size or count > PACKET_MAX_BLOCKS:
            return BAD_COMMAND
        linear = segment * 16 + offset
        if segment << 16 | offset == FLAT_BUFFER and size >= PACKET_64_BYTES:
            linear = int.from_bytes(caller.read(address + PACKET.size, 4), "little")
        ratio = cdrom.SECTORS_PER_BLOCK if drive.kind == "cd" else 1
        status = NOT_FOUND
        if (block + count) * ratio * SECTOR_BYTES <= drive.image.size_bytes:
            status = (
                OK if move is None or not count else move(drive.image, block * ratio, count * ratio, linear)
            )
        if status != OK:
            caller.write(address + 2, b"\0\0")
        return status

    def _read(self, caller: Caller, drive: BootDrive) -> int:
        return self._by_packet(
            caller, drive, lambda image, lba, n, linear: read_sectors(caller, image, lba, n, linear)
        )

    def _write(self, caller: Caller, drive: BootDrive) -> int:
        if drive.kind == "cd":
            return WRITE_PROTECTED
        if caller.al > VERIFY_WRITES:
            return BAD_COMMAND
        return self._by_packet(
            caller, drive, lambda image, lba, n, linear: write_sectors(caller, image, lba, n, linear)
        )

    def _verify(self, caller: Caller, drive: BootDrive) -> int:
        """44h, and the seek of 47h."""
        return self._by_packet(caller, drive, None)

    # -- removable media

    def _locks(self, drive: BootDrive) -> int | None:
        """Return where the lock count of a CD-ROM drive is kept."""
        if drive.kind != "cd":
            return None
        return ebda.CD_LOCKS + drive.number % ebda.CD_LOCKS_MOST

    def _lock(self, caller: Caller, drive: BootDrive) -> int:
        place = self._locks(drive)
        if place is None:
            return NOT_REMOVABLE
        count, wanted = self._ebda.byte(place), caller.al
        if wanted > TELL:
            return BAD_COMMAND
        if wanted == LOCK and count == MOST_LOCKS:
            return LOCKED_TOO_OFTEN
        if wanted == UNLOCK and not count:
            return NOT_LOCKED
        count += (1, -1, 0)[wanted]
        self._ebda.set_byte(place, count)
        caller.al = int(bool(count))
        return OK

    def _eject(self, _caller: Caller, drive: BootDrive) -> int:
        place = self._locks(drive)
        if place is None:
            return NOT_REMOVABLE
        return LOCKED if self._ebda.byte(place) else EJECT_FAILED

    def _changed(self, _caller: Caller, _drive: BootDrive) -> int:
        """49h: discs stay where they are."""
        return OK

    def _hardware(self, caller: Caller, _drive: BootDrive) -> int:
        """4Eh: prefetch, PIO and DMA modes are all the same to us; no other drive is concerned."""
        if caller.al > HARDWARE_SETTINGS:
            return BAD_COMMAND
        caller.al = 0
        return OK

    # -- 48h

    def _parameters(self, caller: Caller, drive: BootDrive) -> int:
        address = caller.address(r.DS, caller.si)
        room = int.from_bytes(caller.read(address, 2), "little")
        if room < BYTES_1:
            return BAD_COMMAND
        size = next(size for size in SIZES if room >= size)
        flags, block_bytes, chs = INFO_CHS_VALID, SECTOR_BYTES, tuple(own_geometry(drive))
        if drive.kind == "cd":
            flags, block_bytes = INFO_REMOVABLE | INFO_LOCKABLE_NO_CHS, cdrom.BLOCK_BYTES
            chs = (0xFFFF_FFFF,) * 3
        total = drive.image.size_bytes // block_bytes
        pointer = self._controller_table(drive) if size >= BYTES_2 else NO_CONTROLLER_TABLE
        result = RESULT.pack(size, flags, *chs, total, block_bytes, pointer)
        if size > BYTES_2:
            result += _path(drive, size - BYTES_2)
        caller.write(address, result[:size])
        return OK

    def _controller_table(self, drive: BootDrive) -> int:
        """Write the table of the drive's controller and return a far pointer to it, or FFFFFFFFh."""
        if drive.place is None:
            return NO_CONTROLLER_TABLE
        ports, control, irq = IDE_PORTS[drive.place >> 1 & 1]
        options = OPTION_LBA
        if drive.kind == "cd":
            options = OPTION_REMOVABLE | OPTION_ATAPI
        elif self._drives.shape(drive) != own_geometry(drive):
            options |= OPTION_TRANSLATED
        table = CONTROLLER.pack(
            ports, control, HEAD_PREFIX | (drive.place & 1) << 4, 0, irq, 1, 0, 0, options, 0,
            EXTENSION_REVISION, 0,
        )  # fmt: skip
        self._ebda.write(ebda.CONTROLLER_TABLE, with_checksum(table, CONTROLLER.size - 1))
        return self._ebda.segment << 16 | ebda.CONTROLLER_TABLE


def _path(drive: BootDrive, size: int) -> bytes:
    """Return where the drive is, in `size` bytes: the PCI function of its controller, and what is on it."""
    if drive.scsi is not None:
        interface, kind = bytes((0, drive.scsi.slot, 0, 0)), b"SCSI    "
        device = SCSI_DEVICE.pack(drive.scsi.target, drive.scsi.lun)
    elif drive.place is not None:
        interface = bytes((*IDE_FUNCTION, drive.place >> 1))
        kind = b"ATAPI   " if drive.kind == "cd" else b"ATA     "
        device = bytes((drive.place & 1,))
    else:
        return bytes(size)
    path = PATH.pack(PATH_KEY, size, 0, 0, b"PCI ", kind, interface.ljust(8, b"\0"))
    path += device[: size - PATH.size - 2]
    return with_checksum(path.ljust(size, b"\0"), size - 1)
