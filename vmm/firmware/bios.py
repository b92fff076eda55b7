"""Our BIOS: the trap port behind the ROM's entries, and the table from vectors to services.

All that the firmware remembers is in guest memory (vectors, BIOS data areas), so it has no state of
its own to save. A service runs inside the OUT, in no virtual time; whatever registers and memory
hold, it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.boot import Boot
from vmm.firmware.caller import RETURN, Caller, FlatCaller
from vmm.firmware.diskettes import Diskettes
from vmm.firmware.drives import DriveTable
from vmm.firmware.host import FirmwareHost
from vmm.firmware.int1a import Int1A
from vmm.firmware.int10 import Int10
from vmm.firmware.int13 import Int13
from vmm.firmware.int14 import Int14
from vmm.firmware.int15 import Int15
from vmm.firmware.int17 import Int17
from vmm.firmware.interrupts import MASTER_VECTORS, SLAVE_VECTORS, HardwareInterrupts
from vmm.firmware.kernel_service import KernelService
from vmm.firmware.keyboard import Keyboard
from vmm.firmware.pci_bios import PciBios
from vmm.firmware.pointing import Pointing
from vmm.firmware.post import PowerOn
from vmm.firmware.rom import build_rom
from vmm.firmware.smbios import smbios
from vmm.firmware.stubs import (
    BIOS32,
    BOOT_VECTOR,
    KEYBOARD_VECTOR,
    MOUSE_VECTOR,
    NO_BOOT_VECTOR,
    PCI_FLAT,
    POST,
    RTC_VECTOR,
    TICK_VECTOR,
)
from vmm.firmware.tables import routing_table
from vmm.firmware.waits import Waits

FLOATING: Final = 0xFF
FLAT_SERVICES: Final = (BIOS32, PCI_FLAT)

Service = Callable[[Caller], None]


class Bios:
    """A port device for `stubs.TRAP_PORT`. `rom` is the image for F0000h and FFFF0000h."""

    name = "bios"

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._data = Bda(host.memory)
        rom = build_rom((routing_table, smbios(host.ram_bytes, host.processor_id), *host.tables))
        self.rom = rom.data
        pci = PciBios(host, rom.entries[PCI_FLAT])
        drives, diskettes = DriveTable(host), Diskettes(host, rom.diskettes)
        screen, time, keyboard = Int10(host), Int1A(host, pci), Keyboard(host)
        waits, pointing, printer = Waits(host), Pointing(host, rom.mouse_return), Int17(host)
        boot = Boot(host, screen, drives, rom.entries)
        power_on = PowerOn(host, screen, time, (drives, diskettes), rom.entries)
        lines = HardwareInterrupts(host)
        kernel = {} if host.kernel is None else KernelService(host, host.kernel).services
        self._services: dict[int, Service] = dict.fromkeys((*MASTER_VECTORS, *SLAVE_VECTORS), lines.call)
        self._services |= kernel
        self._services |= {
            0x05: printer.print_screen,
            TICK_VECTOR: time.tick,
            KEYBOARD_VECTOR: keyboard.interrupt,
            0x10: screen.call,
            0x11: self._equipment,
            0x12: self._memory_size,
            0x13: Int13(host, drives, diskettes).call,
            0x14: Int14(host).call,
            0x15: Int15(host, waits, pointing).call,
            0x16: keyboard.call,
            0x17: printer.call,
            NO_BOOT_VECTOR: boot.failed,
            BOOT_VECTOR: boot.call,
            0x1A: time.call,
            RTC_VECTOR: waits.interrupt,
            MOUSE_VECTOR: pointing.interrupt,
            POST: lambda _caller: power_on.run(),
            BIOS32: pci.directory,
            PCI_FLAT: pci.call,
        }

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002 - a port device
        """The port answers nothing."""
        return FLOATING

    def write(self, offset: int, size: int, value: int) -> None:  # noqa: ARG002 - a port device
        """Serve the call that a ROM stub announces; `value` means nothing."""
        processor = self._host.processor
        view = processor.fetch()
        caller = Caller(self._host, view)
        if caller.vector in FLAT_SERVICES:
            caller = FlatCaller(self._host, view)
        service = self._services.get(caller.vector)
        if service is None:
            return
        if caller.called_again:
            caller.conclude(RETURN)
        service(caller)
        processor.commit()

    def _equipment(self, caller: Caller) -> None:
        caller.ax = self._data.word(b.EQUIPMENT)

    def _memory_size(self, caller: Caller) -> None:
        caller.ax = self._data.word(b.MEMORY_KIB)
