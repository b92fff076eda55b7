"""Our BIOS: the trap port behind the ROM's entries, and the table from vectors to services.

All that the firmware remembers is in guest memory (vectors, BIOS data area), so it has no state of
its own to save. A service runs inside the OUT, in no virtual time; whatever registers and memory
hold, it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.boot import Boot
from vmm.firmware.caller import RETURN, Caller
from vmm.firmware.host import FirmwareHost
from vmm.firmware.int1a import Int1A
from vmm.firmware.int10 import Int10
from vmm.firmware.int13 import Int13
from vmm.firmware.int15 import Int15
from vmm.firmware.interrupts import MASTER_VECTORS, SLAVE_VECTORS, HardwareInterrupts
from vmm.firmware.keyboard import Keyboard
from vmm.firmware.post import PowerOn
from vmm.firmware.rom import BOOT_VECTOR, KEYBOARD_VECTOR, NO_BOOT_VECTOR, POST, TICK_VECTOR, build_rom

UNSUPPORTED: Final = 0x86
FLOATING: Final = 0xFF

Service = Callable[[Caller], None]


class Bios:
    """A port device for `rom.TRAP_PORT`. `rom` is the image for F0000h and FFFF0000h."""

    name = "bios"

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._data = Bda(host.memory)
        rom = build_rom()
        self.rom = rom.data
        screen, time, keyboard = Int10(host), Int1A(host), Keyboard(host)
        boot = Boot(host, screen, rom.entries)
        power_on = PowerOn(host, screen, time, rom.entries)
        lines = HardwareInterrupts(host)
        self._services: dict[int, Service] = dict.fromkeys((*MASTER_VECTORS, *SLAVE_VECTORS), lines.call)
        self._services |= {
            TICK_VECTOR: time.tick,
            KEYBOARD_VECTOR: keyboard.interrupt,
            0x10: screen.call,
            0x11: self._equipment,
            0x12: self._memory_size,
            0x13: Int13(host).call,
            0x14: self._unsupported,
            0x15: Int15(host).call,
            0x16: keyboard.call,
            0x17: self._unsupported,
            NO_BOOT_VECTOR: boot.no_boot,
            BOOT_VECTOR: boot.call,
            0x1A: time.call,
            POST: lambda _caller: power_on.run(),
        }

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002 - a port device
        """The port answers nothing."""
        return FLOATING

    def write(self, offset: int, size: int, value: int) -> None:  # noqa: ARG002 - a port device
        """Serve the call that a ROM stub announces; `value` means nothing."""
        processor = self._host.processor
        caller = Caller(self._host, processor.fetch())
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

    def _unsupported(self, caller: Caller) -> None:
        """INT 14h and 17h: the devices are there for whoever programs them, the services are not."""
        caller.ah = UNSUPPORTED
        caller.set_carry(True)
