"""INT 18h and 19h: find something to boot, or say that there is nothing.

The drives are tried in the order of `boot_order`, within a kind by number. What is loaded may give up
by INT 18h: then the next drive has its turn. How many were tried is in the EBDA. A kernel that the
host gives is started instead, and no drive is tried.

Sources: [BBS] BIOS Boot Specification 1.01 §6.5; [ET] El Torito 1.0 §3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from disks.errors import HOST_ERRORS
from disks.image import SECTOR_BYTES
from vmm.firmware import cdrom, ebda
from vmm.firmware.caller import Caller
from vmm.firmware.drives import DriveTable
from vmm.firmware.ebda import Ebda
from vmm.firmware.emulation import HARD_DISK, MEDIA_MASK, NO_EMULATION, packet_for, shape_of
from vmm.firmware.host import BootDrive, DriveKind, FirmwareHost
from vmm.firmware.int10 import Int10
from vmm.firmware.rom import ROM_SEGMENT
from vmm.firmware.stubs import HALT_ENTRY, KERNEL_ENTRY

BOOT_ADDRESS: Final = 0x7C00
BOOT_SIGNATURE: Final = b"\x55\xaa"
SIGNATURE_AT: Final = 510
NOTHING_TO_BOOT: Final = "no bootable device"
NAMES: Final = {"floppy": "floppy disk", "cd": "CD-ROM", "hd": "hard disk"}
EMULATED: Final = {NO_EMULATION: "", HARD_DISK: ", as a hard disk"}


class _Loaded(NamedTuple):
    """What a drive gave: code for an address, and what the code finds in DL."""

    address: int
    code: bytes
    number: int
    how: str = ""


class Boot:
    """The bootstrap loader."""

    def __init__(
        self, host: FirmwareHost, screen: Int10, drives: DriveTable, entries: dict[int, int]
    ) -> None:
        self._host = host
        self._screen = screen
        self._drives = drives
        self._ebda = Ebda(host.memory)
        self._halt = entries[HALT_ENTRY]
        self._kernel_entry = entries[KERNEL_ENTRY]

    def call(self, caller: Caller) -> None:
        """Serve INT 19h: load the first thing that can be booted and let the stub return into it."""
        if self._host.kernel is not None:
            self._screen.put(f"Starting {Path(self._host.kernel.name).name}\r\n")
            caller.return_to(ROM_SEGMENT, self._kernel_entry)
            return
        self._go_on(caller, 0)

    def failed(self, caller: Caller) -> None:
        """Serve INT 18h: what was booted gives up; the next one."""
        self._screen.put("The boot program has returned.\r\n")
        if self._host.kernel is not None:
            self._give_up(caller, f"{self._host.kernel.name}: the kernel has returned by INT 18h")
            return
        self._go_on(caller, self._ebda.byte(ebda.NEXT_BOOT))

    def _candidates(self) -> Iterator[tuple[DriveKind, BootDrive]]:
        for kind in self._host.boot_order:
            for number in self._host.numbers(kind):
                drive = self._host.drive(number)
                if drive is not None:
                    yield kind, drive

    def _go_on(self, caller: Caller, first: int) -> None:
        self._drives.emulation.stop()
        self._drives.publish()
        reasons = ["boot program returned"] if first else []
        for index, (kind, drive) in enumerate(self._candidates()):
            if index < first:
                continue
            loaded = self._from_cd(drive) if kind == "cd" else self._from_disk(drive)
            if not isinstance(loaded, str):
                self._ebda.set_byte(ebda.NEXT_BOOT, index + 1)
                self._screen.put(f"Booting from {_name(kind, drive)}{loaded.how}\r\n")
                self._enter(caller, loaded)
                return
            self._screen.put(f"{_name(kind, drive)}: {loaded}\r\n")
            reasons.append(f"{kind} {drive.number:02X}h: {loaded}")
        self._ebda.set_byte(ebda.NEXT_BOOT, 0)
        self._give_up(caller, NOTHING_TO_BOOT + (f" ({'; '.join(reasons)})" if reasons else ""))

    def _give_up(self, caller: Caller, why: str) -> None:
        self._screen.put("No bootable device: the machine is halted.\r\n")
        if self._host.on_no_boot is not None:
            self._host.on_no_boot(why)
        caller.return_to(ROM_SEGMENT, self._halt)

    def _enter(self, caller: Caller, loaded: _Loaded) -> None:
        self._host.memory.write(loaded.address, loaded.code)
        caller.dl = loaded.number
        # The same address as segment:offset, with the segment 0 where it can be
        caller.return_to(loaded.address >> 4 & 0xF000, loaded.address & 0xFFFF)

    def _from_disk(self, drive: BootDrive) -> _Loaded | str:
        image = drive.medium
        if image is None:
            return "no disk in the drive"
        if image.size_bytes < SECTOR_BYTES:
            return "the image is empty"
        try:
            sector = bytes(image.read(0, 1))
        except HOST_ERRORS as error:
            return f"cannot be read: {error}"
        if sector[SIGNATURE_AT:SECTOR_BYTES] != BOOT_SIGNATURE:
            return "no boot sector (55AAh missing)"
        return _Loaded(BOOT_ADDRESS, sector, drive.number)

    def _from_cd(self, drive: BootDrive) -> _Loaded | str:
        entry = cdrom.boot_entry(drive.image)
        if entry is None:
            return "no El Torito boot entry for a PC"
        media = entry.media & MEDIA_MASK
        if media != NO_EMULATION and shape_of(entry) is None:
            return "what its boot image emulates is not told"
        length = max(entry.sectors, 1) * SECTOR_BYTES
        data = cdrom.read_blocks(drive.image, entry.block, -(-length // cdrom.BLOCK_BYTES))
        if data is None:
            return "the boot image cannot be read"
        packet = packet_for(entry, drive.number)
        if media != NO_EMULATION:
            self._drives.emulation.start(packet, drive.number)
            self._drives.publish()
        how = EMULATED.get(media, ", as a floppy disk")
        return _Loaded(entry.segment << 4, data[:length], packet.number, how)


def _name(kind: DriveKind, drive: BootDrive) -> str:
    return f"{NAMES[kind]} {drive.number:02X}h"
