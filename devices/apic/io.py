"""The Intel 82093AA I/O APIC: 24 pins in, messages to local APICs out.

A message arrives at once, so the delivery status never shows. One that nobody takes is lost for an edge,
and sent again for a level when the pin or its entry changes. Accesses that are not aligned dwords: a read
gives the part of the register that it covers, a write does nothing.

An entry in ExtINT mode passes its pin on as a wire for as long as it stays, as an 8259A's INT behaves.

Not modelled: the APIC bus and its arbitration (the arbitration ID is a copy of the ID), SMM.

Sources:
    [82093AA] Intel 82093AA I/O Advanced Programmable Interrupt Controller, 290566-001, May 1996.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol

import msgspec

from devices.apic import messages as m
from devices.backplane import DeviceState, IrqLine

# Direct registers, [82093AA] §3.1
IOREGSEL: Final = 0x00
IOWIN: Final = 0x10
REGISTER_BYTES: Final = 4096  # a page, most of it empty
# Indirect registers, [82093AA] §3.2
IOAPICID: Final = 0x00
IOAPICVER: Final = 0x01
IOAPICARB: Final = 0x02
IOREDTBL: Final = 0x10

PINS: Final = 24
VERSION_VALUE: Final = (PINS - 1) << 16 | 0x11
ID_SHIFT: Final = 24
ID_BITS: Final = 0x0F << ID_SHIFT
WRITABLE: Final = 0xFF00_0000_0001_AFFF  # of an entry, [82093AA] §3.2.4
DESTINATION_SHIFT: Final = 56
PHYSICAL: Final = 0x0F  # the bits of a physical destination, and the one of everybody, [82093AA] §3.2.4
LOW: Final = 0xFFFF_FFFF


class Messages(Protocol):
    """The local APIC at the other end."""

    def accepts(self, destination: int, logical: bool) -> bool:
        """Whether a message is for it."""

    def deliver(self, mode: int, vector: int, level: bool) -> bool:
        """Take a message; False: not now."""

    def set_extint(self, level: bool) -> None:
        """INTR is to follow `level`, the vector comes from the 8259A."""


class IoApicState(DeviceState, frozen=True, kw_only=True):
    """The registers; `pins` has a bit for every input that is high."""

    select: int
    id: int
    pins: int
    entries: tuple[int, ...]


class IoApic:
    """Pins are driven through `input(pin)` or `set_pin`."""

    def __init__(self, messages: Messages, name: str = "io apic") -> None:
        self.name = name
        self._messages = messages
        self._extint = IrqLine(messages.set_extint)
        self._pins = 0
        self.reset()

    def reset(self) -> None:
        """All pins masked, [82093AA] §3.2.4; the inputs are driven from outside and keep their level."""
        self._select = self._id = 0
        self._entries = [m.MASKED] * PINS
        self._update_extint()

    def save(self) -> IoApicState:
        """Return the registers."""
        return IoApicState(select=self._select, id=self._id, pins=self._pins, entries=tuple(self._entries))

    def load(self, state: DeviceState) -> None:
        """Become `state`; what the local APIC was told is in its own state, but for ExtINT."""
        saved = msgspec.convert(state, IoApicState)
        self._select, self._id, self._pins = saved.select, saved.id, saved.pins
        self._entries = list(saved.entries)
        self._update_extint()

    def input(self, pin: int) -> IrqLine:
        """Return a wire that drives input `pin` alone."""
        return IrqLine(partial(self.set_pin, pin))

    def set_pin(self, pin: int, level: bool) -> None:
        """Drive input `pin`. Edges at a masked pin are lost, [82093AA] §3.2.4, "Interrupt Mask"."""
        was = self._pins
        self._pins = was | 1 << pin if level else was & ~(1 << pin)
        if self._pins != was and not self._entries[pin] & m.MASKED:
            self._service(pin, edge=True)

    def end_of_interrupt(self, vector: int) -> None:
        """EOI of a level-triggered vector: entries that sent it may send again, [82093AA] §3.2.4."""
        for pin, entry in enumerate(self._entries):
            if entry & m.REMOTE_IRR and entry & m.VECTOR == vector:
                self._entries[pin] = entry & ~m.REMOTE_IRR
                self._service(pin, edge=False)

    def _asserted(self, pin: int) -> bool:
        entry = self._entries[pin]
        return not entry & m.MASKED and bool(self._pins >> pin & 1) != bool(entry & m.ACTIVE_LOW)

    def _service(self, pin: int, *, edge: bool) -> None:
        """Send what the pin asks for after it, or its entry, has changed."""
        entry = self._entries[pin]
        mode = m.delivery_mode(entry)
        if mode == m.EXTINT:
            self._update_extint()
        elif not self._asserted(pin) or entry & m.REMOTE_IRR:
            return
        elif entry & m.LEVEL and mode <= m.LOWEST:
            if self._send(entry, level=True):
                self._entries[pin] = entry | m.REMOTE_IRR
        elif edge:
            self._send(entry, level=False)

    def _send(self, entry: int, *, level: bool) -> bool:
        if not self._accepted(entry):
            return False
        return self._messages.deliver(m.delivery_mode(entry), entry & m.VECTOR, level)

    def _accepted(self, entry: int) -> bool:
        """Whether the local APIC is a destination: in physical mode bits 59-56 alone count."""
        destination, logical = entry >> DESTINATION_SHIFT, bool(entry & m.LOGICAL)
        if not logical:
            destination &= PHYSICAL
            if destination == PHYSICAL:
                destination = m.EVERYBODY
        return self._messages.accepts(destination, logical)

    def _update_extint(self) -> None:
        self._extint.set_level(
            any(
                self._asserted(pin) and self._accepted(entry)
                for pin, entry in enumerate(self._entries)
                if m.delivery_mode(entry) == m.EXTINT
            )
        )

    # -- registers

    def read(self, offset: int, size: int) -> int:
        """Guest read; of a part of a register, that part."""
        base = offset & ~3
        value = self._select if base == IOREGSEL else self._read_window() if base == IOWIN else 0
        return value >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest write."""
        if size == 4 and offset == IOREGSEL:
            self._select = value & 0xFF
        elif size == 4 and offset == IOWIN:
            self._write_window(value)

    def _read_window(self) -> int:
        select = self._select
        if select in (IOAPICID, IOAPICARB):
            return self._id
        if select == IOAPICVER:
            return VERSION_VALUE
        pin, half = divmod(select - IOREDTBL, 2)
        return self._entries[pin] >> 32 * half & LOW if 0 <= pin < PINS else 0

    def _write_window(self, value: int) -> None:
        if self._select == IOAPICID:
            self._id = value & ID_BITS
            return
        pin, half = divmod(self._select - IOREDTBL, 2)
        if not 0 <= pin < PINS:
            return
        was = self._entries[pin]
        entry = was & LOW | value << 32 if half else was & ~LOW | value
        entry &= WRITABLE
        if entry & m.LEVEL:  # in edge mode the bit means nothing
            entry |= was & m.REMOTE_IRR
        self._entries[pin] = entry
        if m.EXTINT in (m.delivery_mode(was), m.delivery_mode(entry)):
            self._update_extint()
        self._service(pin, edge=False)
