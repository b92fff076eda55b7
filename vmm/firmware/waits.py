"""INT 15h AH=83h and 86h, INT 70h: waiting for microseconds, and the clock chip's interrupt.

An event wait counts the periodic interrupt of the clock chip, 1024 a second. A plain wait looks at the
virtual clock; the guest halts meanwhile if it is long.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 15h", "Interrupt 70h";
[RTC] Motorola MC146818 data sheet.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.caller import RETRY, WAIT, Caller
from vmm.firmware.cmos import read_cmos, write_cmos
from vmm.firmware.host import FirmwareHost
from vmm.firmware.stubs import CALL_HANDLER

LONG_WAIT_US: Final = 110_000  # above two timer ticks it is worth halting
WAIT_MASK: Final = 0xFFFF_FFFF
TICK_US: Final = 976  # of the periodic interrupt
WAIT_BUSY: Final = 0x01  # 40:A0
WAIT_OVER: Final = 0x80  # what is posted
START, CANCEL = 0, 1  # 83h, AL

RTC_B, RTC_C = 0x0B, 0x0C
PERIODIC: Final = 0x40  # in registers B and C
ALARM: Final = 0x20
SLAVE_MASK_PORT: Final = 0xA1
CLOCK_LINE: Final = 0x01


def enable_interrupt(host: FirmwareHost, kind: int) -> None:
    """Let the clock chip interrupt for `kind`, and through the interrupt controller."""
    write_cmos(host.bus, RTC_B, read_cmos(host.bus, RTC_B) | kind)
    host.bus.write(SLAVE_MASK_PORT, 1, host.bus.read(SLAVE_MASK_PORT, 1) & 0xFF & ~CLOCK_LINE)


def disable_interrupt(host: FirmwareHost, kind: int) -> None:
    """No longer let the clock chip interrupt for `kind`."""
    write_cmos(host.bus, RTC_B, read_cmos(host.bus, RTC_B) & ~kind)


class Waits:
    """The event wait and its interrupt, and the plain wait."""

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._bda = Bda(host.memory)

    def wait_for_event(self, caller: Caller) -> bool:
        """83h: AL = 00h sets bit 7 of the byte at ES:BX in CX:DX microseconds, AL = 01h no longer."""
        if caller.al == CANCEL:
            disable_interrupt(self._host, PERIODIC)
            self._bda.set_byte(b.WAIT_ACTIVE, 0)
            return True
        if caller.al != START or self._bda.byte(b.WAIT_ACTIVE) & WAIT_BUSY:
            return False
        segment = caller.view.segs[r.ES].base >> 4
        self._bda.set_dword(b.WAIT_FLAG, (segment & 0xFFFF) << 16 | caller.bx)
        self._bda.set_dword(b.WAIT_LEFT, caller.cx << 16 | caller.dx)
        self._bda.set_byte(b.WAIT_ACTIVE, WAIT_BUSY)
        enable_interrupt(self._host, PERIODIC)
        caller.ah = 0
        return True

    def wait(self, caller: Caller) -> bool:
        """86h: return once CX:DX microseconds have passed; the deadline is kept in the BDA meanwhile."""
        now_us = self._host.clock.now_ns() // 1000 & WAIT_MASK
        if not caller.called_again:
            if self._bda.byte(b.WAIT_ACTIVE) & WAIT_BUSY:
                return False
            self._bda.set_dword(b.WAIT_LEFT, now_us + (caller.cx << 16 | caller.dx))
        left = (self._bda.dword(b.WAIT_LEFT) - now_us) & WAIT_MASK
        if 0 < left < 1 << 31:
            caller.conclude(WAIT if left > LONG_WAIT_US else RETRY)
        return True

    def interrupt(self, caller: Caller) -> None:
        """INT 70h: count down the event wait; have the stub call INT 4Ah for an alarm."""
        enabled = read_cmos(self._host.bus, RTC_B)
        happened = read_cmos(self._host.bus, RTC_C) & enabled
        if happened & PERIODIC:
            self._count_down(caller)
        if happened & ALARM:
            caller.conclude(CALL_HANDLER)

    def _count_down(self, caller: Caller) -> None:
        if not self._bda.byte(b.WAIT_ACTIVE) & WAIT_BUSY:
            return
        left = self._bda.dword(b.WAIT_LEFT) - TICK_US
        self._bda.set_dword(b.WAIT_LEFT, max(left, 0))
        if left > 0:
            return
        disable_interrupt(self._host, PERIODIC)
        self._bda.set_byte(b.WAIT_ACTIVE, 0)
        pointer = self._bda.dword(b.WAIT_FLAG)
        address = (pointer >> 16 << 4) + (pointer & 0xFFFF)
        caller.write(address, bytes((caller.read(address, 1)[0] | WAIT_OVER,)))
