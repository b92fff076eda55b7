"""The parallel bus in front of real logical units: what a unit says reaches the command it is about."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from devices.aic7870 import faults as f
from devices.aic7870 import messages as m
from devices.aic7870 import registers as r
from devices.aic7870.chip import Aic7870
from devices.aic7870.nexus import COMMAND, DATA_IN, MESSAGE_IN, MESSAGE_OUT, STATUS
from devices.saved import StateError
from devices.scsi.disk import ScsiDisk
from devices.scsi.inquiry import cd_identity
from devices.scsi.mmc import CdRom
from devices.scsi.sense import NO_SENSE, OUT_OF_RANGE, OVERLAPPED, UNRECOVERED_READ, WRITE_ERROR, Sense
from devices.scsi.target import ScsiTarget
from devices.scsi.task import CHECK_CONDITION, GOOD
from tests.devices.aic7870.rig import Rig, read10
from tests.devices.ide_rig import MemoryImage
from tests.devices.ide_rig import pattern as sector

IDENTIFY = m.IDENTIFY
TAGGED = bytes((m.IDENTIFY | m.IDENTIFY_DISCONNECT, m.SIMPLE_QUEUE_TAG, 9))
BLOCKS = 1024
WORN = 300  # in the first half of what is written, from 100 on
WRITE_512 = bytes((0x2A, 0, 0, 0, 0, 100, 0, 2, 0, 0))
READ_8 = bytes((0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0))
TEST_UNIT_READY = bytes(6)


def rig_with(policy: str = f.NEVER) -> tuple[Rig, ScsiTarget]:
    """A rig whose target 0 is a disk with a worn block and, at LUN 1, a CD-ROM; nothing to tell."""
    rig = Rig()
    image = MemoryImage(BLOCKS)
    image.bad.add(WORN)
    disc = CdRom("cd", MemoryImage(BLOCKS), cd_identity())
    target = ScsiTarget({0: ScsiDisk("disk", image), 1: disc})
    rig.chip = chip_with(rig, {0: target})
    rig.chip.bus.peripherals[0].policy = policy
    return rig, target


def chip_with(rig: Rig, targets: Mapping[int, ScsiTarget]) -> Aic7870:
    chip = Aic7870("scsi0", rig.memory, rig.clock, rig.line, targets, rig.events)
    chip.set_master(True)
    for target in targets.values():
        for lun in target.units:
            target.start(lun, TEST_UNIT_READY)  # told of its reset
    chip.write(r.HCNTRL, 1, r.PAUSE)
    chip.write(r.SXFRCTL1, 1, 0x20 | r.ENSTIMER)
    return chip


def sense_of(target: ScsiTarget) -> Sense:
    return target.units[0].sense


def test_a_write_that_fails_gets_its_status_before_it_lets_go_of_the_bus() -> None:
    """Another command would take the sense data away, and the failure would look like no failure."""
    rig, target = rig_with(f.MID_DATA)
    result = rig.command(WRITE_512, 0x1000, 512 * 512, messages=TAGGED)
    assert (result.status, result.messages) == (CHECK_CONDITION, b"\x04\x80\x20\x09\0")
    assert sense_of(target) == WRITE_ERROR.at(WORN)


def test_a_first_block_that_cannot_be_read_is_told_without_a_data_phase() -> None:
    """[SCSI-2] §6.1.7.1: a target asks for the DATA IN phase when it has data to send."""
    rig, target = rig_with()
    result = rig.command(read10(2, WORN), 0x1000, 1024)
    assert (result.status, result.left) == (CHECK_CONDITION, 1024)
    assert result.phases == [MESSAGE_OUT, COMMAND, STATUS, MESSAGE_IN]
    assert sense_of(target) == UNRECOVERED_READ.at(WORN)


@pytest.mark.parametrize("good", [0, 1, 300])
def test_byte_by_byte_a_bad_block_offers_no_byte(good: int) -> None:
    """Blocks before it come whole; 300 are more than a unit fetches ahead."""
    rig, target = rig_with()
    assert rig.select(0)
    rig.send(IDENTIFY)
    rig.send(*read10(good + 1, WORN - good))
    taken = bytearray()
    while rig.phase == DATA_IN:
        taken.append(rig.take())
    assert taken == b"".join(sector(at) for at in range(WORN - good, WORN))
    assert rig.phase == STATUS
    assert rig.take() == CHECK_CONDITION
    assert sense_of(target) == UNRECOVERED_READ.at(WORN)


def test_a_command_that_fails_at_once_does_not_disconnect_first() -> None:
    rig, target = rig_with(f.BEFORE_DATA)
    result = rig.command(bytes((0x28, 0, 0xFF, *bytes(5), 1, 0)), messages=TAGGED)
    assert (result.status, result.messages) == (CHECK_CONDITION, b"\0")
    assert sense_of(target) == OUT_OF_RANGE


def test_a_failed_commands_sense_data_are_kept_until_they_are_taken() -> None:
    """[SCSI-2] §7.6: no other command goes on before that. It may fail as well; each is told of its own."""
    rig, _ = rig_with(f.BEFORE_DATA)
    for tag in (1, 2):
        assert rig.select(0)
        rig.send(m.IDENTIFY | m.IDENTIFY_DISCONNECT, m.SIMPLE_QUEUE_TAG, tag)
        rig.send(0x2A, 0, 0, 0, *(WORN - tag).to_bytes(2, "big"), 0, 0, 4, 0)
        assert rig.take() == m.DISCONNECT
    for _ in range(2):
        rig.write(r.CLRSINT1, r.BUSFREE)
        rig.advance(1_000_000)
        assert rig.status0(r.SELDI)
        rig.write(r.CLRSINT0, r.SELDI)
        assert rig.finish(b"", 0x1000, 4 * 512).status == CHECK_CONDITION
        rig.write(r.CLRSINT1, r.BUSFREE)
        rig.advance(1_000_000)
        assert not rig.status0(r.SELDI)
        sense = rig.command(bytes((0x03, 0, 0, 0, 18, 0)), 0x4000, 18)
        assert sense.status == GOOD
        assert rig.memory.data[0x4002] == WRITE_ERROR.key
        assert rig.memory.data[0x4003:0x4007] == WORN.to_bytes(4, "big")


def test_a_tag_in_use_is_told_by_the_unit() -> None:
    rig, target = rig_with(f.BEFORE_DATA)
    assert rig.select(0)
    rig.send(*TAGGED)
    rig.send(*READ_8)
    assert rig.take() == m.DISCONNECT
    assert rig.command(TEST_UNIT_READY, messages=bytes((IDENTIFY, 0x20, 9))).status == CHECK_CONDITION
    assert sense_of(target) == OVERLAPPED
    rig.advance(1_000_000)
    assert not rig.status0(r.SELDI)  # the first was aborted
    assert rig.command(TEST_UNIT_READY, messages=TAGGED).status == GOOD
    assert sense_of(target) == NO_SENSE


@pytest.mark.parametrize("identified", [True, False])
def test_who_names_another_unit_in_a_command_loses_the_bus(identified: bool) -> None:
    rig, _ = rig_with()
    assert rig.select(0, attention=identified)
    if identified:
        rig.send(IDENTIFY)
    rig.send(*READ_8, last=False)
    rig.write(r.SCSISIGO, rig.phase | r.ATN_LINE)
    rig.take()
    rig.send(IDENTIFY | 1)
    assert rig.status1(r.BUSFREE)
    assert rig.command(READ_8, 0x1000, 8 * 512).status == GOOD


def test_a_tag_that_comes_when_the_command_is_under_way_is_rejected() -> None:
    rig, _ = rig_with()
    assert rig.select(0)
    rig.send(IDENTIFY)
    assert rig.phase == COMMAND
    rig.send(*TEST_UNIT_READY, last=False)
    assert rig.phase == STATUS
    rig.write(r.SCSISIGO, STATUS | r.ATN_LINE)
    rig.take()
    rig.send(m.SIMPLE_QUEUE_TAG, 5)
    assert rig.take() == m.MESSAGE_REJECT


def test_a_chip_saved_with_other_devices_on_its_bus_is_refused() -> None:
    rig, _ = rig_with()
    assert rig.select(0)
    state = rig.chip.save()
    rig.chip = chip_with(rig, {})
    with pytest.raises(StateError, match=r"scsi0: .* other devices on the bus"):
        rig.chip.load(state)
    assert rig.read(r.SCSISIGI) == 0
