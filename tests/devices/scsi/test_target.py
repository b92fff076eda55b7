"""A target: units by LUN, and what is said of those that are not there."""

from __future__ import annotations

import msgspec
import pytest

from devices.saved import StateError
from devices.scsi import commands as s
from devices.scsi.disk import ScsiDisk
from devices.scsi.inquiry import cd_identity
from devices.scsi.mmc import CdRom
from devices.scsi.target import ScsiTarget, ScsiTargetState
from devices.scsi.task import CHECK_CONDITION, GOOD
from tests.devices.ide_rig import MemoryImage, pattern
from tests.devices.scsi.rig import move

ABSENT = 5
TEST_UNIT_READY = bytes(6)
INQUIRY = bytes([s.INQUIRY, 0, 0, 0, 36, 0])
REQUEST_SENSE = bytes([s.REQUEST_SENSE, 0, 0, 0, 18, 0])


def report(select: int = 0, length: int = 256) -> bytes:
    return bytes([s.REPORT_LUNS, 0, select, 0, 0, 0, *length.to_bytes(4, "big"), 0, 0])


@pytest.fixture
def target() -> ScsiTarget:
    return ScsiTarget(
        {0: ScsiDisk("sda", MemoryImage(100)), 3: CdRom("sr0", MemoryImage(400), cd_identity())}
    )


def test_a_command_reaches_the_unit_of_its_lun(target: ScsiTarget) -> None:
    assert [move(target.start(lun, INQUIRY))[0] for lun in (0, 3)] == [0x00, 0x05]


def test_inquiry_of_an_absent_unit_says_so(target: ScsiTarget) -> None:
    """[SPC-2] §7.3.1: qualifier 011b, device type 1Fh."""
    task = target.start(ABSENT, INQUIRY)
    assert (task.status, move(task)[0], target.sense_data(ABSENT)) == (GOOD, 0x7F, b"")


def test_other_commands_to_an_absent_unit_fail(target: ScsiTarget) -> None:
    """[SPC-2] §7.3.1: LOGICAL UNIT NOT SUPPORTED."""
    for cdb in (TEST_UNIT_READY, bytes([s.READ_10, *bytes(9)]), b"", b"\xff"):
        assert target.start(ABSENT, cdb).status == CHECK_CONDITION
        assert target.sense_data(ABSENT)[2:13:10] == bytes([5, 0x25])


def test_request_sense_of_an_absent_unit_is_good_and_says_so(target: ScsiTarget) -> None:
    """[SPC-2] §7.20.1."""
    task = target.start(ABSENT, REQUEST_SENSE)
    assert task.status == GOOD
    assert move(task)[2:13:10] == bytes([5, 0x25])


def test_report_luns_lists_the_units_of_any_lun_asked(target: ScsiTarget) -> None:
    """[SPC-2] §7.19: eight bytes each; a pending unit attention stays."""
    expected = (16).to_bytes(4, "big") + bytes(4) + bytes(8) + b"\0\3" + bytes(6)
    for lun in (0, 3, ABSENT):
        assert move(target.start(lun, report())) == expected
    assert target.start(0, TEST_UNIT_READY).status == CHECK_CONDITION
    assert target.sense_data(0)[2:13:10] == bytes([6, 0x29])


def test_report_luns_is_cut_and_refuses_lengths_below_16(target: ScsiTarget) -> None:
    """[SPC-2] §7.19: the list length tells of all of them nevertheless."""
    assert move(target.start(0, report(length=16))) == (16).to_bytes(4, "big") + bytes(12)
    assert target.start(0, report(length=15)).status == CHECK_CONDITION
    assert target.sense_data(0)[12] == 0x24


def test_report_luns_of_well_known_units_and_of_a_report_there_is_not(target: ScsiTarget) -> None:
    """[SPC-3] §6.21: SELECT REPORT."""
    assert move(target.start(0, report(select=1))) == bytes(8)
    assert len(move(target.start(0, report(select=2)))) == 24
    assert target.start(0, report(select=3)).status == CHECK_CONDITION


def test_sense_data_is_kept_by_unit(target: ScsiTarget) -> None:
    """[SAM-2] §5.8.6."""
    target.start(0, TEST_UNIT_READY)
    target.start(3, b"\xee")
    assert (target.sense_data(0)[12], target.sense_data(3)[12]) == (0x29, 0x20)


def test_an_aborted_unit_has_nothing_to_say(target: ScsiTarget) -> None:
    target.start(0, b"\xee")
    target.abort(0)
    assert target.sense_data(0) == b""
    target.abort(ABSENT)


def test_a_reset_reaches_all_units(target: ScsiTarget) -> None:
    for lun in (0, 3):
        target.start(lun, TEST_UNIT_READY)
        assert target.start(lun, TEST_UNIT_READY).status == GOOD
    target.start(0, b"\xee")
    target.reset()
    assert target.sense_data(0) == b""
    for lun in (0, 3):
        assert target.start(lun, TEST_UNIT_READY).status == CHECK_CONDITION
        assert target.sense_data(lun)[12] == 0x29


def test_a_target_goes_on_where_it_was_saved(target: ScsiTarget) -> None:
    target.start(0, TEST_UNIT_READY)
    target.start(3, TEST_UNIT_READY)
    target.start(3, b"\xee")
    task = target.start(0, bytes([s.READ_10, 0, 0, 0, 0, 7, 0, 0, 2, 0]))
    task.give(600)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(target.save()), type=ScsiTargetState)
    twin = ScsiTarget({0: ScsiDisk("sda", MemoryImage(100)), 3: CdRom("sr0", MemoryImage(400))})
    twin.load(state)
    assert move(twin.resume(0, task.save())) == pattern(8)[88:]
    assert twin.save() == target.save()
    assert twin.sense_data(3)[12] == 0x20


def test_a_state_of_other_units_is_refused(target: ScsiTarget) -> None:
    with pytest.raises(StateError, match="other logical units"):
        ScsiTarget({0: CdRom("sr0"), 3: CdRom("sr1")}).load(target.save())
