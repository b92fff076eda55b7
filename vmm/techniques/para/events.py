"""Event channels: what comes in place of interrupts.

The monitor drives the interrupt controllers, the timer and COM1 itself, as the operating system of a
bare machine would, and tells the guest of each interrupt by a bit in a page that both see. While the
page's `upcall_mask` is 0 a bit set leads to an upcall: the vector that the guest chose is delivered.

Ports are fixed: those of the PC's sixteen lines have the line's number, the monitor's own follow. A
line that is level sensitive cannot be bound, as its request would stay until the guest's driver ran.

Sources: [8259A] Intel 8259A data sheet; [8254] Intel 8254 data sheet; [XEN] event_channel.h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from vmm.techniques.para import abi

PIC_PORTS: Final = (0x20, 0xA0)
ELCR_PORTS: Final = (0x4D0, 0x4D1)
PIT_CHANNEL_0: Final = 0x40
PIT_CONTROL: Final = 0x43
_ICW1: Final = 0x11  # ICW4 follows, cascade, edge
_ICW4: Final = 1  # 8086 mode
_SPECIFIC_EOI: Final = 0x60
_CASCADE: Final = 2
_MODE_2: Final = 0x34  # channel 0, both bytes, rate generator
_PIT_HZ: Final = 1_193_182
_NS: Final = 10**9
_MOST_COUNT: Final = 0x10000
_LEAST_COUNT: Final = 120  # a tick each 0.1 ms: more often would leave no time for anything else
_BASE: Final = 0x20  # vectors of the controllers, seen by nobody but the monitor
_ALL: Final = (1 << abi.PORTS) - 1
TIMER_LINE: Final = 0
CONSOLE_LINE: Final = 4
_OF_LINE: Final = {
    TIMER_LINE: abi.PIRQS + abi.VIRQ_TIMER,
    CONSOLE_LINE: abi.PIRQS + abi.VIRQ_CONSOLE,
}
_RESERVED_LINES: Final = frozenset({TIMER_LINE, _CASCADE, CONSOLE_LINE})


class Ports(Protocol):
    """The port bus."""

    def read(self, port: int, size: int) -> int:
        """IN."""

    def write(self, port: int, size: int, value: int) -> None:
        """OUT."""


class GuestMemory(Protocol):
    """Guest-physical memory."""

    def read(self, address: int, length: int) -> bytes:
        """Return bytes."""

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""


class SharedPage:
    """The page that the guest registered; until then nothing is masked, and nothing pending is kept."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self.address: int | None = None

    def _byte(self, offset: int) -> int:
        return 0 if self.address is None else self._memory.read(self.address + offset, 1)[0]

    def _put(self, offset: int, value: int, size: int) -> None:
        if self.address is not None:
            self._memory.write(self.address + offset, value.to_bytes(size, "little"))

    def _word(self, offset: int) -> int:
        if self.address is None:
            return 0
        return int.from_bytes(self._memory.read(self.address + offset, 4), "little")

    @property
    def masked(self) -> bool:
        """Whether upcalls are masked: the virtual interrupt flag, inverted."""
        return self._byte(abi.UPCALL_MASK) != 0

    @masked.setter
    def masked(self, value: bool) -> None:
        self._put(abi.UPCALL_MASK, int(value), 1)

    def set_cr2(self, linear: int) -> None:
        """Leave the address of a page fault."""
        self._put(abi.SHARED_CR2, linear & 0xFFFF_FFFF, 4)

    def waiting(self) -> bool:
        """Whether an event is pending that its own mask lets pass; tells the guest too."""
        waits = bool(self._word(abi.EVENTS_PENDING) & ~self._word(abi.EVENTS_MASK) & _ALL)
        self._put(abi.UPCALL_PENDING, int(waits), 1)
        return waits

    def raise_event(self, port: int, now_ns: int) -> None:
        """Set a port's bit."""
        self._put(abi.EVENTS_PENDING, self._word(abi.EVENTS_PENDING) | 1 << port, 4)
        self._put(abi.SHARED_TIME, now_ns & 0xFFFF_FFFF_FFFF_FFFF, 8)


class EventChannels:
    """Which ports are bound, and the chips behind them."""

    def __init__(self, page: SharedPage, ports: Ports, now_ns: Callable[[], int]) -> None:
        self._page = page
        self._ports = ports
        self._now_ns = now_ns
        self.bound = 0
        self._ready = False

    def set_up(self) -> None:
        """Take the interrupt controllers over: all lines masked but the cascade."""
        for number, port in enumerate(PIC_PORTS):
            for offset, value in ((0, _ICW1), (1, _BASE + 8 * number), (1, (1 << _CASCADE, _CASCADE)[number]),
                                  (1, _ICW4)):  # fmt: skip
                self._ports.write(port + offset, 1, value)
        self.bound = 0
        self._ready = True
        self._mask_lines()

    def _mask_lines(self) -> None:
        lines = self._bound_lines() | 1 << _CASCADE
        for number, port in enumerate(PIC_PORTS):
            self._ports.write(port + 1, 1, ~(lines >> 8 * number) & 0xFF)

    def _bound_lines(self) -> int:
        lines = self.bound & (1 << abi.PIRQS) - 1
        for line, port in _OF_LINE.items():
            if self.bound >> port & 1:
                lines |= 1 << line
        return lines

    def bind_virq(self, virq: int) -> int:
        """Let one of the monitor's own events come; returns its port."""
        return self._bind(abi.PIRQS + virq) if virq < abi.VIRQS else abi.EINVAL

    def bind_pirq(self, line: int) -> int:
        """Let the interrupts of a line come; returns its port."""
        if line >= abi.PIRQS:
            return abi.EINVAL
        if line in _RESERVED_LINES:
            return abi.EBUSY
        level = self._ports.read(ELCR_PORTS[line >> 3], 1) >> (line & 7) & 1
        return abi.EINVAL if level else self._bind(line)

    def _bind(self, port: int) -> int:
        if not self._ready:
            return abi.EPERM
        self.bound |= 1 << port
        self._mask_lines()
        return port

    def close(self, port: int) -> int:
        """Let a port's events come no more."""
        if port >= abi.PORTS or not self.bound >> port & 1:
            return abi.EINVAL
        self.bound &= ~(1 << port)
        self._mask_lines()
        return 0

    def send(self, port: int) -> int:
        """Raise a port that is bound."""
        if port >= abi.PORTS or not self.bound >> port & 1:
            return abi.EINVAL
        self._page.raise_event(port, self._now_ns())
        return 0

    def interrupt(self, vector: int) -> None:
        """Take an interrupt that the controllers gave: end it, and raise the event of its line."""
        line = vector - _BASE
        if not 0 <= line < abi.PIRQS:
            return  # the guest has set the controllers up itself: its interrupts go nowhere
        if line & 7 == 7 and not self._in_service(line):
            return  # spurious: a request that went away again
        if line >= 8:
            self._ports.write(PIC_PORTS[1], 1, _SPECIFIC_EOI | line & 7)
            self._ports.write(PIC_PORTS[0], 1, _SPECIFIC_EOI | _CASCADE)
        else:
            self._ports.write(PIC_PORTS[0], 1, _SPECIFIC_EOI | line)
        port = _OF_LINE.get(line, line)
        if self.bound >> port & 1:
            self._page.raise_event(port, self._now_ns())

    def _in_service(self, line: int) -> bool:
        port = PIC_PORTS[line >> 3]
        self._ports.write(port, 1, 0x0B)  # OCW3: read ISR
        real = bool(self._ports.read(port, 1) >> 7)
        if not real and line >= 8:
            self._ports.write(PIC_PORTS[0], 1, _SPECIFIC_EOI | _CASCADE)
        return real

    def set_timer(self, period_ns: int) -> int:
        """Have the timer's event come each `period_ns`, by channel 0 of the 8254; 0: no more."""
        if not period_ns:
            self._ports.write(PIT_CONTROL, 1, _MODE_2)  # it waits for a count
            return 0
        count = period_ns * _PIT_HZ // _NS
        if not _LEAST_COUNT <= count <= _MOST_COUNT:
            return abi.EINVAL
        self._ports.write(PIT_CONTROL, 1, _MODE_2)
        self._ports.write(PIT_CHANNEL_0, 1, count & 0xFF)
        self._ports.write(PIT_CHANNEL_0, 1, count >> 8 & 0xFF)
        return 0
