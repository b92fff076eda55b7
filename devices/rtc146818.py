"""Motorola MC146818 real-time clock with 128 bytes of battery-backed RAM (the PC's CMOS).

The date is a function of virtual time: `_offset_ns` is what must be added to the clock's
nanoseconds to get nanoseconds since 1970 in the guest's zone. It stands still while SET is on or the
divider is held in reset. Flags of register C are worked out when somebody looks; a deadline exists
only for an interrupt that is enabled and not yet pending, so an unserved interrupt costs nothing.

Modelled beyond the chip: the century at 32h, which PC firmware and operating systems expect.
Not modelled: daylight saving (DSE), the square-wave pin, time bases other than 32,768 Hz, periodic
interrupts while SET is on.

Sources:
  [146818] Motorola MC146818A Real-Time Clock plus RAM, ADI1026R1, 1984.
  [PIIX]   Intel 82371FB/82371SB PIIX/PIIX3 data sheet, 290550-002, April 1997.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from devices.backplane import Clock, DeviceState, IrqLine, Timer
from devices.isa import byte_bank, floating, ignored
from devices.rtc_calendar import DATE_REGISTERS, Alarm, decode_date, encode_date

# Registers, [146818] figure 9
SECONDS_ALARM: Final = 0x01
MINUTES_ALARM: Final = 0x03
HOURS_ALARM: Final = 0x05
REGISTER_A: Final = 0x0A
REGISTER_B: Final = 0x0B
REGISTER_C: Final = 0x0C
REGISTER_D: Final = 0x0D

# Register A, [146818] "Register A"
A_UIP: Final = 0x80
A_DIVIDER: Final = 0x70
A_DIVIDER_32KHZ: Final = 0x20
A_DIVIDER_RESET: Final = 0x60  # with either value of the lowest divider bit
A_RATE: Final = 0x0F

# Register B
B_SET: Final = 0x80
B_PIE: Final = 0x40
B_AIE: Final = 0x20
B_UIE: Final = 0x10
B_SQWE: Final = 0x08
B_BINARY: Final = 0x04
B_24H: Final = 0x02
INTERRUPTS: Final = B_PIE | B_AIE | B_UIE

# Register C holds each flag where register B holds its enable
C_IRQF: Final = 0x80
C_PF: Final = B_PIE
C_AF: Final = B_AIE
C_UF: Final = B_UIE

D_VRT: Final = 0x80

# Port 70h, [PIIX] "RTCI"
INDEX: Final = 0x7F
NMI_MASK: Final = 0x80

NS_PER_S: Final = 1_000_000_000
CRYSTAL_HZ: Final = 32_768
UIP_NS: Final = 244_000 + 1_984_000  # warning before the update, and the update, [146818] table 3
DIVIDER_START_NS: Final = 500_000_000  # first update after divider reset, [146818] "Divider stages"
CMOS_BYTES: Final = 128


class Rtc146818State(DeviceState, frozen=True, kw_only=True):
    """Registers, RAM and the relation to virtual time."""

    ram: bytes
    index: int
    nmi_masked: bool
    flags: int
    offset_ns: int
    stopped_ns: int
    checked_ns: int


class Rtc146818:
    """The chip behind `ports`: index at offset 0, data at 1.

    `base_epoch_s` is the date at virtual time 0, in seconds since 1970 of the zone the guest shall see;
    `cmos` gives RAM bytes by index, for a firmware that looks there.
    """

    def __init__(
        self,
        clock: Clock,
        irq: IrqLine,
        base_epoch_s: int,
        cmos: Mapping[int, int] | None = None,
        name: str = "rtc",
    ) -> None:
        self.name = name
        self._clock = clock
        self._irq = irq
        self._timer: Timer | None = None
        self._ram = bytearray(CMOS_BYTES)
        self._ram[REGISTER_A] = A_DIVIDER_32KHZ | 6  # 1024 Hz, as PC firmware leaves it
        self._ram[REGISTER_B] = B_24H
        for register, value in (cmos or {}).items():
            if REGISTER_D < register < CMOS_BYTES:
                self._ram[register] = value & 0xFF
        self._offset_ns = base_epoch_s * NS_PER_S
        self._stopped_ns = -1
        self._checked_ns = self._now_ns()
        self._build_ports()
        self.reset()

    def _build_ports(self) -> None:
        reads = [self._read_ram] * CMOS_BYTES
        writes = [self._write_ram] * CMOS_BYTES
        for register in DATE_REGISTERS:
            reads[register] = self._read_date
            writes[register] = self._write_date
        for register in (SECONDS_ALARM, MINUTES_ALARM, HOURS_ALARM):
            writes[register] = self._write_alarm
        reads[REGISTER_A], writes[REGISTER_A] = self._read_a, self._write_a
        writes[REGISTER_B] = self._write_b
        reads[REGISTER_C], writes[REGISTER_C] = self._read_c, ignored
        reads[REGISTER_D], writes[REGISTER_D] = self._read_d, ignored
        self._reads, self._writes = tuple(reads), tuple(writes)
        self.ports = byte_bank(self.name, (floating, self._read_data), (self._write_index, self._write_data))

    def reset(self) -> None:
        """Assert RESET#: no interrupts; date, RAM and modes live on the battery, [146818] "RESET"."""
        self._ram[REGISTER_B] &= ~(INTERRUPTS | B_SQWE) & 0xFF
        self._flags = 0
        self._index = 0
        self.nmi_masked = False
        self._checked_ns = self._now_ns()
        self._update_irq()

    def save(self) -> Rtc146818State:
        """Return the state."""
        return Rtc146818State(
            ram=bytes(self._ram),
            index=self._index,
            nmi_masked=self.nmi_masked,
            flags=self._flags,
            offset_ns=self._offset_ns,
            stopped_ns=self._stopped_ns,
            checked_ns=self._checked_ns,
        )

    def load(self, state: DeviceState) -> None:
        """Become `state`, drive the line and await the next interrupt."""
        saved = msgspec.convert(state, Rtc146818State)
        self._ram[:] = saved.ram.ljust(CMOS_BYTES, b"\0")[:CMOS_BYTES]
        self._index = saved.index & INDEX
        self.nmi_masked = saved.nmi_masked
        self._flags = saved.flags
        self._offset_ns = saved.offset_ns
        self._stopped_ns = saved.stopped_ns
        self._checked_ns = saved.checked_ns
        self._update_irq()

    # Time

    def _now_ns(self) -> int:
        """Return the guest's date in nanoseconds since 1970."""
        return self._stopped_ns if self._stopped_ns >= 0 else self._clock.now_ns() + self._offset_ns

    def _run_from(self, date_ns: int) -> None:
        """Let the date go on from `date_ns`, or stand there while register A or B holds it."""
        self._offset_ns = date_ns - self._clock.now_ns()
        held = self._ram[REGISTER_B] & B_SET or self._ram[REGISTER_A] & A_DIVIDER != A_DIVIDER_32KHZ
        self._stopped_ns = date_ns if held else -1
        self._checked_ns = date_ns

    def _collect(self) -> None:
        """Set the flags of all that came to pass since the last look."""
        now_ns, then_ns = self._now_ns(), self._checked_ns
        self._checked_ns = now_ns
        if now_ns <= then_ns:
            return
        if now_ns // NS_PER_S != then_ns // NS_PER_S:
            self._flags |= C_UF
            due = self._alarm().after(then_ns // NS_PER_S)
            if due is not None and due * NS_PER_S <= now_ns:
                self._flags |= C_AF
        period = self._period_ticks()
        if period and _ticks(now_ns) // period != _ticks(then_ns) // period:
            self._flags |= C_PF

    def _period_ticks(self) -> int:
        """Return the periodic rate in clocks of the crystal, 0 for none, [146818] table 5."""
        rate = self._ram[REGISTER_A] & A_RATE
        return 0 if rate == 0 else 1 << (rate + 6 if rate < 3 else rate - 1)

    def _alarm(self) -> Alarm:
        ram = self._ram
        return Alarm.decode(ram[SECONDS_ALARM], ram[MINUTES_ALARM], ram[HOURS_ALARM], ram[REGISTER_B])

    def _update_irq(self) -> None:
        """Drive the line; while it is low, await the first enabled event."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        enabled = self._ram[REGISTER_B] & INTERRUPTS
        pending = bool(self._flags & enabled)
        self._irq.set_level(pending)
        if pending or not enabled or self._stopped_ns >= 0:
            return
        due_ns = self._next_event_ns(enabled)
        if due_ns is not None:
            self._timer = self._clock.at(due_ns - self._offset_ns, self._on_event, "rtc interrupt")

    def _next_event_ns(self, enabled: int) -> int | None:
        now_ns = self._now_ns()
        events: list[int] = []
        period = self._period_ticks()
        if enabled & B_PIE and period:
            tick = (_ticks(now_ns) // period + 1) * period
            events.append(-(-tick * NS_PER_S // CRYSTAL_HZ))
        if enabled & B_UIE:
            events.append((now_ns // NS_PER_S + 1) * NS_PER_S)
        if enabled & B_AIE and (due := self._alarm().after(now_ns // NS_PER_S)) is not None:
            events.append(due * NS_PER_S)
        return min(events, default=None)

    def _on_event(self) -> None:
        self._collect()
        self._update_irq()

    # Registers

    def _write_index(self, value: int) -> None:
        self._index = value & INDEX
        self.nmi_masked = bool(value & NMI_MASK)

    def _read_data(self) -> int:
        return self._reads[self._index]()

    def _write_data(self, value: int) -> None:
        self._writes[self._index](value)

    def _read_ram(self) -> int:
        return self._ram[self._index]

    def _write_ram(self, value: int) -> None:
        self._ram[self._index] = value

    def _read_date(self) -> int:
        """Read a date register: as written while SET is on, else of this very second."""
        if not self._ram[REGISTER_B] & B_SET:
            self._store_date()
        return self._ram[self._index]

    def _write_date(self, value: int) -> None:
        """Write a date register; without SET the clock goes on from the new date."""
        setting = self._ram[REGISTER_B] & B_SET
        if not setting:
            self._collect()
            self._store_date()
        self._ram[self._index] = value
        if not setting:
            self._take_date()
            self._update_irq()

    def _store_date(self) -> None:
        encode_date(self._now_ns() // NS_PER_S, self._ram, self._ram[REGISTER_B])

    def _take_date(self) -> None:
        """Go on from the date in the registers; the fraction of the second is the divider's."""
        seconds = decode_date(self._ram, self._ram[REGISTER_B])
        self._run_from(seconds * NS_PER_S + self._now_ns() % NS_PER_S)

    def _write_alarm(self, value: int) -> None:
        self._collect()
        self._ram[self._index] = value
        self._update_irq()

    def _read_a(self) -> int:
        left_ns = NS_PER_S - self._now_ns() % NS_PER_S
        updating = self._stopped_ns < 0 and left_ns <= UIP_NS
        return self._ram[REGISTER_A] | (A_UIP if updating else 0)

    def _write_a(self, value: int) -> None:
        """Choose rate and time base; out of divider reset the first update comes after half a second."""
        self._collect()
        was_reset = self._ram[REGISTER_A] & A_DIVIDER_RESET == A_DIVIDER_RESET
        self._ram[REGISTER_A] = value & ~A_UIP & 0xFF
        date_ns = self._now_ns()
        if was_reset and value & A_DIVIDER_RESET != A_DIVIDER_RESET:
            date_ns = date_ns // NS_PER_S * NS_PER_S + NS_PER_S - DIVIDER_START_NS
        self._run_from(date_ns)
        self._update_irq()

    def _write_b(self, value: int) -> None:
        """Enable interrupts, choose formats, halt (SET) or restart the date."""
        self._collect()
        old = self._ram[REGISTER_B]
        if value & B_SET and not old & B_SET:
            self._store_date()
            value &= ~B_UIE  # [146818] "SET": clears UIE
        self._ram[REGISTER_B] = value
        if old & B_SET and not value & B_SET:
            self._take_date()
        else:
            self._run_from(self._now_ns())
        self._update_irq()

    def _read_c(self) -> int:
        """Read the flags, which clears them and the line."""
        self._collect()
        flags, self._flags = self._flags, 0
        irqf = C_IRQF if flags & self._ram[REGISTER_B] & INTERRUPTS else 0
        self._update_irq()
        return flags | irqf

    def _read_d(self) -> int:
        return D_VRT


def _ticks(date_ns: int) -> int:
    return date_ns * CRYSTAL_HZ // NS_PER_S
