"""INT 15h: memory size and map, the A20 gate, block moves, waiting, tables, and the hooks.

The pointing device is pointing.py, waiting waits.py. Not here: APM and cassettes, joysticks, and the
switch to protected mode (CF = 1, AH = 86h).

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 15h"; [ACPI] ACPI
Specification 2.0 §14 for E820h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.cpu import registers as r
from vmm.firmware.caller import ONE_MIB, SYSTEM_CONTROL_A20, SYSTEM_CONTROL_PORT, Caller
from vmm.firmware.e820 import ENTRY_BYTES, memory_map
from vmm.firmware.ebda import Ebda
from vmm.firmware.host import FirmwareHost
from vmm.firmware.pointing import Pointing
from vmm.firmware.rom import CONFIGURATION, ROM_SEGMENT
from vmm.firmware.waits import Waits

UNSUPPORTED: Final = 0x86
SMAP: Final = 0x534D_4150
KIB: Final = 1024
BELOW_16M_KIB: Final = 15 * KIB  # between 1 and 16 MiB, what AX of E801h can say
CMOS_LIMIT_KIB: Final = 63 * KIB  # what 88h says at most
BLOCK_UNIT: Final = 64 * KIB
MOVE_SOURCE: Final = 0x10  # descriptors in the table at ES:SI, [PTL] 87h
MOVE_TARGET: Final = 0x18
MOVE_MAX_WORDS: Final = 0x8000
WAITING_FAILED: Final = 0x83


class Int15:
    """The system services. Functions return whether CF is to be clear."""

    def __init__(self, host: FirmwareHost, waits: Waits, pointing: Pointing) -> None:
        self._host = host
        self._ebda = Ebda(host.memory)
        self._waits = waits
        self._map = memory_map(host.ram_bytes)
        self._above_kib = max(host.ram_bytes - ONE_MIB, 0) // KIB
        self._by_ah: dict[int, Callable[[Caller], bool]] = {
            0x4F: lambda _caller: False,  # no hook: the scan code stands
            **dict.fromkeys((0x80, 0x81, 0x82, 0x85, 0x90, 0x91), self._hook),
            0x83: self._wait_for_event,
            0x86: self._wait,
            0x87: self._move_block,
            0x88: self._extended_size,
            0xC0: self._configuration,
            0xC1: self._ebda_segment,
            0xC2: pointing.call,
        }
        self._by_ax: dict[int, Callable[[Caller], bool]] = {
            0x2400: self._a20_off,
            0x2401: self._a20_on,
            0x2402: self._a20_status,
            0x2403: self._a20_support,
            0xE801: self._sizes,
            0xE820: self._map_entry,
            0xE881: self._sizes_32,
        }

    def call(self, caller: Caller) -> None:
        """Serve one INT 15h."""
        function = self._by_ax.get(caller.ax) or self._by_ah.get(caller.ah)
        if function is None:
            caller.ah = UNSUPPORTED
        caller.set_carry(function is None or not function(caller))

    # -- memory

    def _extended_size(self, caller: Caller) -> bool:
        caller.ax = min(self._above_kib, CMOS_LIMIT_KIB)
        return True

    def _sizes(self, caller: Caller) -> bool:
        caller.ax = caller.cx = min(self._above_kib, BELOW_16M_KIB)
        caller.bx = caller.dx = max(self._above_kib - BELOW_16M_KIB, 0) * KIB // BLOCK_UNIT
        return True

    def _sizes_32(self, caller: Caller) -> bool:
        caller.eax = caller.ecx = min(self._above_kib, BELOW_16M_KIB)
        caller.ebx = caller.edx = max(self._above_kib - BELOW_16M_KIB, 0) * KIB // BLOCK_UNIT
        return True

    def _map_entry(self, caller: Caller) -> bool:
        index = caller.ebx
        if caller.edx != SMAP or caller.ecx < ENTRY_BYTES or index >= len(self._map):
            caller.ah = UNSUPPORTED
            return False
        caller.write(caller.address(r.ES, caller.di), self._map[index].pack())
        caller.eax, caller.ecx = SMAP, ENTRY_BYTES
        caller.ebx = index + 1 if index + 1 < len(self._map) else 0
        return True

    def _move_block(self, caller: Caller) -> bool:
        """Copy CX words between the addresses of two descriptors at ES:SI."""
        if caller.cx > MOVE_MAX_WORDS:
            caller.ah = UNSUPPORTED
            return False
        table = caller.address(r.ES, caller.si)
        source, target = (self._base(caller, table + at) for at in (MOVE_SOURCE, MOVE_TARGET))
        self._host.memory.write(target, self._host.memory.read(source, caller.cx * 2))
        caller.ah = 0
        caller.set_zero(True)
        return True

    def _base(self, caller: Caller, address: int) -> int:
        descriptor = caller.read(address, 8)
        return int.from_bytes(descriptor[2:5] + descriptor[7:8], "little")

    # -- the A20 gate

    def _control(self) -> int:
        return self._host.bus.read(SYSTEM_CONTROL_PORT, 1)

    def _a20_off(self, caller: Caller) -> bool:
        self._host.bus.write(SYSTEM_CONTROL_PORT, 1, self._control() & 0xFE & ~SYSTEM_CONTROL_A20)
        caller.ah = 0
        return True

    def _a20_on(self, caller: Caller) -> bool:
        self._host.bus.write(SYSTEM_CONTROL_PORT, 1, self._control() & 0xFE | SYSTEM_CONTROL_A20)
        caller.ah = 0
        return True

    def _a20_status(self, caller: Caller) -> bool:
        caller.ax = int(bool(self._control() & SYSTEM_CONTROL_A20))
        caller.cx = 0
        return True

    def _a20_support(self, caller: Caller) -> bool:
        caller.ah, caller.bx = 0, 0x0003  # by keyboard controller and by port 92h
        return True

    # -- waiting

    def _wait_for_event(self, caller: Caller) -> bool:
        served = self._waits.wait_for_event(caller)
        caller.ah = 0 if served else UNSUPPORTED
        return served

    def _wait(self, caller: Caller) -> bool:
        served = self._waits.wait(caller)
        if not served:
            caller.ah = WAITING_FAILED
        return served

    # -- the rest

    def _hook(self, caller: Caller) -> bool:
        """Devices opened, closed and waited for, the SysRq key: for a multitasking system to take over."""
        caller.ah = 0
        return True

    def _configuration(self, caller: Caller) -> bool:
        caller.ah, caller.bx = 0, CONFIGURATION
        caller.set_es(ROM_SEGMENT)
        return True

    def _ebda_segment(self, caller: Caller) -> bool:
        caller.set_es(self._ebda.segment)
        return True
