"""A command between an initiator and a logical unit on the parallel bus, as its target leads it.

The target says which phase comes next; the bus moves its bytes. A nexus that disconnects is kept by
its peripheral until it reselects the initiator.

Sources:
    [SCSI-2] ANSI X3.131-1994, §6.1 bus phases, §6.6 messages, §7.5.3 queues, §7.2 command block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from devices.aic7870 import faults as f
from devices.aic7870 import messages as m
from devices.saved import Byte, Natural, require
from devices.scsi.commands import length_of
from devices.scsi.task import GOOD, TASK_SET_FULL, Task, TaskState

if TYPE_CHECKING:
    from devices.aic7870.peripheral import Peripheral

# Bus phases: C/D, I/O and MSG as SCSISIGI shows them, [SCSI-2] table 8
DATA_OUT: Final = 0x00
DATA_IN: Final = 0x40
COMMAND: Final = 0x80
MESSAGE_OUT: Final = 0xA0
STATUS: Final = 0xC0
MESSAGE_IN: Final = 0xE0
PHASES: Final = (DATA_OUT, DATA_IN, COMMAND, MESSAGE_OUT, STATUS, MESSAGE_IN)

# What a target may do instead of asking for a phase
BUS_FREE: Final = -1
DISCONNECTED: Final = -2
HOLDING: Final = -3  # connected, and nothing comes
ABANDONED: Final = -4  # by a message: bus free at once

# How far a nexus is
AWAITS_COMMAND: Final = 0
IN_TASK: Final = 1
HAS_STATUS: Final = 2
COMPLETE: Final = 3

PIO_BYTES: Final = 512  # fetched from the task at a time for a driver that acknowledges each byte
NO_BYTE: Final = 0
MOST_MESSAGES: Final = 8  # waiting to be sent; an initiator may hold ATN and provoke more


Message = Annotated[bytes, msgspec.Meta(min_length=1, max_length=m.LONGEST_SENT)]


class NexusState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A nexus at any moment."""

    target: Byte
    lun: Annotated[int, msgspec.Meta(ge=0, le=m.IDENTIFY_LUN)]
    identified: bool
    tag: tuple[Annotated[int, msgspec.Meta(ge=m.SIMPLE_QUEUE_TAG, le=m.ORDERED_QUEUE_TAG)], Byte] | None
    may_disconnect: bool
    hung: bool
    stage: Annotated[int, msgspec.Meta(ge=AWAITS_COMMAND, le=COMPLETE)]
    ends: Annotated[int, msgspec.Meta(ge=ABANDONED, le=0)]
    cdb: bytes
    incoming: bytes
    outgoing: Annotated[tuple[Message, ...], msgspec.Meta(max_length=MOST_MESSAGES)]
    position: Byte
    last_sent: Annotated[bytes, msgspec.Meta(max_length=m.LONGEST_SENT)]
    fetched: Annotated[bytes, msgspec.Meta(max_length=PIO_BYTES)]
    task: TaskState | None
    status: Byte
    moved: Natural
    split: Natural
    ready_ns: Natural
    started: tuple[Natural, Natural]


class Nexus:
    """One connection; `peripheral` is the target it is with."""

    def __init__(self, peripheral: Peripheral) -> None:
        self.peripheral = peripheral
        self.lun = 0
        self.identified = False
        self.tag: tuple[int, int] | None = None  # message code and tag
        self.may_disconnect = False
        self.hung = False
        self.stage = AWAITS_COMMAND
        self.cdb = bytearray()
        self.task: Task | None = None
        self.status = GOOD
        self.moved = 0  # bytes of data so far
        self.has_more = False
        self.ready_ns = 0  # when a disconnected nexus wants the bus
        self.started = (0, 0)  # time and instructions at the start, for traces
        self._ends = 0  # BUS_FREE, DISCONNECTED: what follows the outgoing messages; ABANDONED
        self._incoming = bytearray()
        self._outgoing: list[bytes] = []
        self._position = 0
        self._last_sent = b""
        self._fetched = b""
        self._split = 0  # where to disconnect in the data; 0: nowhere

    # --- what comes next -----------------------------------------------------------------------

    def next_phase(self, attention: bool) -> int:
        """Return the phase the target asks for, or BUS_FREE, DISCONNECTED, HOLDING."""
        if self._ends == ABANDONED:
            return BUS_FREE
        if self._incoming or (attention and not self._in_the_middle()):
            return MESSAGE_OUT
        if self._outgoing:
            return MESSAGE_IN
        if self._ends:
            ends, self._ends = self._ends, 0
            return ends
        if self.stage == AWAITS_COMMAND:
            return COMMAND
        if self.hung:
            return HOLDING
        return self._data_or_status()

    def _in_the_middle(self) -> bool:
        """Tell whether attention has to wait for the end of a message or of the CDB."""
        return self._position > 0 or (self.stage == AWAITS_COMMAND and len(self.cdb) > 0)

    def _data_or_status(self) -> int:
        task = self.task
        if self.stage == IN_TASK and task is not None:
            left = self._fetched or task.data_in or task.data_out
            if left and self._split and self.moved >= self._split:
                self._split = 0
                self._let_go(m.SAVE_DATA_POINTER)
                return MESSAGE_IN
            if self._fetched or (task.data_in and task.ready()):
                return DATA_IN
            if task.data_out:
                return DATA_OUT
            self.stage, self.status = HAS_STATUS, task.status
        if self.stage == HAS_STATUS:
            return STATUS
        self._send(bytes((m.COMMAND_COMPLETE,)))
        self._ends = BUS_FREE
        return MESSAGE_IN

    def _let_go(self, *messages: int) -> None:
        for code in (*messages, m.DISCONNECT):
            self._send(bytes((code,)))
        self._ends = DISCONNECTED

    def _send(self, message: bytes) -> None:
        if len(self._outgoing) < MOST_MESSAGES:
            self._outgoing.append(message)

    def reselect(self) -> None:
        """Begin a connection of the target's: say who it is."""
        self._send(bytes((m.IDENTIFY | self.lun,)))
        if self.tag is not None:
            self._send(bytes((m.SIMPLE_QUEUE_TAG, self.tag[1])))

    # --- single bytes --------------------------------------------------------------------------

    def offered(self, phase: int) -> int:
        """Return the byte on the data lines of an IN phase."""
        if phase == MESSAGE_IN:
            return self._outgoing[0][self._position] if self._outgoing else NO_BYTE
        if phase == STATUS:
            return self.status
        if phase == DATA_IN:
            if not self._fetched and self.task is not None:
                self._fetched = self.task.give(PIO_BYTES)
            return self._fetched[0] if self._fetched else NO_BYTE
        return NO_BYTE

    def acknowledged(self, phase: int) -> None:
        """Hear that the initiator has the offered byte."""
        if phase == MESSAGE_IN and self._outgoing:
            self._position += 1
            if self._position >= len(self._outgoing[0]):
                self._last_sent = self._outgoing.pop(0)
                self._position = 0
        elif phase == STATUS:
            self.stage = COMPLETE
        elif phase == DATA_IN:
            self.offered(phase)
            self.moved += len(self._fetched[:1])
            self._fetched = self._fetched[1:]

    def receive(self, phase: int, data: bytes | bytearray) -> None:
        """Take bytes of an OUT phase, at most `wanted` of them."""
        if phase == COMMAND:
            self.cdb += data
            if not self.wanted(COMMAND):
                self._start()
        elif phase == DATA_OUT and self.task is not None:
            self.moved += len(data)
            self.task.take(data)
        elif phase == MESSAGE_OUT:
            self._incoming += data
            if m.is_complete(self._incoming):
                message, self._incoming = bytes(self._incoming), bytearray()
                self._obey(message)

    # --- data in slices ------------------------------------------------------------------------

    def wanted(self, phase: int) -> int:
        """Return how many bytes of an OUT phase the target takes before it thinks again."""
        if phase == COMMAND:
            return (length_of(self.cdb[0]) if self.cdb else 1) - len(self.cdb)
        if phase == DATA_OUT and self.task is not None:
            return self._until_split(self.task.data_out)
        return 1

    def give(self, limit: int) -> bytes:
        """Return the next data for the initiator; afterwards `has_more` tells whether data come next."""
        task = self.task
        if task is None:
            self.has_more = False
            return b""
        if self._fetched:
            data, self._fetched = self._fetched[:limit], self._fetched[limit:]
        else:
            data = task.give(self._until_split(limit) if self._split else limit)
        if not data:
            self.stage, self.status = HAS_STATUS, task.status
        self.moved += len(data)
        self.has_more = task.data_in > 0 and not self._split
        return data

    def _until_split(self, limit: int) -> int:
        return min(limit, self._split - self.moved) if self._split > self.moved else limit

    # --- commands and messages -----------------------------------------------------------------

    def _start(self) -> None:
        peripheral = self.peripheral
        cdb = bytes(self.cdb)
        if not self.identified:
            self.lun = cdb[1] >> 5  # [SCSI-2] §7.2.2
        self.stage = IN_TASK
        self.started = peripheral.on_command(self)
        if peripheral.overlaps(self):
            self.task = peripheral.end_overlapped(self.lun)
            return
        if peripheral.is_full():
            self.stage, self.status = HAS_STATUS, TASK_SET_FULL
            return
        self.hung = peripheral.hangs(cdb)
        if not self.hung:
            self.task = peripheral.target.start(self.lun, cdb)
        if not self.may_disconnect or (self.task is not None and self.task.status != GOOD):
            return  # who has failed says so at once: another command would take the sense data away
        if self.hung or peripheral.policy != f.NEVER:
            self._let_go()
        if self.task is not None and peripheral.policy == f.MID_DATA:
            self._split = (self.task.data_in or self.task.data_out) // 4 * 2

    def _obey(self, message: bytes) -> None:
        code = message[0]
        if code & m.IDENTIFY:
            self._identify(code)
        elif m.SIMPLE_QUEUE_TAG <= code <= m.ORDERED_QUEUE_TAG and self.stage == AWAITS_COMMAND:
            self.tag = (code, message[1])
        elif code == m.EXTENDED:
            self._send(self.peripheral.negotiate(message))
        elif code == m.MESSAGE_REJECT:
            if self._last_sent[:1] == bytes((m.EXTENDED,)):
                self.peripheral.forget_agreement()
        elif code == m.MESSAGE_PARITY_ERROR:
            self._outgoing.insert(0, self._last_sent or bytes((m.NO_OPERATION,)))
            del self._outgoing[MOST_MESSAGES:]
        elif code == m.INITIATOR_DETECTED_ERROR:
            self._repeat()
        elif code in (m.ABORT, m.ABORT_TAG, m.CLEAR_QUEUE, m.BUS_DEVICE_RESET):
            self.peripheral.abort(self, code)
            self._ends = ABANDONED
        elif code != m.NO_OPERATION:
            self._send(bytes((m.MESSAGE_REJECT,)))

    def _identify(self, code: int) -> None:
        """Hear which unit is meant. Who names another one later loses the bus, [SCSI-2] §6.6.7."""
        lun = code & m.IDENTIFY_LUN
        if lun != self.lun and (self.identified or self.stage != AWAITS_COMMAND):
            self._ends = ABANDONED
            return
        self.identified, self.lun = True, lun
        self.may_disconnect = bool(code & m.IDENTIFY_DISCONNECT)

    def _repeat(self) -> None:
        """Do the command again from its beginning, with the pointers restored to it."""
        if self.stage not in (IN_TASK, HAS_STATUS) or self.hung:
            return
        self._send(bytes((m.RESTORE_POINTERS,)))
        self.task = self.peripheral.target.start(self.lun, bytes(self.cdb))
        self._fetched, self._split, self.moved, self.stage = b"", 0, 0, IN_TASK

    # --- snapshots -----------------------------------------------------------------------------

    @staticmethod
    def check(peripheral: Peripheral, state: NexusState) -> None:
        """Raise StateError unless a nexus with `peripheral` can become `state`, whose fields are in range."""
        name = f"id {peripheral.number}"
        require(state.target == peripheral.number, name, "a command is another target's")
        wanted = length_of(state.cdb[0]) if state.cdb else 1
        left = wanted - len(state.cdb)
        require(left > 0 if state.stage == AWAITS_COMMAND else left == 0, name, "a CDB of the wrong length")
        require(not state.incoming or not m.is_complete(state.incoming), name, "a message not yet obeyed")
        sending = len(state.outgoing[0]) if state.outgoing else 1
        require(state.position < sending, name, "a place past the end of a message")
        if state.task is not None:
            peripheral.target.check(state.lun, state.task)

    def save(self) -> NexusState:
        """Return everything; the task saves itself."""
        return NexusState(
            target=self.peripheral.number,
            lun=self.lun,
            identified=self.identified,
            tag=self.tag,
            may_disconnect=self.may_disconnect,
            hung=self.hung,
            stage=self.stage,
            ends=self._ends,
            cdb=bytes(self.cdb),
            incoming=bytes(self._incoming),
            outgoing=tuple(self._outgoing),
            position=self._position,
            last_sent=self._last_sent,
            fetched=self._fetched,
            task=None if self.task is None else self.task.save(),
            status=self.status,
            moved=self.moved,
            split=self._split,
            ready_ns=self.ready_ns,
            started=self.started,
        )

    def load(self, state: NexusState) -> None:
        """Become `state`; its unit takes the task up again."""
        self.lun, self.identified, self.tag = state.lun, state.identified, state.tag
        self.may_disconnect, self.hung = state.may_disconnect, state.hung
        self.stage, self._ends = state.stage, state.ends
        self.cdb, self._incoming = bytearray(state.cdb), bytearray(state.incoming)
        self._outgoing, self._position = list(state.outgoing), state.position
        self._last_sent, self._fetched = state.last_sent, state.fetched
        saved = state.task
        self.task = None if saved is None else self.peripheral.target.resume(self.lun, saved)
        self.status, self.moved, self._split = state.status, state.moved, state.split
        self.ready_ns, self.started = state.ready_ns, state.started
