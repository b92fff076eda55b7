"""A SCSI device on the parallel bus: its target, what it agreed to, and its disconnected commands.

Sources:
    [SCSI-2] ANSI X3.131-1994, §6.6 messages, §7.8 queued commands.
    [SAM-2] T10/1157D revision 24, §5.3.1 TASK SET FULL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Protocol

import msgspec

from devices.aic7870 import faults as f
from devices.aic7870 import messages as m
from devices.aic7870.nexus import Nexus, NexusState
from devices.saved import Byte
from devices.scsi.sense import OVERLAPPED, Sense
from devices.scsi.task import Task, TaskState

MOST_TASKS: Final = 64  # commands a target keeps; more are answered with TASK SET FULL
ASYNCHRONOUS: Final = (0, 0)  # period and offset
NARROW: Final = 0


class Target(Protocol):
    """What answers at an id: `devices.scsi.target.ScsiTarget`."""

    def start(self, lun: int, cdb: bytes) -> Task:
        """Begin a command."""

    def check(self, lun: int, state: TaskState) -> None:
        """Raise StateError unless `resume` can take up the command that `state` was saved from."""

    def resume(self, lun: int, state: TaskState) -> Task:
        """Take up a command that a snapshot held."""

    def refuse(self, lun: int, sense: Sense) -> Task:
        """Return a command that ended with CHECK CONDITION, for a reason that is the bus's."""

    def pending_sense(self, lun: int) -> bytes:
        """Return the sense data of the last CHECK CONDITION without taking it; b"" when there is none."""

    def reset(self) -> None:
        """Reset all units."""

    def abort(self, lun: int) -> None:
        """Forget what a unit was doing."""


class PeripheralState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A device's agreements and disconnected commands, oldest first."""

    synchronous: tuple[Byte, Byte]
    width: Annotated[int, msgspec.Meta(ge=NARROW, le=m.WIDE_BUS)]
    disconnected: Annotated[tuple[NexusState, ...], msgspec.Meta(max_length=MOST_TASKS)]


class Peripheral:
    """One device. `on_command` hears of every command and returns what a trace wants to know at its end."""

    def __init__(
        self, number: int, target: Target, wide: bool, on_command: Callable[[Nexus], tuple[int, int]]
    ) -> None:
        self.number = number
        self.target = target
        self.on_command = on_command
        self.policy = f.NEVER
        self.faults: list[f.Fault] = []
        self.disconnected: list[Nexus] = []
        self._wide = wide
        self.forget_agreement()

    def forget_agreement(self) -> None:
        """Go back to asynchronous 8-bit transfers."""
        self.synchronous = ASYNCHRONOUS
        self.width = NARROW

    def reset(self) -> None:
        """Reset condition, or BUS DEVICE RESET: all commands are gone, the units tell of it."""
        self.disconnected.clear()
        self.forget_agreement()
        self.target.reset()

    def is_full(self) -> bool:
        """Tell whether there is no room for another command."""
        return len(self.disconnected) >= MOST_TASKS

    def overlaps(self, nexus: Nexus) -> bool:
        """Tell whether a command of the same unit and tag, or without a tag like it, is not over."""
        return any(other.lun == nexus.lun and _tag(other) == _tag(nexus) for other in self.disconnected)

    def end_overlapped(self, lun: int) -> Task:
        """Abort what a unit has to do, and return why the command that overlaps it fails, [SCSI-2] §7.5.2."""
        self.disconnected[:] = [other for other in self.disconnected if other.lun != lun]
        return self.target.refuse(lun, OVERLAPPED)

    def may_reselect(self, nexus: Nexus) -> bool:
        """Tell whether a disconnected command may go on: not before its unit's sense data are taken.

        Its own could take their place. [SCSI-2] §7.6: contingent allegiance.
        """
        return not nexus.hung and not self.target.pending_sense(nexus.lun)

    def is_there(self) -> bool:
        """Tell whether the device answers a selection this time."""
        return not any(fault.strikes(f.ABSENT, self.number) for fault in self.faults)

    def hangs(self, cdb: bytes) -> bool:
        """Tell whether this command is to be left unanswered."""
        return any(fault.strikes(f.HANG, self.number, cdb) for fault in self.faults)

    def negotiate(self, message: bytes) -> bytes:
        """Answer an extended message, [SCSI-2] §6.6.21 and §6.6.23."""
        if message[1:3] == bytes((m.SDTR_BYTES, m.SDTR)):
            offset = min(message[4], m.MOST_OFFSET)
            period = max(message[3], m.FASTEST_PERIOD)
            self.synchronous = (period, offset) if offset else ASYNCHRONOUS
            return m.sdtr(period, offset)
        if message[1:3] == bytes((m.WDTR_BYTES, m.WDTR)):
            self.synchronous = ASYNCHRONOUS  # a new width ends the agreement
            self.width = min(message[3], m.WIDE_BUS) if self._wide else NARROW
            return m.wdtr(self.width)
        return bytes((m.MESSAGE_REJECT,))

    def abort(self, nexus: Nexus, message: int) -> None:
        """Carry out ABORT, ABORT TAG, CLEAR QUEUE or BUS DEVICE RESET that came over `nexus`."""
        if message == m.BUS_DEVICE_RESET:
            self.reset()
            return
        self.disconnected[:] = [
            other
            for other in self.disconnected
            if other.lun != nexus.lun or (message == m.ABORT_TAG and _tag(other) != _tag(nexus))
        ]
        if message != m.ABORT_TAG:
            self.target.abort(nexus.lun)

    def save(self) -> PeripheralState:
        """Return agreements and commands."""
        return PeripheralState(
            synchronous=self.synchronous,
            width=self.width,
            disconnected=tuple(nexus.save() for nexus in self.disconnected),
        )

    def check(self, state: PeripheralState) -> None:
        """Raise StateError unless the device can become `state`, whose fields are in their ranges."""
        for nexus in state.disconnected:
            Nexus.check(self, nexus)

    def load(self, state: PeripheralState) -> None:
        """Become `state`, which has been checked."""
        self.synchronous, self.width = state.synchronous, state.width
        self.disconnected[:] = [self.restored(saved) for saved in state.disconnected]

    def restored(self, state: NexusState) -> Nexus:
        """Return a nexus that a snapshot held."""
        nexus = Nexus(self)
        nexus.load(state)
        return nexus


def _tag(nexus: Nexus) -> int | None:
    return None if nexus.tag is None else nexus.tag[1]
