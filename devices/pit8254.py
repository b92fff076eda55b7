"""Intel 8254 programmable interval timer: three counters that are computed, never ticked.

A counter keeps the tick at which its counting element was loaded; its value, its OUT level and its
next edge are functions of the present tick. Ticks come from virtual nanoseconds by integer
arithmetic, so nothing drifts. A count written is loaded on the next tick, as the data sheet says.

Counter 0 drives an interrupt line. In the periodic modes 2 and 3 the wire is high and pulses low at
the end of each period: one rising edge a period, on the counter's own grid, at which the edge-
triggered 8259A listens; the long low half of mode 3 is seen in the status byte only. When the host is
late by whole periods, those edges are lost, as they are on a PC that keeps interrupts off: the next
edge is the first of the grid that lies ahead. Edges come no closer than MIN_EDGE_NS.

Not modelled: OUT of counters 1 and 2 as wires (`output` computes them), counting by an outside clock.

Sources:
  [8254] Intel 8254 Programmable Interval Timer, 231164-005, September 1993.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from devices.backplane import Clock, DeviceState, IrqLine, Timer
from devices.isa import byte_bank, floating

INPUT_HZ: Final = 1_193_182
NS_PER_S: Final = 1_000_000_000
MIN_EDGE_NS: Final = 20_000  # spares the host the 600 kHz a guest could ask for

# Control word, [8254] figure 7
COUNTER_SHIFT: Final = 6
READ_BACK: Final = 3
ACCESS_SHIFT: Final = 4
LATCH: Final = 0
LSB: Final = 1
MSB: Final = 2
MODE_SHIFT: Final = 1
BCD: Final = 0x01
CONTROL_KEPT: Final = 0x3F
MODES: Final = (0, 1, 2, 3, 4, 5, 2, 3)  # modes 2 and 3 ignore the top bit

# Read-back command and status byte, [8254] figures 10 and 12
READ_BACK_NOT_COUNT: Final = 0x20
READ_BACK_NOT_STATUS: Final = 0x10
STATUS_OUT: Final = 0x80
STATUS_NULL: Final = 0x40

BCD_WEIGHTS: Final = (1, 10, 100, 1000)
NONE: Final = -1
RESET_CONTROL: Final = 0x36  # undefined at power-on, [8254] "Programming"; OUT high asks nobody


def ticks_at(now_ns: int) -> int:
    """Return how many input clocks have passed at virtual time `now_ns`."""
    return now_ns * INPUT_HZ // NS_PER_S


def time_of(tick: int) -> int:
    """Return the first nanosecond at which `ticks_at` is `tick`."""
    return -(-tick * NS_PER_S // INPUT_HZ)


class CounterState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One counter. Ticks are absolute; NONE stands for "there is none"."""

    control: int
    loaded: bool
    reload: int
    start: int
    held: int
    pending: int
    pending_at: int
    gate: bool
    first_byte: int
    high_next: bool
    latched: int
    latched_status: int


class Pit8254State(DeviceState, frozen=True, kw_only=True):
    """The three counters."""

    counters: tuple[CounterState, CounterState, CounterState]


class Counter:
    """One counter as a function of time.

    `start` is the tick of the last load, `reload` the count loaded then. `held` is the number of
    clocks counted when GATE stopped the counter, NONE while it counts. `pending` waits in the count
    register until `pending_at`, or for a trigger when that is NONE.
    """

    def __init__(self, gate: bool) -> None:
        self.gate = gate
        self.reset()

    def reset(self) -> None:
        """Power-on: not counting, OUT high. GATE is outside."""
        self.program(RESET_CONTROL)
        self.reload, self.start = 0x10000, 0

    def save(self) -> CounterState:
        """Return the registers."""
        return CounterState(**{field: getattr(self, field) for field in CounterState.__struct_fields__})

    def load(self, state: CounterState) -> None:
        """Become `state`."""
        self.program(state.control)
        for field in CounterState.__struct_fields__:
            setattr(self, field, getattr(state, field))

    def program(self, control: int) -> None:
        """Take a control word: OUT goes to its initial level and waits for a count."""
        self.control = control & CONTROL_KEPT
        self.mode = MODES[control >> MODE_SHIFT & 7]
        self.access = control >> ACCESS_SHIFT & 3
        self.modulus = 10_000 if control & BCD else 0x10000
        self.loaded = False
        self.held = self.pending = self.pending_at = NONE
        self.first_byte = self.latched = self.latched_status = NONE
        self.high_next = False

    def settle(self, tick: int) -> None:
        """Load a pending count whose time has come."""
        if 0 <= self.pending_at <= tick:
            falling = self.mode == 3 and (self.pending_at - self.start) % self.reload != 0
            self.reload = self.pending
            self.start = self.pending_at - (self.reload + 1) // 2 if falling else self.pending_at
            self.pending = self.pending_at = NONE

    def elapsed(self, tick: int) -> int:
        """Return the clocks counted since the last load."""
        return self.held if self.held >= 0 else max(tick - self.start, 0)

    def value(self, tick: int) -> int:
        """Return the counting element in binary."""
        elapsed = self.elapsed(tick)
        if self.mode == 2:
            return (self.reload - elapsed % self.reload) % self.modulus
        if self.mode == 3:  # counts by two, and odd counts start one lower, [8254] "Mode 3"
            phase, high = elapsed % self.reload, (self.reload + 1) // 2
            return ((self.reload & ~1) - 2 * (phase if phase < high else phase - high)) % self.modulus
        return (self.reload - elapsed) % self.modulus

    def out(self, tick: int) -> bool:
        """Return the level of OUT."""
        if not self.loaded:
            return self.mode != 0
        elapsed = self.elapsed(tick)
        if self.mode < 2:
            return elapsed >= self.reload
        if self.mode > 3:
            return elapsed != self.reload
        if self.held >= 0:
            return True
        phase = elapsed % self.reload
        return phase != self.reload - 1 if self.mode == 2 else phase < (self.reload + 1) // 2

    def next_rise(self, tick: int) -> int:
        """Return the first tick after `tick` at which OUT rises, or NONE."""
        if not self.loaded or self.held >= 0:
            return NONE
        if self.mode < 2 or self.mode > 3:
            rise = self.start + self.reload + (1 if self.mode > 3 else 0)
            return rise if rise > tick else NONE
        if self.pending_at >= 0:
            falling = (self.pending_at - self.start) % self.reload != 0
            return self.pending_at + (self.pending // 2 if falling else 0)
        if self.reload < 2:  # illegal in modes 2 and 3, [8254] figure 21
            return NONE
        return self.start + (max(tick - self.start, 0) // self.reload + 1) * self.reload

    def null(self, tick: int) -> bool:
        """Return whether the count written last has not reached the counting element."""
        return not self.loaded or self.pending >= 0 or (self.held < 0 and tick < self.start)

    def set_gate(self, level: bool, tick: int) -> None:
        """Drive GATE, [8254] figure 21."""
        if level == self.gate:
            return
        self.gate = level
        if self.mode in (1, 5):
            if level and self.reload_pending_or_kept():
                self.start, self.loaded = tick + 1, True
        elif not level:
            self.held = self.elapsed(tick) if self.loaded else NONE
        elif self.held >= 0:
            periodic = self.mode in (2, 3)
            if periodic:
                self.reload_pending_or_kept()
            self.start = tick + 1 if periodic else tick - self.held
            self.held = NONE

    def reload_pending_or_kept(self) -> bool:
        """Move a pending count into place; return whether there is any count to start from."""
        if self.pending < 0:
            return self.loaded
        self.reload = self.pending
        self.pending = self.pending_at = NONE
        return True

    def write(self, byte: int, tick: int) -> None:
        """Take a byte of the count in the order the control word announced."""
        if self.access == LSB:
            self._set_count(byte, tick)
        elif self.access == MSB:
            self._set_count(byte << 8, tick)
        elif self.first_byte < 0:
            self.first_byte = byte
            if self.mode == 0:  # the first byte stops the count, [8254] "Mode 0"
                self.loaded = False
        else:
            count, self.first_byte = self.first_byte | byte << 8, NONE
            self._set_count(count, tick)

    def _set_count(self, written: int, tick: int) -> None:
        count = from_bcd(written) if self.control & BCD else written
        count = count or self.modulus
        if self.mode in (1, 5):
            self.pending, self.pending_at = count, NONE
        elif self.mode in (2, 3) and self.loaded and self.held < 0:
            self.pending, self.pending_at = count, self._boundary(tick)
        else:
            self.reload, self.start, self.loaded = count, tick + 1, True
            self.held = NONE if self.gate else 0

    def _boundary(self, tick: int) -> int:
        """Return where a running periodic counter takes a new count: its next (half) cycle."""
        cycle = self.start + max(tick - self.start, 0) // self.reload * self.reload
        half = cycle + (self.reload + 1) // 2
        return half if self.mode == 3 and tick < half else cycle + self.reload

    def read(self, tick: int) -> int:
        """Return the latched status, else the next byte of the latched or running count."""
        if self.latched_status >= 0:
            status, self.latched_status = self.latched_status, NONE
            return status
        count = self.latched if self.latched >= 0 else self._readable(tick)
        if self.access == LSB or self.access == MSB:
            self.latched = NONE
            return count & 0xFF if self.access == LSB else count >> 8
        self.high_next = not self.high_next
        if self.high_next:
            return count & 0xFF
        self.latched = NONE
        return count >> 8

    def latch(self, tick: int) -> None:
        """Hold the count for reading; a latch not read yet stands, [8254] "Counter latch command"."""
        if self.latched < 0:
            self.latched = self._readable(tick)

    def latch_status(self, tick: int) -> None:
        """Hold the status for reading, unless one is held."""
        if self.latched_status < 0:
            out = STATUS_OUT if self.out(tick) else 0
            self.latched_status = self.control | out | (STATUS_NULL if self.null(tick) else 0)

    def _readable(self, tick: int) -> int:
        value = self.value(tick)
        return to_bcd(value) if self.control & BCD else value


def from_bcd(digits: int) -> int:
    """Return the number four BCD digits stand for; digits above 9 carry on."""
    return sum((digits >> 4 * place & 0xF) * weight for place, weight in enumerate(BCD_WEIGHTS)) % 10_000


def to_bcd(number: int) -> int:
    """Return `number` below 10,000 as four BCD digits."""
    return sum(number // weight % 10 << 4 * place for place, weight in enumerate(BCD_WEIGHTS))


class Pit8254:
    """The chip: counters 0 to 2 at offsets 0 to 2 of `ports`, the control word at 3."""

    def __init__(self, clock: Clock, irq: IrqLine, name: str = "pit") -> None:
        self.name = name
        self._clock = clock
        self._irq = irq
        self._timer: Timer | None = None
        self._counters = (Counter(gate=True), Counter(gate=True), Counter(gate=False))
        self.ports = byte_bank(
            name,
            (*(partial(self._read, counter) for counter in self._counters), floating),
            (*(partial(self._write, counter) for counter in self._counters), self._write_control),
        )
        self._drive_irq(ticks_at(self._clock.now_ns()))

    def reset(self) -> None:
        """Stop all counters."""
        for counter in self._counters:
            counter.reset()
        self._drive_irq(ticks_at(self._clock.now_ns()))

    def save(self) -> Pit8254State:
        """Return the state of the counters."""
        first, second, third = self._counters
        return Pit8254State(counters=(first.save(), second.save(), third.save()))

    def load(self, state: DeviceState) -> None:
        """Become `state`, drive the line and await the next edge."""
        for counter, saved in zip(self._counters, msgspec.convert(state, Pit8254State).counters, strict=True):
            counter.load(saved)
        self._drive_irq(ticks_at(self._clock.now_ns()))

    def output(self, counter: int) -> bool:
        """Return the level of OUT of a counter."""
        tick = ticks_at(self._clock.now_ns())
        self._counters[counter].settle(tick)
        return self._counters[counter].out(tick)

    def set_gate(self, counter: int, level: bool) -> None:
        """Drive GATE of a counter; a PC does so for counter 2 only."""
        tick = ticks_at(self._clock.now_ns())
        self._counters[counter].settle(tick)
        self._counters[counter].set_gate(level, tick)
        if counter == 0:
            self._drive_irq(tick)

    def _read(self, counter: Counter) -> int:
        tick = ticks_at(self._clock.now_ns())
        counter.settle(tick)
        return counter.read(tick)

    def _write(self, counter: Counter, value: int) -> None:
        tick = ticks_at(self._clock.now_ns())
        counter.settle(tick)
        counter.write(value, tick)
        if counter is self._counters[0]:
            self._drive_irq(tick)

    def _write_control(self, value: int) -> None:
        select = value >> COUNTER_SHIFT
        if select == READ_BACK:
            self._read_back(value)
            return
        counter = self._counters[select]
        if value >> ACCESS_SHIFT & 3 == LATCH:
            tick = ticks_at(self._clock.now_ns())
            counter.settle(tick)
            counter.latch(tick)
            return
        counter.program(value)
        if select == 0:
            self._drive_irq(ticks_at(self._clock.now_ns()))

    def _read_back(self, value: int) -> None:
        tick = ticks_at(self._clock.now_ns())
        for index, counter in enumerate(self._counters):
            if value >> 1 + index & 1:
                counter.settle(tick)
                if not value & READ_BACK_NOT_COUNT:
                    counter.latch(tick)
                if not value & READ_BACK_NOT_STATUS:
                    counter.latch_status(tick)

    def _drive_irq(self, tick: int) -> None:
        """Drive the wire to its steady level and await counter 0's next rising edge after `tick`.

        `tick` is when the access came, not now: a host that was busy meanwhile must not lose the one
        edge of a short count that has run out since.
        """
        if self._timer is not None:
            self._timer.cancel()
        counter = self._counters[0]
        counter.settle(tick)
        self._irq.set_level(counter.out(tick) if counter.mode < 2 else True)
        self._await_edge(tick)

    def _await_edge(self, tick: int) -> None:
        rise = self._counters[0].next_rise(tick)
        if rise < 0:
            self._timer = None
            return
        deadline = max(time_of(rise), self._clock.now_ns() + MIN_EDGE_NS)
        self._timer = self._clock.at(deadline, self._edge, "pit counter 0")

    def _edge(self) -> None:
        """Give the line its rising edge; periods that passed unserved are not made up for."""
        tick = ticks_at(self._clock.now_ns())
        self._counters[0].settle(tick)
        self._irq.set_level(False)
        self._irq.set_level(True)
        self._await_edge(tick)
