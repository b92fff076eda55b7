"""The REPORT LUNS well-known logical unit of a virtio-scsi host: it lists the units of all targets.

Sources:
    [VIRTIO-1.1] Virtual I/O Device (VIRTIO) Version 1.1, §5.6.6.1 (C1h 01h and six zero bytes).
    [SPC-2] T10/1236D revision 20, §7.19 REPORT LUNS.
    [SAM-2] T10/1157D revision 24, §4.9.10 well-known logical units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from devices.scsi.commands import INQUIRY, REPORT_LUNS, TEST_UNIT_READY, be
from devices.scsi.inquiry import CMDDT, EVPD, FORMAT_SPC, VERSION_SPC_2, InquiryIdentity, standard
from devices.scsi.sense import INVALID_FIELD
from devices.scsi.target import LEAST_ALLOCATION, LUN_BYTES, ScsiTarget
from devices.scsi.task import FIRST_LUN, Task
from devices.scsi.unit import IGNORES_ATTENTION, Answer, ScsiUnit

DEVICE_WELL_KNOWN: Final = 0x1E  # peripheral device type
FLAT: Final = 0x40
_IDENTITY: Final = InquiryIdentity(product="REPORT LUNS", version=VERSION_SPC_2, response_format=FORMAT_SPC)


class ReportLuns(ScsiUnit):
    """Says what a host reaches, each unit by the eight bytes that address it in a request."""

    def __init__(self, targets: Mapping[int, ScsiTarget]) -> None:
        super().__init__("report luns")
        self._targets = targets
        self._attention = []
        self._commands |= {
            TEST_UNIT_READY: (self._accept, IGNORES_ATTENTION),
            INQUIRY: (self._inquiry, IGNORES_ATTENTION),
            REPORT_LUNS: (self._report_luns, IGNORES_ATTENTION),
        }

    def reset(self) -> None:
        """Forget the sense data; there is nothing a reset would be news for."""
        super().reset()
        self._attention = []

    def _accept(self, cdb: bytes) -> Answer:
        return b""

    def _inquiry(self, cdb: bytes) -> Answer:
        if cdb[1] & (EVPD | CMDDT) or cdb[2]:
            return INVALID_FIELD
        return standard(DEVICE_WELL_KNOWN, _IDENTITY)[: be(cdb[3:5])]

    def _report_luns(self, cdb: bytes) -> Answer:
        length = be(cdb[6:10])
        if length < LEAST_ALLOCATION:
            return INVALID_FIELD
        listed = b"".join(
            bytes((1, number, FLAT | lun >> 8, lun & 0xFF)).ljust(LUN_BYTES, b"\0")
            for number, target in sorted(self._targets.items())
            for lun in sorted(target.units)
        )
        return (len(listed).to_bytes(4, "big") + bytes(4) + listed)[:length]


class WellKnownTarget:
    """What the address of the REPORT LUNS unit reaches: that unit, asked as any target is."""

    def __init__(self, targets: Mapping[int, ScsiTarget]) -> None:
        self._unit = ReportLuns(targets)
        self.units = {FIRST_LUN: self._unit}

    def start(self, lun: int, cdb: bytes) -> Task:
        """Begin a command."""
        return self._unit.start(cdb)

    def sense_data(self, lun: int) -> bytes:
        """Take the sense data of the last CHECK CONDITION."""
        return self._unit.sense_data()

    def abort(self, lun: int) -> None:
        """Forget the sense data."""
        self._unit.reset()

    def reset(self) -> None:
        """Forget the sense data."""
        self._unit.reset()
