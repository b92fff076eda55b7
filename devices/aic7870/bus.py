"""The parallel SCSI bus: who is connected, the lines, arbitration, selection and reselection.

Targets answer at once. What may not happen in the same instant as a bus free, so that firmware and
drivers see it, waits for a deadline of the clock: reselection by a target that had disconnected, and
an arbitration that was held up by a busy bus.

A selection that nobody answers times out at once, whatever the time in STIMESEL: no line of the bus
and no register changes meanwhile, so that a driver cannot tell but by a clock, and a probe of seven
ids does not last two seconds.

Not modelled: target mode, other initiators, parity errors, SCAM.

Sources:
    [SCSI-2] ANSI X3.131-1994, §5.6 bus timing, §6.1 phases, §6.2.1 attention, §6.2.2 reset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from devices.aic7870.nexus import (
    BUS_FREE,
    DISCONNECTED,
    HOLDING,
    PHASES,
    Nexus,
    NexusState,
)
from devices.aic7870.peripheral import Peripheral, PeripheralState
from devices.backplane import Clock, Timer
from devices.saved import Byte, Natural, require

ARBITRATION_NS: Final = 5_000  # bus settle, bus free and arbitration delay, with room to see a bus free
DISCONNECT_NS: Final = 100_000  # how long a target that let go of the bus thinks


class Initiator(Protocol):
    """What the bus tells the chip's SCSI cell."""

    def requested(self) -> None:
        """REQ rose: the target asks for a byte in the phase it shows."""

    def released(self) -> None:
        """REQ fell, the target is still there."""

    def freed(self) -> None:
        """The bus is free."""

    def reselected(self, number: int) -> None:
        """A target has connected to us."""

    def wants_bus(self) -> bool:
        """Tell whether a selection waits for the bus."""

    def arbitrate(self) -> None:
        """Have the bus, and select."""

    def accepts_reselection(self) -> bool:
        """Tell whether targets may reselect."""

    def update(self) -> None:
        """Show what has changed."""


class BusState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The bus and its devices."""

    nexus: NexusState | None
    phase: Byte
    request: bool
    attention: bool
    deadline_ns: Natural | None
    peripherals: dict[int, PeripheralState]


class ScsiBus:
    """One bus with its devices; `initiator` is set by the chip before anything moves."""

    initiator: Initiator

    def __init__(self, name: str, clock: Clock, on_event: Callable[[], None]) -> None:
        self.name = name
        self.peripherals: dict[int, Peripheral] = {}
        self.nexus: Nexus | None = None
        self.phase = 0
        self.request = False
        self.attention = False
        self.on_end: Callable[[Nexus], None] = _nobody_listens
        self.on_phase: Callable[[], None] | None = None
        """Called when the phase changes, for those who watch."""
        self._clock = clock
        self._on_event = on_event
        self._deadline_ns: int | None = None
        self._timer: Timer | None = None

    # --- initiator's side ----------------------------------------------------------------------

    def select(self, number: int, attention: bool) -> bool:
        """Select a device; False when nobody answers."""
        peripheral = self.peripherals.get(number)
        if peripheral is None or not peripheral.is_there():
            return False
        self.nexus = Nexus(peripheral)
        self.attention = attention
        return True

    def go_on(self) -> None:
        """Let the target decide what comes next."""
        nexus = self.nexus
        if nexus is None:
            return
        phase = nexus.next_phase(self.attention)
        if phase >= 0:
            changed = phase != self.phase or not self.request
            self.phase, self.request = phase, True
            if self.on_phase is not None and changed:
                self.on_phase()
            self.initiator.requested()
        elif phase == HOLDING:
            self.request = False
            self.initiator.released()
        else:
            if phase == DISCONNECTED:
                nexus.ready_ns = self._clock.now_ns() + DISCONNECT_NS
                nexus.peripheral.disconnected.append(nexus)
            elif phase == BUS_FREE:
                self.on_end(nexus)
            self.release()

    def offered(self) -> int:
        """Return the byte on the data lines."""
        return 0 if self.nexus is None else self.nexus.offered(self.phase)

    def acknowledge(self) -> None:
        """Take the byte offered; the target goes on."""
        if self.nexus is not None:
            self.request = False
            self.nexus.acknowledged(self.phase)
            self.go_on()

    def send(self, data: bytes | bytearray) -> None:
        """Hand over bytes of an OUT phase, at most `wanted()`; the target goes on."""
        if self.nexus is not None:
            self.request = False
            self.nexus.receive(self.phase, data)
            self.go_on()

    def wanted(self) -> int:
        """Return how many bytes the target would take now."""
        return 0 if self.nexus is None else self.nexus.wanted(self.phase)

    def give(self, limit: int) -> bytes:
        """Take up to `limit` bytes of data; the target goes on.

        REQ is not told anew while it does so with data: who takes slices does not wait for it.
        """
        nexus = self.nexus
        if nexus is None:
            return b""
        data = nexus.give(limit)
        if self.attention or not nexus.has_more:
            self.request = False
            self.go_on()
        return data

    def release(self) -> None:
        """The connection ends; whoever waits for the bus arbitrates."""
        self.nexus = None
        self.phase, self.request, self.attention = 0, False, False
        if self.on_phase is not None:
            self.on_phase()
        self.initiator.freed()
        self.arbitrate_later()

    def reset(self) -> None:
        """RST: connections and commands are gone, every device hears of it."""
        self.nexus = None
        self.phase, self.request, self.attention = 0, False, False
        self._wait_until(None)
        for peripheral in self.peripherals.values():
            peripheral.reset()

    # --- arbitration ---------------------------------------------------------------------------

    def arbitrate_later(self) -> None:
        """Give whoever wants the bus a turn when it has been free for a while."""
        earliest = self._earliest()
        if self.initiator.wants_bus():
            self._wait_until(self._clock.now_ns() + ARBITRATION_NS)
        elif earliest is not None and self.initiator.accepts_reselection():
            self._wait_until(max(self._clock.now_ns() + ARBITRATION_NS, earliest))

    def _earliest(self) -> int | None:
        return min(
            (n.ready_ns for p in self.peripherals.values() for n in p.disconnected if p.may_reselect(n)),
            default=None,
        )

    def _wait_until(self, deadline_ns: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._deadline_ns, self._timer = deadline_ns, None
        if deadline_ns is not None:
            self._timer = self._clock.at(deadline_ns, self._arbitrate, f"{self.name} bus")

    def _arbitrate(self) -> None:
        self._deadline_ns, self._timer = None, None
        if self.nexus is not None:
            return
        if self.initiator.wants_bus():
            self.initiator.arbitrate()
        elif self.initiator.accepts_reselection():
            self._reselect()
        self._on_event()

    def _reselect(self) -> None:
        ready = [
            nexus
            for peripheral in self.peripherals.values()
            for nexus in peripheral.disconnected
            if nexus.ready_ns <= self._clock.now_ns() and peripheral.may_reselect(nexus)
        ]
        if not ready:
            self.arbitrate_later()
            return
        nexus = min(ready, key=lambda candidate: candidate.ready_ns)
        nexus.peripheral.disconnected.remove(nexus)
        nexus.reselect()
        self.nexus = nexus
        self.attention = False
        self.initiator.reselected(nexus.peripheral.number)
        self.go_on()
        self.initiator.update()

    # --- snapshots -----------------------------------------------------------------------------

    def save(self) -> BusState:
        """Return connection, lines and devices."""
        return BusState(
            nexus=None if self.nexus is None else self.nexus.save(),
            phase=self.phase,
            request=self.request,
            attention=self.attention,
            deadline_ns=self._deadline_ns,
            peripherals={number: device.save() for number, device in self.peripherals.items()},
        )

    def check(self, state: BusState) -> None:
        """Raise StateError unless the bus can become `state`, whose fields are in their ranges."""
        require(state.phase in PHASES, self.name, "a phase that there is not")
        same = state.peripherals.keys() == self.peripherals.keys()
        require(same, self.name, "there are other devices on the bus")
        for number, peripheral in self.peripherals.items():
            peripheral.check(state.peripherals[number])
        nexus = state.nexus
        if nexus is None:
            free = not (state.phase or state.request or state.attention)
            require(free, self.name, "lines of a bus that nobody has")
        else:
            require(nexus.target in self.peripherals, self.name, "a command of a device that is not there")
            Nexus.check(self.peripherals[nexus.target], nexus)

    def load(self, state: BusState) -> None:
        """Become `state`, which has been checked."""
        for number, peripheral in self.peripherals.items():
            peripheral.load(state.peripherals[number])
        saved = state.nexus
        self.nexus = None if saved is None else self.peripherals[saved.target].restored(saved)
        self.phase, self.request, self.attention = state.phase, state.request, state.attention
        self._wait_until(state.deadline_ns)


def _nobody_listens(nexus: Nexus) -> None:
    """No trace is wanted."""
