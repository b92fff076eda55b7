"""INT 15h: memory size and map, the A20 gate, block moves, waiting.

APM, the configuration table and the PS/2 mouse are not modelled: CF = 1, AH = 86h.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 15h"; [ACPI] ACPI
Specification 2.0 §14 for E820h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.caller import ONE_MIB, RETRY, SYSTEM_CONTROL_A20, SYSTEM_CONTROL_PORT, WAIT, Caller
from vmm.firmware.e820 import ENTRY_BYTES, memory_map
from vmm.firmware.host import FirmwareHost

UNSUPPORTED: Final = 0x86
SMAP: Final = 0x534D_4150
KIB: Final = 1024
BELOW_16M_KIB: Final = 15 * KIB  # between 1 and 16 MiB, what AX of E801h can say
CMOS_LIMIT_KIB: Final = 63 * KIB  # what 88h says at most
BLOCK_UNIT: Final = 64 * KIB
MOVE_SOURCE: Final = 0x10  # descriptors in the table at ES:SI, [PTL] 87h
MOVE_TARGET: Final = 0x18
MOVE_MAX_WORDS: Final = 0x8000
LONG_WAIT_US: Final = 110_000  # above two timer ticks it is worth halting
WAIT_MASK: Final = 0xFFFF_FFFF


class Int15:
    """The system services."""

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._bda = Bda(host.memory)
        self._map = memory_map(host.ram_bytes)
        self._above_kib = max(host.ram_bytes - ONE_MIB, 0) // KIB
        self._by_ah: dict[int, Callable[[Caller], bool]] = {
            0x86: self._wait,
            0x87: self._move_block,
            0x88: self._extended_size,
        }
        self._by_ax: dict[int, Callable[[Caller], bool]] = {
            0x2400: self._a20_off,
            0x2401: self._a20_on,
            0x2402: self._a20_status,
            0x2403: self._a20_support,
            0xE801: self._sizes,
            0xE820: self._map_entry,
        }

    def call(self, caller: Caller) -> None:
        """Serve one INT 15h."""
        function = self._by_ax.get(caller.ax) or self._by_ah.get(caller.ah)
        served = function is not None and function(caller)
        if not served:
            caller.ah = UNSUPPORTED
        caller.set_carry(not served)

    # -- memory

    def _extended_size(self, caller: Caller) -> bool:
        caller.ax = min(self._above_kib, CMOS_LIMIT_KIB)
        return True

    def _sizes(self, caller: Caller) -> bool:
        caller.ax = caller.cx = min(self._above_kib, BELOW_16M_KIB)
        caller.bx = caller.dx = max(self._above_kib - BELOW_16M_KIB, 0) * KIB // BLOCK_UNIT
        return True

    def _map_entry(self, caller: Caller) -> bool:
        index = caller.ebx
        if caller.edx != SMAP or caller.ecx < ENTRY_BYTES or index >= len(self._map):
            return False
        caller.write(caller.address(r.ES, caller.di), self._map[index].pack())
        caller.eax, caller.ecx = SMAP, ENTRY_BYTES
        caller.ebx = index + 1 if index + 1 < len(self._map) else 0
        return True

    def _move_block(self, caller: Caller) -> bool:
        """Copy CX words between the addresses of two descriptors at ES:SI."""
        if caller.cx > MOVE_MAX_WORDS:
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

    def _wait(self, caller: Caller) -> bool:
        """Return once CX:DX microseconds have passed; the deadline is kept in the BDA meanwhile."""
        now_us = self._host.clock.now_ns() // 1000 & WAIT_MASK
        if not caller.called_again:
            self._bda.set_dword(b.WAIT_UNTIL, now_us + (caller.cx << 16 | caller.dx))
        left = (self._bda.dword(b.WAIT_UNTIL) - now_us) & WAIT_MASK
        if 0 < left < 1 << 31:
            caller.conclude(WAIT if left > LONG_WAIT_US else RETRY)
        return True
