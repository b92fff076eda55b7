"""A bench for virtio-scsi: guest memory, a host with its PCI function, and a driver for both interfaces."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from devices.backplane import IrqLine, TraceEvent
from devices.pci.config import BAR0, COMMAND
from devices.scsi.task import CHECK_CONDITION, GOOD, TaskState
from devices.virtio import registers as r
from devices.virtio.function import VirtioFunction, scsi_identity
from devices.virtio.scsi import VirtioScsi
from tests.devices.ide_rig import Memory as RunMemory
from vmm.clock import MachineClock, ManualTime

ACK = r.ACKNOWLEDGE | r.DRIVER
QUEUES_AT = 0x1_0000
QUEUE_STEP = 0x4000
BUFFERS_AT = 0x4_0000
CONTROL, EVENT, REQUEST = range(3)
BLOCK = 512
SENSE = b"\x70\0\x05\0\0\0\0\x0a\0\0\0\0\x24\0\0\0\0\0"
LUN0 = bytes((1, 0, 0x40, 0, 0, 0, 0, 0))
INDIRECT, NEXT, WRITE = 4, 1, 2


class Memory(RunMemory):
    """Guest memory of `size` bytes, all of it RAM, in runs too."""

    def views(self, runs: Sequence[tuple[int, int]]) -> list[memoryview] | None:
        if any(address + length > len(self.data) for address, length in runs):
            return None
        return [memoryview(self.data)[address : address + length] for address, length in runs]

    def written(self, runs: Sequence[tuple[int, int]]) -> None:
        self.writes += runs


class Step:
    """A command under way in `Unit`."""

    def __init__(
        self, unit: Unit, data: bytes = b"", wanted: int = 0, at: int = 0, status: int = GOOD
    ) -> None:
        self._unit, self._data, self._at = unit, data, at
        self.data_in, self.data_out, self.status = len(data), wanted, status

    def give(self, limit: int) -> bytes:
        self._unit.gives.append(limit)
        piece, self._data = self._data[:limit], self._data[limit:]
        self.data_in = len(self._data)
        fails = self._unit.fails_after
        if fails is not None and sum(self._unit.gives) > fails:
            self.data_in, self.status, self._unit.sense = 0, CHECK_CONDITION, SENSE
            return b""
        return piece

    def take(self, data: bytes | bytearray | memoryview) -> None:
        self._unit.medium[self._at : self._at + len(data)] = data
        self._at += len(data)
        self.data_out -= len(data)

    def save(self) -> TaskState:
        return TaskState()


class Unit:
    """A logical unit with a medium of 1 MiB: TEST UNIT READY, INQUIRY, READ(10), WRITE(10)."""

    name = "unit"

    def __init__(self) -> None:
        self.medium = bytearray(b"".join(at.to_bytes(4, "little") * 128 for at in range(2048)))
        self.cdbs: list[bytes] = []
        self.gives: list[int] = []
        self.fails_after: int | None = None
        self.resets = 0
        self.sense = b""

    def start(self, cdb: bytes) -> Step:
        self.cdbs.append(cdb)
        at = int.from_bytes(cdb[2:6], "big") * BLOCK
        length = int.from_bytes(cdb[7:9], "big") * BLOCK
        if cdb[0] == 0x00:
            return Step(self)
        if cdb[0] == 0x12:
            return Step(self, bytes(36)[: cdb[4]])
        if cdb[0] == 0x28:
            return Step(self, bytes(self.medium[at : at + length]).ljust(length, b"\0"))
        if cdb[0] == 0x2A:
            return Step(self, wanted=length, at=at)
        self.sense = SENSE
        return Step(self, status=CHECK_CONDITION)

    def sense_data(self) -> bytes:
        sense, self.sense = self.sense, b""
        return sense

    def reset(self) -> None:
        self.resets += 1

    def resume(self, state: TaskState) -> Step:
        return Step(self)


class Target:
    """Logical units by number."""

    def __init__(self, units: Mapping[int, Unit]) -> None:
        self.units = units
        self.resets = 0
        self.aborts: list[int] = []

    def start(self, lun: int, cdb: bytes) -> Step:
        return self.units[lun].start(cdb) if lun in self.units else Step(Unit(), b"\x7f".ljust(36, b"\0"))

    def sense_data(self, lun: int) -> bytes:
        return self.units[lun].sense_data()

    def reset(self) -> None:
        self.resets += 1

    def abort(self, lun: int) -> None:
        self.aborts.append(lun)


class Events(list[TraceEvent]):
    """A tracer that keeps everything."""

    def emit(self, event: TraceEvent) -> None:
        self.append(event)


class Rig:
    """A host with target 0 (LUN 0 and 1) and target 3 (LUN 0), and a driver."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.edges: list[bool] = []
        self.memory = memory or Memory()
        self.irq = IrqLine(self.edges.append)
        self.unit, self.second, self.other = Unit(), Unit(), Unit()
        self.targets = {0: Target({0: self.unit, 1: self.second}), 3: Target({0: self.other})}
        self.events = Events()
        self.time = ManualTime()
        self.clock = MachineClock(self.time)
        self.host = VirtioScsi("virtio", self.memory, self.clock, self.irq, self.targets, self.events)
        self.moves: list[tuple[int | None, int | None]] = []

        def on_move(old: int | None, new: int | None) -> None:
            self.moves.append((old, new))

        self.function = VirtioFunction("virtio", scsi_identity(), self.host.transport, on_move, on_move)
        self.config = self.function.config
        self.io, self.mem = self.host.transport.io_bank, self.host.transport.memory_bank
        self.queues: dict[int, DriverQueue] = {}
        self.modern = True

    # -- registers

    def common(self, offset: int, size: int, value: int | None = None) -> int:
        if value is None:
            return self.mem.read(offset, size)
        self.mem.write(offset, size, value)
        return 0

    @property
    def status(self) -> int:
        return self.common(r.DEVICE_STATUS, 1)

    @status.setter
    def status(self, value: int) -> None:
        self.common(r.DEVICE_STATUS, 1, value)

    def enable(self) -> None:
        """Turn I/O, memory and bus mastering on."""
        self.config.write(BAR0, 4, 0xC000)
        self.config.write(BAR0 + 4, 4, 0xE000_0000)
        self.config.write(COMMAND, 2, 7)

    # -- initialization

    def start(self, features: int = r.VIRTIO_F_VERSION_1, size: int = 16) -> Rig:
        """Initialize as a driver of virtio 1.x does, [VIRTIO-1.1] §3.1.1."""
        self.enable()
        self.status = 0
        self.status = r.ACKNOWLEDGE
        self.status = ACK
        for half in range(2):
            self.common(r.DRIVER_FEATURE_SELECT, 4, half)
            self.common(r.DRIVER_FEATURE, 4, features >> 32 * half & 0xFFFF_FFFF)
        self.status = ACK | r.FEATURES_OK
        assert self.status & r.FEATURES_OK
        for number in range(3):
            queue = self.queues[number] = DriverQueue(self.memory, number, size)
            self.common(r.QUEUE_SELECT, 2, number)
            self.common(r.QUEUE_SIZE, 2, size)
            for register, address in (
                (r.QUEUE_DESC, queue.desc),
                (r.QUEUE_DRIVER, queue.avail),
                (r.QUEUE_DEVICE, queue.used),
            ):
                self.common(register, 4, address)
                self.common(register + 4, 4, 0)
            self.common(r.QUEUE_ENABLE, 2, 1)
        self.status = ACK | r.FEATURES_OK | r.DRIVER_OK
        return self

    def start_legacy(self, features: int = 0) -> Rig:
        """Initialize as a driver of virtio 0.95 does."""
        self.enable()
        self.modern = False
        for status in (0, r.ACKNOWLEDGE, ACK):
            self.io.write(r.STATUS, 1, status)
        self.io.write(r.GUEST_FEATURES, 4, features)
        for number in range(3):
            self.io.write(r.QUEUE_SEL, 2, number)
            size = self.io.read(r.QUEUE_NUM, 2)
            queue = self.queues[number] = DriverQueue(self.memory, number, size, legacy=True)
            self.io.write(r.QUEUE_PFN, 4, queue.desc >> 12)
        self.io.write(r.STATUS, 1, ACK | r.DRIVER_OK)
        return self

    # -- work

    def kick(self, number: int = REQUEST) -> None:
        if self.modern:
            self.mem.write(r.NOTIFY_AT + r.NOTIFY_MULTIPLIER * number, 2, number)
        else:
            self.io.write(r.QUEUE_NOTIFY, 2, number)

    def isr(self) -> int:
        return self.mem.read(r.ISR_AT, 1) if self.modern else self.io.read(r.ISR, 1)

    def run(self, cdb: bytes, out: bytes = b"", room: int = 0, lun: bytes = LUN0, **how: bool) -> Response:
        """Send one command and return the response."""
        queue = self.queues[REQUEST]
        header = lun + bytes(11) + cdb.ljust(32, b"\0")
        self.memory.data[BUFFERS_AT : BUFFERS_AT + len(header)] = header
        response, data = BUFFERS_AT + 0x1000, BUFFERS_AT + 0x2000
        self.memory.data[response : response + 108] = b"\xee" * 108
        readable, writable = [(BUFFERS_AT, len(header))], [(response, 108)]
        if out:
            self.memory.data[data : data + len(out)] = out
            readable.append((data, len(out)))
        if room:
            writable.append((data, room))
        head = queue.add(readable, writable, **how)
        self.kick()
        used = queue.take_used()
        assert [element[0] for element in used] == [head], self.events
        raw = bytes(self.memory.data[response : response + 108])
        return Response(raw, bytes(self.memory.data[data : data + room]), used[0][1])

    def control(self, request: bytes, answer_bytes: int) -> bytes:
        """Send one control request and return what was written."""
        self.memory.data[BUFFERS_AT : BUFFERS_AT + len(request)] = request
        answer = BUFFERS_AT + 0x1000
        self.queues[CONTROL].add([(BUFFERS_AT, len(request))], [(answer, answer_bytes)])
        self.kick(CONTROL)
        assert len(self.queues[CONTROL].take_used()) == 1
        return bytes(self.memory.data[answer : answer + answer_bytes])

    def tmf(self, function: int, lun: bytes = LUN0, tag: int = 0) -> int:
        return self.control(struct.pack("<II8sQ", 0, function, lun, tag), 1)[0]

    @property
    def broken(self) -> bool:
        return bool(self.host.transport.status & r.DEVICE_NEEDS_RESET)


class Response:
    """What the host answered to a command."""

    def __init__(self, raw: bytes, data: bytes, written: int) -> None:
        fields = struct.unpack_from("<IIHBB", raw)
        self.sense_len, self.residual, self.qualifier, self.status, self.response = fields
        self.sense, self.data, self.written = raw[12:], data, written


class DriverQueue:
    """The driver's end of a queue."""

    def __init__(self, memory: Memory, number: int, size: int, *, legacy: bool = False) -> None:
        self.memory, self.size = memory, size
        self.desc = QUEUES_AT + QUEUE_STEP * number
        self.avail = self.desc + 16 * size
        self.used = -(-(self.avail + 6 + 2 * size) // 4096) * 4096 if legacy else self.desc + 0x2000
        self.indirect = self.desc + 0x3000
        self.next_desc = self.seen = 0

    def word(self, address: int, value: int | None = None) -> int:
        if value is not None:
            self.memory.data[address : address + 2] = value.to_bytes(2, "little")
        return int.from_bytes(self.memory.data[address : address + 2], "little")

    def descriptor(self, index: int, address: int, length: int, flags: int, following: int = 0) -> None:
        at = self.desc + 16 * index
        self.memory.data[at : at + 16] = struct.pack("<QIHH", address, length, flags, following)

    def add(
        self,
        readable: Sequence[tuple[int, int]],
        writable: Sequence[tuple[int, int]],
        indirect: bool = False,
        mixed: bool = False,
    ) -> int:
        """Make one buffer available; `indirect`, but if `mixed` for its first descriptor."""
        entries = [(*piece, 0) for piece in readable] + [(*piece, WRITE) for piece in writable]
        head = self.next_desc
        direct = len(entries) if not indirect else 1 if mixed else 0
        for place, (address, length, flags) in enumerate(entries[:direct]):
            last = place == direct - 1 and not indirect
            index = (head + place) % self.size
            self.descriptor(index, address, length, flags | (0 if last else NEXT), (index + 1) % self.size)
        if indirect:
            rest = entries[direct:]
            table = b"".join(
                struct.pack("<QIHH", a, n, f | (NEXT if at < len(rest) - 1 else 0), at + 1)
                for at, (a, n, f) in enumerate(rest)
            )
            self.memory.data[self.indirect : self.indirect + len(table)] = table
            self.descriptor((head + direct) % self.size, self.indirect, len(table), INDIRECT)
            direct += 1
        self.next_desc = (head + direct) % self.size
        self.offer(head)
        return head

    def offer(self, head: int) -> None:
        index = self.word(self.avail + 2)
        self.word(self.avail + 4 + 2 * (index % self.size), head)
        self.word(self.avail + 2, index + 1 & 0xFFFF)

    def take_used(self) -> list[tuple[int, int]]:
        taken = []
        while self.seen != self.word(self.used + 2):
            at = self.used + 4 + 8 * (self.seen % self.size)
            taken.append(struct.unpack("<II", self.memory.data[at : at + 8]))
            self.seen = self.seen + 1 & 0xFFFF
        return taken
