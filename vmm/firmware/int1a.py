"""INT 1Ah: the tick counter, the clock chip and its alarm; AH = B1h goes to the PCI BIOS.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 1Ah"; [RTC] Motorola
MC146818 data sheet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.caller import RETRY, Caller
from vmm.firmware.cmos import read_cmos, write_cmos
from vmm.firmware.host import FirmwareHost
from vmm.firmware.pci_bios import PCI_FUNCTION, PciBios
from vmm.firmware.waits import ALARM, disable_interrupt, enable_interrupt

UNSUPPORTED: Final = 0x86
TICKS_PER_DAY: Final = 0x1800B0
RTC_SECONDS, RTC_MINUTES, RTC_HOURS = 0x00, 0x02, 0x04
RTC_DAY, RTC_MONTH, RTC_YEAR, RTC_CENTURY = 0x07, 0x08, 0x09, 0x32
RTC_A, RTC_B = 0x0A, 0x0B
RTC_UPDATING: Final = 0x80  # register A
RTC_HALTED: Final = 0x80  # register B, SET
RTC_DAYLIGHT: Final = 0x01
RTC_SECONDS_ALARM, RTC_MINUTES_ALARM, RTC_HOURS_ALARM = 0x01, 0x03, 0x05


class Int1A:
    """The time services, and the count that INT 8 keeps."""

    def __init__(self, host: FirmwareHost, pci: PciBios) -> None:
        self._host = host
        self._bus = host.bus
        self._pci = pci
        self._bda = Bda(host.memory)
        self._functions: dict[int, Callable[[Caller], None]] = {
            0x00: self._ticks,
            0x01: self._set_ticks,
            0x02: self._time,
            0x03: self._set_time,
            0x04: self._date,
            0x05: self._set_date,
            0x06: self._set_alarm,
            0x07: self._end_alarm,
        }

    def call(self, caller: Caller) -> None:
        """Serve one INT 1Ah."""
        if caller.ah == PCI_FUNCTION:
            self._pci.call(caller)
            return
        function = self._functions.get(caller.ah)
        caller.set_carry(function is None)
        if function is None:
            caller.ah = UNSUPPORTED
        else:
            function(caller)

    def tick(self, _caller: Caller) -> None:
        """Count one timer interrupt."""
        ticks = self._bda.dword(b.TICKS) + 1
        if ticks >= TICKS_PER_DAY:
            ticks = 0
            self._bda.set_byte(b.MIDNIGHT, 1)
        self._bda.set_dword(b.TICKS, ticks)

    def start(self) -> None:
        """Set the count from the clock chip, as power-on does."""
        hours, minutes, seconds = (
            self._number(read_cmos(self._bus, index)) for index in (RTC_HOURS, RTC_MINUTES, RTC_SECONDS)
        )
        since_midnight = (hours * 60 + minutes) * 60 + seconds
        self._bda.set_dword(b.TICKS, since_midnight * TICKS_PER_DAY // 86400 % TICKS_PER_DAY)
        self._bda.set_byte(b.MIDNIGHT, 0)

    @staticmethod
    def _number(bcd: int) -> int:
        return (bcd >> 4) * 10 + (bcd & 15)

    def _ticks(self, caller: Caller) -> None:
        caller.al = self._bda.byte(b.MIDNIGHT)
        ticks = self._bda.dword(b.TICKS)
        caller.cx, caller.dx = ticks >> 16, ticks & 0xFFFF
        self._bda.set_byte(b.MIDNIGHT, 0)

    def _set_ticks(self, caller: Caller) -> None:
        self._bda.set_dword(b.TICKS, caller.cx << 16 | caller.dx)
        self._bda.set_byte(b.MIDNIGHT, 0)

    def _updating(self, caller: Caller) -> bool:
        """While the chip changes its registers, let time pass and come back."""
        if read_cmos(self._bus, RTC_A) & RTC_UPDATING and not read_cmos(self._bus, RTC_B) & RTC_HALTED:
            caller.conclude(RETRY)
            return True
        return False

    def _time(self, caller: Caller) -> None:
        if self._updating(caller):
            return
        caller.ch, caller.cl, caller.dh = (
            read_cmos(self._bus, index) for index in (RTC_HOURS, RTC_MINUTES, RTC_SECONDS)
        )
        caller.dl = read_cmos(self._bus, RTC_B) & RTC_DAYLIGHT
        caller.ah = 0

    def _date(self, caller: Caller) -> None:
        if self._updating(caller):
            return
        caller.ch, caller.cl, caller.dh, caller.dl = (
            read_cmos(self._bus, index) for index in (RTC_CENTURY, RTC_YEAR, RTC_MONTH, RTC_DAY)
        )
        caller.ah = 0

    def _set(self, values: dict[int, int]) -> None:
        mode = read_cmos(self._bus, RTC_B) & ~RTC_HALTED
        write_cmos(self._bus, RTC_B, mode | RTC_HALTED)
        for index, value in values.items():
            write_cmos(self._bus, index, value)
        write_cmos(self._bus, RTC_B, mode)

    def _set_time(self, caller: Caller) -> None:
        self._set({RTC_HOURS: caller.ch, RTC_MINUTES: caller.cl, RTC_SECONDS: caller.dh})

    def _set_date(self, caller: Caller) -> None:
        self._set({RTC_CENTURY: caller.ch, RTC_YEAR: caller.cl, RTC_MONTH: caller.dh, RTC_DAY: caller.dl})

    def _set_alarm(self, caller: Caller) -> None:
        """06h: INT 4Ah at CH:CL:DH, every day; CF = 1 if an alarm is set already."""
        if self._updating(caller):
            return
        if read_cmos(self._bus, RTC_B) & ALARM:
            caller.set_carry(True)
            return
        for index, value in (
            (RTC_HOURS_ALARM, caller.ch),
            (RTC_MINUTES_ALARM, caller.cl),
            (RTC_SECONDS_ALARM, caller.dh),
        ):
            write_cmos(self._bus, index, value)
        enable_interrupt(self._host, ALARM)

    def _end_alarm(self, _caller: Caller) -> None:
        disable_interrupt(self._host, ALARM)
