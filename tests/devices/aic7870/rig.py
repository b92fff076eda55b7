"""A bench for the AIC-7870: guest memory, small targets, and a driver that leaves the sequencer paused."""

from __future__ import annotations

from typing import NamedTuple

from devices.aic7870 import registers as r
from devices.aic7870.chip import Aic7870
from devices.aic7870.nexus import COMMAND, DATA_IN, DATA_OUT, MESSAGE_IN, MESSAGE_OUT, STATUS
from devices.backplane import TraceEvent
from devices.scsi.sense import Sense
from devices.scsi.task import CHECK_CONDITION, GOOD, Task, TaskState
from tests.devices.timed_rig import TimedRig
from vmm.clock import MachineClock

MEMORY_BYTES = 4 << 20
OWN_ID = 7
POLLS = 1000


class SmallTask:
    """A command of `SmallTarget`: data in, or data out that is kept."""

    def __init__(self, state: TaskState, target: SmallTarget) -> None:
        self.state, self.target = state, target
        self.data = bytearray(state.data)
        self.out = state.left
        self.status = state.status

    @property
    def data_in(self) -> int:
        return len(self.data) if self.state.kind == "in" else 0

    @property
    def data_out(self) -> int:
        return self.out

    def ready(self) -> bool:
        return self.data_in > 0

    def give(self, limit: int) -> bytes:
        piece = bytes(self.data[:limit])
        del self.data[:limit]
        return piece

    def take(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data
        self.out -= len(data)
        assert self.out >= 0
        if not self.out:
            self.target.written = bytes(self.data)

    def save(self) -> TaskState:
        return TaskState(kind=self.state.kind, data=bytes(self.data), left=self.out, status=self.status)


class SmallTarget:
    """0 GOOD, 12h and 28h give a pattern, 2Ah takes, all as long as bytes 7 and 8 say; 1 CHECK CONDITION."""

    def __init__(self) -> None:
        self.commands: list[tuple[int, bytes]] = []
        self.written = b""
        self.resets = 0
        self.failed = False  # the last command
        self.aborted: list[int] = []
        self.refusals: list[tuple[int, Sense]] = []

    def start(self, lun: int, cdb: bytes) -> Task:
        self.commands.append((lun, cdb))
        self.failed = cdb[0] == 1
        length = cdb[4] if cdb[0] == 0x12 else int.from_bytes(cdb[7:9], "big") if len(cdb) > 6 else 0
        if cdb[0] in (0x12, 0x28):
            state = TaskState(kind="in", data=pattern(length))
        elif cdb[0] == 0x2A:
            state = TaskState(kind="out", left=length)
        else:
            state = TaskState(kind="none", status=CHECK_CONDITION if cdb[0] == 1 else GOOD)
        return SmallTask(state, self)

    def refuse(self, lun: int, sense: Sense) -> Task:
        self.refusals.append((lun, sense))
        return SmallTask(TaskState(kind="none", status=CHECK_CONDITION), self)

    def check(self, lun: int, state: TaskState) -> None:
        """Take any."""

    def resume(self, lun: int, state: TaskState) -> Task:
        return SmallTask(state, self)

    def pending_sense(self, lun: int) -> bytes:
        return b"sense" if self.failed else b""

    def reset(self) -> None:
        self.resets += 1

    def abort(self, lun: int) -> None:
        self.aborted.append(lun)


def pattern(length: int) -> bytes:
    """Bytes that tell where they are."""
    return bytes((at * 7 + (at >> 8)) & 0xFF for at in range(length))


class Memory:
    """Guest memory."""

    def __init__(self) -> None:
        self.data = bytearray(MEMORY_BYTES)

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.data[address : address + length]).ljust(length, b"\xff")

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        room = max(0, min(len(data), MEMORY_BYTES - address))
        self.data[address : address + room] = data[:room]


class Events:
    """A tracer that keeps everything."""

    def __init__(self) -> None:
        self.all: list[TraceEvent] = []

    def emit(self, event: TraceEvent) -> None:
        self.all.append(event)


class Result(NamedTuple):
    """How a command by paused PIO ended; `phases` in order, without repetitions."""

    status: int | None
    phases: list[int]
    messages: bytes
    left: int


class Rig(TimedRig):
    """A chip with targets at 0 and 3, after the start of a driver: paused, the selection timer on."""

    def __init__(self, clock: MachineClock | None = None, wide: bool = False) -> None:
        super().__init__(clock)
        self.memory = Memory()
        self.target, self.other = SmallTarget(), SmallTarget()
        self.events = Events()
        targets = {0: self.target, 3: self.other, OWN_ID: SmallTarget(), 9: SmallTarget()}
        self.chip = Aic7870("scsi0", self.memory, self.clock, self.line, targets, self.events, wide=wide)
        self.chip.set_master(True)
        self.write(r.HCNTRL, r.PAUSE)
        self.write(r.SXFRCTL1, 0x20 | r.ENSTIMER)

    def read(self, address: int, size: int = 1) -> int:
        return self.chip.read(address, size)

    def write(self, address: int, value: int, size: int = 1) -> None:
        self.chip.write(address, size, value)

    def status0(self, bits: int) -> int:
        return self.read(r.SSTAT0) & bits

    def status1(self, bits: int) -> int:
        return self.read(r.SSTAT1) & bits

    @property
    def phase(self) -> int:
        return self.read(r.SCSISIGI) & r.PHASE_BITS

    def select(self, target: int, attention: bool = True) -> bool:
        """Arbitrate and select; False after a time-out."""
        self.write(r.SCSIID, target << 4 | OWN_ID)
        self.write(r.SXFRCTL0, 0x80 | r.SPIOEN | r.CLRSTCNT | r.CLRCHN)
        self.write(r.CLRSINT1, 0xFF)
        self.write(r.CLRSINT0, 0x7F)
        self.write(r.SCSISEQ, r.ENSELO | (r.ENAUTOATNO if attention else 0))
        for _ in range(POLLS):
            if self.status0(r.SELDO):
                self.write(r.SCSISEQ, r.ENRSELI)
                self.write(r.CLRSINT0, r.SELDO)
                return True
            if self.status1(r.SELTO):
                self.write(r.SCSISEQ, 0)
                self.write(r.CLRSINT1, r.SELTO)
                return False
        raise AssertionError("neither selected nor timed out")

    def follow(self) -> int:
        """Accept the phase the target shows, and return it."""
        assert self.status1(r.REQINIT)
        phase = self.phase
        self.write(r.SCSISIGO, phase)
        return phase

    def send(self, *data: int, last: bool = True) -> None:
        """Give bytes of an OUT phase; ATN falls before the last."""
        for at, byte in enumerate(data):
            self.follow()
            if last and at == len(data) - 1:
                self.write(r.CLRSINT1, r.CLRATNO)
            self.write(r.SCSIDATL, byte)

    def take(self) -> int:
        """Take a byte of an IN phase."""
        self.follow()
        return self.read(r.SCSIDATL)

    def dma(self, phase: int, address: int, length: int) -> None:
        """Move the data phase the bus is in to or from memory."""
        self.write(r.HADDR, address, 4)
        self.write(r.HCNT, length, 2)
        self.write(r.HCNT + 2, length >> 16)
        self.write(r.STCNT, length, 2)
        self.write(r.STCNT + 2, length >> 16)
        direction = 0 if phase & r.IO_LINE else r.DIRECTION
        self.write(r.DFCNTRL, r.SCSIEN | r.SDMAEN | r.HDMAEN | r.FIFORESET | direction)
        for _ in range(POLLS):
            if self.status0(r.DMADONE) or self.status1(r.PHASEMIS):
                break
        self.write(r.DFCNTRL, 0)

    def command(
        self, cdb: bytes, address: int = 0, length: int = 0, target: int = 0, messages: bytes = b"\x80"
    ) -> Result:
        """A whole command by paused PIO; reselections are waited for."""
        if not self.select(target):
            return Result(None, [], b"", length)
        return self.finish(cdb, address, length, messages)

    def finish(self, cdb: bytes, address: int, length: int, messages: bytes = b"\x80") -> Result:
        """Lead a command from the selection to the bus free."""
        phases: list[int] = []
        received = bytearray()
        status: int | None = None
        out, block = bytearray(messages), bytearray(cdb)
        for _ in range(POLLS):
            if self.status1(r.BUSFREE):
                if not received.endswith(b"\x04"):
                    return Result(status, phases, bytes(received), length)
                self.write(r.CLRSINT1, r.BUSFREE)
                self.advance(1_000_000)
                assert self.status0(r.SELDI), "no reselection"
                self.write(r.CLRSINT0, r.SELDI)
            phase = self.follow()
            if phases[-1:] != [phase]:
                phases.append(phase)
            if phase == MESSAGE_OUT:
                if len(out) == 1:
                    self.write(r.CLRSINT1, r.CLRATNO)
                self.write(r.SCSIDATL, out.pop(0))
            elif phase == COMMAND:
                self.write(r.SCSIDATL, block.pop(0))
            elif phase in (DATA_IN, DATA_OUT):
                self.dma(phase, address, length)
                moved = length - int.from_bytes(bytes(self.read(r.STCNT + at) for at in range(3)), "little")
                address, length = address + moved, length - moved
                self.write(r.SXFRCTL0, 0x80 | r.SPIOEN | r.CLRSTCNT | r.CLRCHN)
            elif phase == STATUS:
                status = self.take()
            elif phase == MESSAGE_IN:
                received.append(self.take())
        raise AssertionError(f"no end: {phases}")


def inquiry(length: int) -> bytes:
    return bytes((0x12, 0, 0, 0, length, 0))


def read10(length: int, lba: int = 0) -> bytes:
    return bytes((0x28, 0, *lba.to_bytes(4, "big"), 0, *length.to_bytes(2, "big"), 0))


def write10(length: int) -> bytes:
    return bytes((0x2A, 0, 0, 0, 0, 0, 0, *length.to_bytes(2, "big"), 0))
