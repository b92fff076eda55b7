"""INT 13h, functions 4Ah-4Dh: starting, ending and describing El Torito emulation.

Sources: [ET] Phoenix/IBM "El Torito" Bootable CD-ROM Format Specification 1.0, §4.
"""

from __future__ import annotations

import struct
from typing import Final

from disks.image import SECTOR_BYTES
from vmm.cpu import registers as r
from vmm.firmware import cdrom
from vmm.firmware.caller import Caller
from vmm.firmware.drives import DriveTable
from vmm.firmware.emulation import MEDIA_MASK, NO_EMULATION, PACKET, Packet, packet_for
from vmm.firmware.host import BootDrive, FirmwareHost
from vmm.firmware.transfers import BAD_COMMAND, CONTROLLER_FAILED, OK, Function

DEFAULT_SEGMENT: Final = 0x07C0
CATALOG_PACKET: Final = struct.Struct("<BBIH")  # size, 2048-byte sectors, buffer, first of them
KEEP_EMULATION: Final = 1  # 4Bh, in AL


class DiscServices:
    """The functions of [ET]. They are asked of a CD-ROM drive, or of the drive it emulates."""

    def __init__(self, host: FirmwareHost, drives: DriveTable) -> None:
        self._host = host
        self._drives = drives
        self.functions: dict[int, Function] = {
            0x4A: self._start,
            0x4B: self._stop_or_tell,
            0x4C: self._start_and_boot,
            0x4D: self._catalog,
        }

    def _disc_drive(self, drive: BootDrive) -> BootDrive | None:
        """Return the CD-ROM drive meant: `drive`, or the one behind the emulated drive."""
        if drive.kind == "cd":
            return drive
        emulated = self._drives.emulated()
        if emulated is None or emulated.number != drive.number:
            return None
        return self._host.drive(self._drives.emulation.cd_number)

    def _started(self, caller: Caller, drive: BootDrive) -> Packet | None:
        """Start what the packet at DS:SI asks for; None if that cannot be."""
        disc = self._disc_drive(drive)
        packet = Packet(*PACKET.unpack(caller.read(caller.address(r.DS, caller.si), PACKET.size)))
        if disc is None or packet.size != PACKET.size:
            return None
        if packet.media & MEDIA_MASK == NO_EMULATION:
            self._drives.emulation.stop()
        else:
            self._drives.emulation.start(packet, disc.number)
            if self._drives.emulated() is None:
                self._drives.emulation.stop()
                return None
        self._drives.publish()
        return packet

    def _start(self, caller: Caller, drive: BootDrive) -> int:
        return BAD_COMMAND if self._started(caller, drive) is None else OK

    def _start_and_boot(self, caller: Caller, drive: BootDrive) -> int:
        """Does not return to its caller if it succeeds."""
        disc = self._disc_drive(drive)
        packet = self._started(caller, drive)
        if disc is None or packet is None:
            return BAD_COMMAND
        length = max(packet.sectors, 1) * SECTOR_BYTES
        data = cdrom.read_blocks(disc.image, packet.block, -(-length // cdrom.BLOCK_BYTES))
        if data is None:
            return CONTROLLER_FAILED
        segment = packet.load_segment or DEFAULT_SEGMENT
        self._host.memory.write(segment << 4, data[:length])
        caller.dl = packet.number
        caller.return_to(segment & 0xF000, segment << 4 & 0xFFFF)
        return OK

    def _stop_or_tell(self, caller: Caller, drive: BootDrive) -> int:
        """4Bh: AL = 01h tells how the disc was booted, AL = 00h ends the emulation as well."""
        disc = self._disc_drive(drive)
        if disc is None or caller.al > KEEP_EMULATION:
            return BAD_COMMAND
        emulation = self._drives.emulation
        if emulation.cd_number == disc.number:
            packet = emulation.packet
        else:
            entry = cdrom.boot_entry(disc.image)
            if entry is None:
                return BAD_COMMAND
            packet = packet_for(entry, disc.number)
        caller.write(caller.address(r.DS, caller.si), packet.pack())
        if caller.al != KEEP_EMULATION and emulation.cd_number == disc.number:
            emulation.stop()
            self._drives.publish()
        return OK

    def _catalog(self, caller: Caller, drive: BootDrive) -> int:
        """4Dh: copy sectors of the boot catalog, as the command packet at DS:SI says."""
        disc = self._disc_drive(drive)
        size, sectors, buffer, first = CATALOG_PACKET.unpack(
            caller.read(caller.address(r.DS, caller.si), CATALOG_PACKET.size)
        )
        place = None if disc is None else cdrom.catalog_block(disc.image)
        if disc is None or place is None or size != CATALOG_PACKET.size:
            return BAD_COMMAND
        data = cdrom.read_blocks(disc.image, place + first, sectors)
        if data is None:
            return CONTROLLER_FAILED
        caller.write((buffer >> 16 << 4) + (buffer & 0xFFFF), data)
        return OK
