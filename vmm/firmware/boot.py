"""INT 18h and 19h: find something to boot, or say that there is nothing.

Sources: [BBS] BIOS Boot Specification 1.01; [ET] El Torito 1.0 §3.
"""

from __future__ import annotations

from typing import Final

from disks.errors import DiskError
from disks.image import SECTOR_BYTES
from vmm.firmware import cdrom
from vmm.firmware.caller import Caller
from vmm.firmware.host import BootDrive, FirmwareHost
from vmm.firmware.int10 import Int10
from vmm.firmware.rom import NO_BOOT_VECTOR, ROM_SEGMENT

BOOT_ADDRESS: Final = 0x7C00
BOOT_SIGNATURE: Final = b"\x55\xaa"
SIGNATURE_AT: Final = 510
NOTHING_TO_BOOT: Final = "no bootable device"


class Boot:
    """The bootstrap loader."""

    def __init__(self, host: FirmwareHost, screen: Int10, entries: dict[int, int]) -> None:
        self._host = host
        self._screen = screen
        self._no_boot_entry = entries[NO_BOOT_VECTOR]

    def call(self, caller: Caller) -> None:
        """Serve INT 19h: load the first thing that can be booted and let the stub return into it."""
        reasons = []
        for kind in self._host.boot_order:
            for number in self._host.numbers(kind):
                drive = self._host.drive(number)
                reason = self._try(caller, drive) if drive is not None else None
                if reason is None:
                    return
                reasons.append(f"{kind} {number:02X}h: {reason}")
        self._report(NOTHING_TO_BOOT + (f" ({'; '.join(reasons)})" if reasons else ""))
        caller.return_to(ROM_SEGMENT, self._no_boot_entry)

    def no_boot(self, _caller: Caller) -> None:
        """Serve INT 18h: the stub halts after this."""
        self._screen.put("No bootable device: the machine is halted.\r\n")

    def _report(self, text: str) -> None:
        self._screen.put(text + "\r\n")
        if self._host.on_no_boot is not None:
            self._host.on_no_boot(text)

    def _try(self, caller: Caller, drive: BootDrive) -> str | None:
        """Load from `drive` and aim the stub; return None, or why this drive cannot be booted."""
        loaded = self._from_cd(drive) if drive.kind == "cd" else self._from_disk(drive)
        if isinstance(loaded, str):
            return loaded
        address, image = loaded
        self._host.memory.write(address, image)
        caller.dl = drive.number
        # The same address as segment:offset, with the segment 0 where it can be
        caller.return_to(address >> 4 & 0xF000, address & 0xFFFF)
        return None

    def _from_disk(self, drive: BootDrive) -> tuple[int, bytes] | str:
        if drive.image.size_bytes < SECTOR_BYTES:
            return "the image is empty"
        try:
            sector = drive.image.read(0, 1)
        except (OSError, DiskError) as error:
            return f"cannot be read: {error}"
        if sector[SIGNATURE_AT:SECTOR_BYTES] != BOOT_SIGNATURE:
            return "no boot sector (55AAh missing)"
        return BOOT_ADDRESS, sector

    def _from_cd(self, drive: BootDrive) -> tuple[int, bytes] | str:
        entry = cdrom.boot_entry(drive.image)
        if entry is None:
            return "no El Torito entry without emulation"
        length = max(entry.sectors, 1) * SECTOR_BYTES
        data = cdrom.read_blocks(drive.image, entry.block, -(-length // cdrom.BLOCK_BYTES))
        if data is None:
            return "the boot image cannot be read"
        return entry.segment << 4, data[:length]
