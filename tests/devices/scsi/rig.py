"""A bench for logical units: an initiator that moves all data of a command, and can be saved half way."""

from __future__ import annotations

from devices.backplane import DeviceState, PortBank
from devices.scsi.disk import ScsiDisk, ScsiDiskState
from devices.scsi.mmc import CdRom, CdRomState
from devices.scsi.task import CHECK_CONDITION, GOOD, Task, TaskState
from devices.scsi.tasks import Reply

Unit = ScsiDisk | CdRom


def run(unit: Unit, *cdb: int, out: bytes = b"", piece: int = 1 << 20) -> bytes:
    """Run a command that ends well and takes all of `out`; return its data."""
    task = unit.start(bytes(cdb))
    data = move(task, out, piece)
    assert task.status == GOOD, unit.sense
    return data


def move(task: Task, out: bytes = b"", piece: int = 1 << 20) -> bytes:
    """Move all data of a command; return what it gave."""
    data, at = b"", 0
    while task.data_in:
        data += task.give(piece)
    while task.data_out and at < len(out):
        task.take(out[at : at + piece])
        at += piece
    return data


def refused(unit: Unit, *cdb: int, out: bytes = b"") -> tuple[int, ...]:
    """Run a command that fails; return sense key, code and qualifier."""
    task = unit.start(bytes(cdb))
    move(task, out)
    assert (task.status, task.data_in, task.data_out) == (CHECK_CONDITION, 0, 0)
    return tuple(unit.sense[:3])


class InitiatorState(DeviceState, frozen=True, kw_only=True):
    unit: ScsiDiskState | CdRomState
    task: TaskState


class Initiator:
    """One open command after the other; a device to the contract suite."""

    name = "initiator"

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.task: Task = Reply()
        self.packets = PortBank("packets", self._read, self._write)

    def start(self, *cdb: int) -> Task:
        self.task = self.unit.start(bytes(cdb))
        return self.task

    def _read(self, offset: int, size: int) -> int:
        return int.from_bytes(self.task.give(size), "little")

    def _write(self, offset: int, size: int, value: int) -> None:
        """Data if the command wants it, else a command: four bytes of a CDB, and a length."""
        data = value.to_bytes(4, "little")
        if self.task.data_out:
            self.task.take(data * 100)
        else:
            self.start(*data, 0, 0, 0, 0, 2, 0)

    def reset(self) -> None:
        self.unit.reset()
        self.task = Reply()

    def save(self) -> InitiatorState:
        return InitiatorState(unit=self.unit.save(), task=self.task.save())

    def load(self, state: InitiatorState) -> None:
        self.unit.load(state.unit)  # type: ignore[arg-type]
        self.task = self.unit.resume(state.task)
