"""A SCSI target: up to eight logical units behind one address on a bus.

What no unit answers for is answered here: REPORT LUNS, and commands to a LUN that is not there.

Sources:
    [SPC-2] T10/1236D revision 20, §7.19 REPORT LUNS; §7.3.1, §6.5 (incorrect logical unit selection).
    [SAM-2] T10/1157D revision 24, §4.12 logical unit numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from devices.backplane import DeviceState
from devices.saved import fitting, require
from devices.scsi.commands import INQUIRY, LONGEST_CDB, REPORT_LUNS, be
from devices.scsi.disk import ScsiDisk, ScsiDiskState
from devices.scsi.inquiry import CMDDT, EVPD, NO_DEVICE, InquiryIdentity, standard
from devices.scsi.mmc import CdRom, CdRomState
from devices.scsi.sense import INVALID_FIELD, NO_SENSE, NO_SUCH_LUN, Sense, fixed_sense
from devices.scsi.task import FIRST_LUN, Task, TaskState
from devices.scsi.tasks import Reply
from devices.scsi.unit import IGNORES_ATTENTION, Answer, ScsiUnit

LUN_BYTES: Final = 8
LEAST_ALLOCATION: Final = 16  # of REPORT LUNS
ALL_LUNS: Final = (0x00, 0x02)  # SELECT REPORT; 01h is for well-known units, of which there are none
WELL_KNOWN_LUNS: Final = 0x01

Unit = ScsiDisk | CdRom


class ScsiTargetState(DeviceState, frozen=True, kw_only=True):
    """Everything a snapshot must hold of a target but the open tasks of its units."""

    units: dict[int, ScsiDiskState | CdRomState]
    absent_sense: Sense


STATES: Final = {ScsiDisk: ScsiDiskState, CdRom: CdRomState}


class ScsiTarget:
    """Units by LUN."""

    def __init__(self, units: Mapping[int, Unit], identity: InquiryIdentity | None = None) -> None:
        self.units = dict(units)
        first = self.units.get(FIRST_LUN)
        self.name = first.name if first is not None else "target"
        self._absent = AbsentUnit(identity or InquiryIdentity(product="", version=4, response_format=2))

    def start(self, lun: int, cdb: bytes) -> Task:
        """Begin a command in a logical unit, whether there is one or not."""
        unit = self._unit(lun)
        return self._report_luns(unit, cdb) if cdb[:1] == bytes([REPORT_LUNS]) else unit.start(cdb)

    def refuse(self, lun: int, sense: Sense) -> Task:
        """Return a command that a unit did not get, for a reason that is the transport's."""
        return self._unit(lun).failed(sense)

    def check(self, lun: int, state: TaskState) -> None:
        """Raise StateError unless `resume` can take up the command that `state` was saved from."""
        self._unit(lun).check(state)

    def resume(self, lun: int, state: TaskState) -> Task:
        """Return the command that `state` was saved from; `check` has found nothing."""
        return self._unit(lun).resume(state)

    def sense_data(self, lun: int) -> bytes:
        """Take the sense data of the last CHECK CONDITION of a unit; b"" when there is none."""
        return self._unit(lun).sense_data()

    def pending_sense(self, lun: int) -> bytes:
        """Return what `sense_data` would take, and leave it there; for traces."""
        sense = self._unit(lun).sense
        return b"" if sense == NO_SENSE else fixed_sense(sense)

    def abort(self, lun: int) -> None:
        """Forget what a unit has to say of commands that their initiator aborts, its tasks with them."""
        self._unit(lun).sense = NO_SENSE

    def reset(self) -> None:
        """Reset every unit: bus reset, bus device reset, power on."""
        self._absent.sense = NO_SENSE
        for unit in self.units.values():
            unit.reset()

    def save(self) -> ScsiTargetState:
        """Return the state."""
        units = {lun: unit.save() for lun, unit in self.units.items()}
        return ScsiTargetState(units=units, absent_sense=self._absent.sense)

    def load(self, state: ScsiTargetState) -> None:
        """Become `state`, which is of a target with the same units, or raise StateError."""
        state = fitting(self.name, state)
        kinds = {lun: STATES[type(unit)] for lun, unit in self.units.items()}
        saved_kinds = {lun: type(saved) for lun, saved in state.units.items()}
        require(kinds == saved_kinds, self.name, "it has other logical units")
        self._absent.sense = state.absent_sense
        for lun, saved in state.units.items():
            match self.units[lun], saved:
                case (ScsiDisk() as disk, ScsiDiskState()):
                    disk.load(saved)
                case (CdRom() as drive, CdRomState()):
                    drive.load(saved)

    def _unit(self, lun: int) -> ScsiUnit:
        return self.units.get(lun, self._absent)

    def _report_luns(self, unit: ScsiUnit, cdb: bytes) -> Task:
        cdb = cdb.ljust(LONGEST_CDB, b"\0")
        unit.sense = NO_SENSE
        length = be(cdb[6:10])
        if length < LEAST_ALLOCATION or cdb[2] not in (*ALL_LUNS, WELL_KNOWN_LUNS):
            return unit.failed(INVALID_FIELD)
        found = sorted(self.units) if cdb[2] in ALL_LUNS else []
        listed = b"".join(bytes([0, lun]).ljust(LUN_BYTES, b"\0") for lun in found)
        return Reply((len(listed).to_bytes(4, "big") + bytes(4) + listed)[:length])


class AbsentUnit(ScsiUnit):
    """What answers for logical units that are not there."""

    def __init__(self, identity: InquiryIdentity) -> None:
        super().__init__("absent")
        self._identity = identity
        self._attention = []
        self._commands[INQUIRY] = (self._inquiry, IGNORES_ATTENTION)

    def start(self, cdb: bytes) -> Task:
        """Begin a command: INQUIRY and REQUEST SENSE say that there is no unit, others fail."""
        if not cdb or cdb[0] not in self._commands:
            return self.failed(NO_SUCH_LUN)
        return super().start(cdb)

    def _inquiry(self, cdb: bytes) -> Answer:
        if cdb[1] & (EVPD | CMDDT) or cdb[2]:
            return INVALID_FIELD
        return standard(NO_DEVICE, self._identity)[: be(cdb[3:5])]

    def _request_sense(self, cdb: bytes) -> Answer:
        self.sense = NO_SUCH_LUN  # with or without a failed command before, [SPC-2] §7.20.1
        return super()._request_sense(cdb)
