"""virtio-scsi: a SCSI host whose transport is virtqueues.

A request is a CDB with buffers, and is over once it has been taken from the ring: data moves in slices
between guest memory and the command. Requests that are much work together are taken a few at a time.
So no task is ever found by a task management function, nothing is reordered by task attributes, and a
snapshot holds no request. Not modelled: bidirectional commands (VIRTIO_SCSI_F_INOUT), hot-plug, parameter
change events and protection information: none is offered, and the event queue's buffers are kept.

Sources:
    [VIRTIO-1.1] Virtual I/O Device (VIRTIO) Version 1.1, §5.6 SCSI host device.
    [SAM-2] T10/1157D revision 24, §4.9 logical unit number, §6 task management.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from devices.backplane import Clock, DeviceState, IrqLine, ScatteredMemory, Timer, Tracer
from devices.saved import Natural, fitting
from devices.scsi import commands as op
from devices.scsi.commands import length_of
from devices.scsi.disk import BLOCK, BYTCHK, FUA
from devices.scsi.events import ScsiStatus, command_event
from devices.scsi.target import ScsiTarget
from devices.scsi.task import CHECK_CONDITION, FIRST_LUN, Task
from devices.scsi.tasks import ReadTask
from devices.virtio.ring import Chain, RingError, Segments
from devices.virtio.segments import cut, gather, room, scatter
from devices.virtio.transport import VirtioTransport, VirtioTransportState
from devices.virtio.well_known import WellKnownTarget

# Queues, [VIRTIO-1.1] §5.6.2
CONTROL_QUEUE: Final = 0
EVENT_QUEUE: Final = 1
QUEUE_SIZES: Final = (64, 64, 256)  # control, event, one request queue

# Device configuration, [VIRTIO-1.1] §5.6.4
_CONFIG: Final = struct.Struct("<7IHHI")
SENSE_SIZE_AT: Final = 20
CDB_SIZE_AT: Final = 24
DEFAULT_SENSE_SIZE: Final = 96
DEFAULT_CDB_SIZE: Final = 32
MOST_SENSE_SIZE: Final = 0xFFFF
MOST_CDB_SIZE: Final = 0xFF
SEGMENTS: Final = 254  # with header and response a whole request queue
MOST_DATA_BYTES: Final = 8 << 20  # of one request
MAX_SECTORS: Final = MOST_DATA_BYTES // 512
COMMANDS_PER_LUN: Final = 128
EVENT_BYTES: Final = 16
MAX_TARGET: Final = 15
MAX_LUN: Final = 255

SLICE_BYTES: Final = 0x8_0000
AT_ONCE_BYTES: Final = 32 << 20  # work for one notification, as bytes of the medium
FLUSH_BYTES: Final = 4 << 20  # what it counts that a command makes things durable
GO_ON_NS: Final = 1_000_000  # until the rest of the requests

FLUSHING: Final = frozenset(
    (
        op.SYNCHRONIZE_CACHE_10,
        op.SYNCHRONIZE_CACHE_16,
        op.START_STOP_UNIT,
        op.MODE_SELECT_6,
        op.MODE_SELECT_10,
    )
)
WRITING: Final = frozenset((op.WRITE_10, op.WRITE_12, op.WRITE_16))  # the short one has no FUA
VERIFYING: Final = frozenset((op.VERIFY_10, op.VERIFY_12, op.VERIFY_16))

# Request: lun, id, task_attr, prio, crn; then the CDB, [VIRTIO-1.1] §5.6.6.1
HEADER_BYTES: Final = 19
_RESPONSE: Final = struct.Struct("<IIHBB")  # sense_len, residual, status_qualifier, status, response

S_OK: Final = 0
S_OVERRUN: Final = 1
S_BAD_TARGET: Final = 3
S_FAILURE: Final = 9
S_FUNCTION_COMPLETE: Final = 0
S_FUNCTION_REJECTED: Final = 11
S_INCORRECT_LUN: Final = 12

# Control requests, [VIRTIO-1.1] §5.6.6.2
T_TMF: Final = 0
T_AN_QUERY: Final = 1
T_AN_SUBSCRIBE: Final = 2
TMF_BYTES: Final = 24
AN_BYTES: Final = 16
TMF_ABORT_TASK: Final = 0
TMF_ABORT_TASK_SET: Final = 1
TMF_CLEAR_ACA: Final = 2
TMF_CLEAR_TASK_SET: Final = 3
TMF_I_T_NEXUS_RESET: Final = 4
TMF_LOGICAL_UNIT_RESET: Final = 5
TMF_QUERY_TASK: Final = 6
TMF_QUERY_TASK_SET: Final = 7

# LUN fields, [VIRTIO-1.1] §5.6.6.1 and [SAM-2] §4.9
ONE_LEVEL: Final = 1
WELL_KNOWN: Final = bytes((0xC1, 0x01, 0, 0, 0, 0, 0, 0))  # REPORT LUNS
FLAT: Final = 0x40
METHOD: Final = 0xC0
NO_LUN: Final = -1


class VirtioScsiState(DeviceState, frozen=True, kw_only=True):
    """The transport and what the driver set in the device configuration."""

    transport: VirtioTransportState
    sense_size: Annotated[int, msgspec.Meta(ge=0, le=MOST_SENSE_SIZE)]
    cdb_size: Annotated[int, msgspec.Meta(ge=0, le=MOST_CDB_SIZE)]
    worked: Natural
    goes_on_ns: Natural | None


class VirtioScsi:
    """The host: `transport` holds its registers, `targets` what it reaches."""

    features = 0
    queue_sizes = QUEUE_SIZES

    def __init__(
        self,
        name: str,
        memory: ScatteredMemory,
        clock: Clock,
        irq: IrqLine,
        targets: Mapping[int, ScsiTarget],
        tracer: Tracer | None = None,
    ) -> None:
        self.name = name
        self._memory, self._clock, self._targets, self._tracer = memory, clock, targets, tracer
        self._well_known = WellKnownTarget(targets)
        self._worked = 0  # bytes, since there was enough for one notification
        self._goes_on_ns: int | None = None
        self._timer: Timer | None = None
        self._sense_size, self._cdb_size = DEFAULT_SENSE_SIZE, DEFAULT_CDB_SIZE
        self.transport = VirtioTransport(name, memory, irq, self, tracer)

    def reset(self) -> None:
        """Reset the host and all its targets."""
        self.transport.reset()
        self.driver_reset()

    def driver_reset(self) -> None:
        """Forget what the driver set, and reset the targets."""
        self._sense_size, self._cdb_size = DEFAULT_SENSE_SIZE, DEFAULT_CDB_SIZE
        self._worked = 0
        self._wait_until(None)
        for target in self._targets.values():
            target.reset()

    # -- device configuration

    def config(self) -> bytes:
        """Return the device configuration."""
        return _CONFIG.pack(
            len(QUEUE_SIZES) - 2,
            SEGMENTS,
            MAX_SECTORS,
            COMMANDS_PER_LUN,
            EVENT_BYTES,
            self._sense_size,
            self._cdb_size,
            0,
            max(MAX_TARGET, *self._targets, 0),
            MAX_LUN,
        )

    def write_config(self, offset: int, data: bytes) -> None:
        """Take sense_size and cdb_size; the rest is read-only."""
        config = bytearray(self.config())
        config[offset : offset + len(data)] = data
        sense_size, cdb_size = struct.unpack_from("<II", config, SENSE_SIZE_AT)
        if sense_size > MOST_SENSE_SIZE or cdb_size > MOST_CDB_SIZE:
            raise RingError("sense_size or cdb_size beyond reason")
        self._sense_size, self._cdb_size = sense_size, cdb_size

    # -- buffers

    def holds(self, queue: int) -> bool:
        """Keep the event queue's buffers: there is nothing to tell."""
        return queue == EVENT_QUEUE

    def serve(self, queue: int, chain: Chain) -> int:
        """Carry out a control request or a command."""
        return self._control(chain) if queue == CONTROL_QUEUE else self._command(chain)

    def had_enough(self) -> bool:
        """Tell whether requests have been much work. The rest of them is for later: the machine goes on."""
        if self._worked < AT_ONCE_BYTES:
            return False
        self._worked = 0
        self._wait_until(self._clock.now_ns() + GO_ON_NS)
        return True

    def _wait_until(self, deadline_ns: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._goes_on_ns, self._timer = deadline_ns, None
        if deadline_ns is not None:
            self._timer = self._clock.at(deadline_ns, self._go_on, f"{self.name} requests")

    def _go_on(self) -> None:
        self._goes_on_ns, self._timer = None, None
        self.transport.run()

    def _command(self, chain: Chain) -> int:
        """Carry out a command; return the bytes of its response and its data."""
        memory = self._memory
        header, data_out = cut(chain.readable, HEADER_BYTES + self._cdb_size)
        response, data_in = cut(chain.writable, _RESPONSE.size + self._sense_size)
        request = gather(memory, header)
        target, lun = self._addressed(request)
        room_in, room_out = room(data_in), room(data_out)
        code, status, moved, sense = S_OK, 0, 0, b""
        if target is None:
            code = S_BAD_TARGET
        elif room_out and room_in:
            code = S_FAILURE  # VIRTIO_SCSI_F_INOUT is not offered
        else:
            cdb = request[HEADER_BYTES:]
            began_ns = self._told(request[1], lun, cdb)
            task = target.start(lun, cdb)
            code = _unfit(task, room_in, room_out)
            if code == S_OK:
                moved = self._move(task, data_in, data_out)
                status = task.status
                self._worked += moved + _unseen_work(cdb)
            else:
                target.abort(lun)
            if status == CHECK_CONDITION:
                sense = target.sense_data(lun)[: self._sense_size]
            if self._tracer is not None:
                took_ns = self._clock.now_ns() - began_ns
                self._tracer.emit(ScsiStatus(self.name, request[1], lun, status, sense, moved, 0, took_ns))
        residual = min(room_in + room_out - moved, 0xFFFF_FFFF)
        answer = _RESPONSE.pack(len(sense), residual, 0, status, code) + sense
        scatter(memory, response, answer.ljust(_RESPONSE.size + self._sense_size, b"\0"))
        return _RESPONSE.size + self._sense_size + (moved if room_in else 0)

    def _told(self, target: int, lun: int, cdb: bytes) -> int:
        """Tell the tracer of a command, without what fills its CDB up; return when, if there is one."""
        if self._tracer is None:
            return 0
        whole = cdb[: length_of(cdb[0])] if cdb else cdb
        self._tracer.emit(command_event(self.name, target, lun, whole))
        return self._clock.now_ns()

    def _move(self, task: Task, data_in: Segments, data_out: Segments) -> int:
        """Move the data of a command, a slice at a time; return how much."""
        memory, moved = self._memory, 0
        while task.data_in:
            wanted = min(task.data_in, SLICE_BYTES)
            piece, data_in = cut(data_in, wanted)
            if isinstance(task, ReadTask) and self._filled(task, piece):
                moved += wanted
                continue
            data = task.give(wanted)
            if len(data) < wanted:  # the unit has met a block that it cannot read
                piece, again = cut(piece, len(data))
                data_in = again + data_in
            if not data:
                break
            scatter(memory, piece, data)
            moved += len(data)
        while task.data_out:
            wanted = min(task.data_out, SLICE_BYTES)
            piece, data_out = cut(data_out, wanted)
            task.take(gather(memory, piece))
            moved += wanted
        return moved

    def _filled(self, task: ReadTask, piece: Segments) -> bool:
        """Have blocks read into guest memory itself; False if they have to go by way of a copy."""
        views = self._memory.views(piece)
        if views is None:
            return False
        filled = task.fill(views)
        self._memory.written(piece)  # of a read that failed a part may be there
        return filled

    def _addressed(self, request: bytes) -> tuple[ScsiTarget | WellKnownTarget | None, int]:
        """Return the target and the logical unit that an 8-byte LUN field names."""
        level, number, high, low = request[:4]
        if request[:8] == WELL_KNOWN:
            return self._well_known, FIRST_LUN
        if level != ONE_LEVEL or any(request[4:8]):
            return None, NO_LUN
        if high & METHOD == FLAT:
            return self._targets.get(number), (high & ~METHOD) << 8 | low
        return self._targets.get(number), NO_LUN if high else low

    # -- control queue

    def _control(self, chain: Chain) -> int:
        """Carry out a task management function, or answer about asynchronous notification."""
        kind = int.from_bytes(self._request(chain, 4), "little")
        if kind == T_TMF:
            request = self._request(chain, TMF_BYTES)
            answer = bytes((self._manage(int.from_bytes(request[4:8], "little"), request[8:16]),))
        elif kind in (T_AN_QUERY, T_AN_SUBSCRIBE):
            target, _ = self._addressed(self._request(chain, AN_BYTES)[4:12])
            answer = bytes((0, 0, 0, 0, S_BAD_TARGET if target is None else S_OK))  # no event is supported
        else:
            answer = bytes((S_FAILURE,))
        place, _ = cut(chain.writable, len(answer))
        scatter(self._memory, place, answer)
        return len(answer)

    def _request(self, chain: Chain, length: int) -> bytes:
        return gather(self._memory, cut(chain.readable, length)[0])

    def _manage(self, function: int, address: bytes) -> int:
        """Carry out a task management function. No task is ever found: all are over."""
        target, lun = self._addressed(address)
        if function > TMF_QUERY_TASK_SET or function == TMF_CLEAR_ACA:  # NACA is refused in every CDB
            return S_FUNCTION_REJECTED
        if target is None:
            return S_BAD_TARGET
        if function == TMF_I_T_NEXUS_RESET:
            target.reset()
            return S_FUNCTION_COMPLETE
        unit = target.units.get(lun)
        if unit is None:
            return S_INCORRECT_LUN
        if function == TMF_LOGICAL_UNIT_RESET:
            target.abort(lun)
            unit.reset()
        elif function in (TMF_ABORT_TASK, TMF_ABORT_TASK_SET, TMF_CLEAR_TASK_SET):
            target.abort(lun)
        return S_FUNCTION_COMPLETE

    # -- state

    def save(self) -> VirtioScsiState:
        """Return the state; that of the targets is theirs."""
        return VirtioScsiState(
            transport=self.transport.save(),
            sense_size=self._sense_size,
            cdb_size=self._cdb_size,
            worked=self._worked,
            goes_on_ns=self._goes_on_ns,
        )

    def load(self, state: VirtioScsiState) -> None:
        """Become `state`, or raise StateError."""
        state = fitting(self.name, state)
        self.transport.check(state.transport)
        self._sense_size, self._cdb_size = state.sense_size, state.cdb_size
        self.transport.load(state.transport)
        self._worked = state.worked
        self._wait_until(state.goes_on_ns)


def _unseen_work(cdb: bytes) -> int:
    """Return what a command does to the medium, in bytes, beside moving data: it may verify or flush."""
    opcode = cdb[0] if cdb else op.TEST_UNIT_READY
    if opcode in FLUSHING or (opcode in WRITING and cdb[1:2] and cdb[1] & FUA):
        return FLUSH_BYTES
    if opcode in VERIFYING and not (cdb[1:2] and cdb[1] & BYTCHK):
        return op.addressed(cdb.ljust(op.LONGEST_CDB, b"\0"))[1] * BLOCK
    return 0


def _unfit(task: Task, room_in: int, room_out: int) -> int:
    """Return the response to a command whose data the buffers do not hold, or S_OK."""
    if task.data_in > room_in or task.data_out > room_out:
        return S_OVERRUN
    return S_FAILURE if max(task.data_in, task.data_out) > MOST_DATA_BYTES else S_OK
