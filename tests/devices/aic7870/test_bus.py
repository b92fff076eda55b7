"""The parallel bus: messages, disconnection and reselection, aborts, faults made on purpose."""

from __future__ import annotations

import pytest

from devices.aic7870 import faults as f
from devices.aic7870 import messages as m
from devices.aic7870 import registers as r
from devices.aic7870.nexus import COMMAND, DATA_IN, MESSAGE_IN, MESSAGE_OUT, STATUS
from devices.aic7870.peripheral import MOST_TASKS
from devices.scsi.task import CHECK_CONDITION, GOOD, TASK_SET_FULL
from tests.devices.aic7870.rig import Rig, inquiry, pattern, read10, write10

IDENTIFY = m.IDENTIFY
MAY_DISCONNECT = m.IDENTIFY | m.IDENTIFY_DISCONNECT


def disconnecting(policy: str = f.BEFORE_DATA) -> Rig:
    rig = Rig()
    for peripheral in rig.chip.bus.peripherals.values():
        peripheral.policy = policy
    return rig


def park(rig: Rig, tag: int | None = None, target: int = 0, cdb: bytes = read10(512)) -> None:
    """Start a command that disconnects, and see the bus free."""
    assert rig.select(target)
    rig.send(MAY_DISCONNECT, *(() if tag is None else (m.SIMPLE_QUEUE_TAG, tag)))
    rig.send(*cdb)
    assert rig.take() == m.DISCONNECT
    assert rig.status1(r.BUSFREE)


def waiting(rig: Rig, target: int = 0) -> list[int | None]:
    """The tags of disconnected commands."""
    parked = rig.chip.bus.peripherals[target].disconnected
    return [None if nexus.tag is None else nexus.tag[1] for nexus in parked]


# --- messages out --------------------------------------------------------------------------------


def test_identify_names_the_unit() -> None:
    rig = Rig()
    rig.command(bytes(6), messages=bytes((IDENTIFY | 5,)))
    assert rig.target.commands[-1][0] == 5


def test_the_target_asks_for_messages_while_attention_is_true() -> None:
    rig = Rig()
    rig.select(0)
    rig.send(IDENTIFY, m.NO_OPERATION, m.NO_OPERATION, last=False)
    assert rig.phase == MESSAGE_OUT
    rig.send(m.NO_OPERATION)
    assert rig.phase == COMMAND


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (m.sdtr(0x19, 15), m.sdtr(0x19, 15)),
        (m.sdtr(0x0C, 31), m.sdtr(0x19, 15)),
        (m.sdtr(0x40, 0), m.sdtr(0x40, 0)),
        (m.wdtr(1), m.wdtr(0)),
        (b"\x01\x02\x05\x00", bytes((m.MESSAGE_REJECT,))),
        (b"\x11", bytes((m.MESSAGE_REJECT,))),
        (b"\x23\x01", bytes((m.MESSAGE_REJECT,))),
    ],
)
def test_negotiations_are_answered(asked: bytes, answer: bytes) -> None:
    rig = Rig()
    rig.select(0)
    rig.send(IDENTIFY, *asked)
    assert bytes(rig.take() for _ in answer) == answer
    assert rig.phase == COMMAND


def test_a_wide_target_agrees_to_16_bits_and_forgets_the_synchronous_agreement() -> None:
    rig = Rig(wide=True)
    peripheral = rig.chip.bus.peripherals[0]
    rig.select(0)
    rig.send(IDENTIFY, *m.sdtr(0x19, 8))
    for _ in range(5):
        rig.take()
    assert peripheral.synchronous == (0x19, 8)
    rig.write(r.SCSISIGO, COMMAND | r.ATN_LINE)
    rig.send(0, 0, 0, 0, 0, 0, last=False)
    rig.send(*m.wdtr(1))
    assert bytes(rig.take() for _ in range(4)) == m.wdtr(1)
    assert (peripheral.width, peripheral.synchronous) == (1, (0, 0))


def test_a_reject_of_the_answer_ends_the_agreement() -> None:
    rig = Rig()
    rig.select(0)
    rig.send(IDENTIFY, *m.sdtr(0x19, 8))
    for _ in range(4):
        rig.take()
    rig.write(r.SCSISIGO, MESSAGE_IN | r.ATN_LINE)
    rig.take()
    rig.send(m.MESSAGE_REJECT)
    assert rig.chip.bus.peripherals[0].synchronous == (0, 0)
    assert rig.phase == COMMAND


def test_a_message_parity_error_brings_the_message_again() -> None:
    rig = Rig()
    rig.select(0)
    rig.send(IDENTIFY)
    rig.send(*bytes(6))
    rig.take()
    rig.write(r.SCSISIGO, MESSAGE_IN | r.ATN_LINE)
    assert rig.take() == m.COMMAND_COMPLETE
    rig.send(m.MESSAGE_PARITY_ERROR)
    assert rig.phase == MESSAGE_IN
    assert rig.take() == m.COMMAND_COMPLETE
    assert rig.status1(r.BUSFREE)


def test_an_initiator_detected_error_restores_the_pointers_and_repeats_the_command() -> None:
    rig = Rig()
    rig.select(0)
    rig.send(IDENTIFY)
    rig.send(*inquiry(4))
    first = bytes(rig.take() for _ in range(3))
    rig.write(r.SCSISIGO, DATA_IN | r.ATN_LINE)
    rig.take()
    rig.send(m.INITIATOR_DETECTED_ERROR)
    assert rig.take() == m.RESTORE_POINTERS
    assert bytes(rig.take() for _ in range(4)) == pattern(4)
    assert first == pattern(3)
    assert rig.phase == STATUS


def test_attention_does_not_cut_a_message_in_two() -> None:
    rig = Rig()
    rig.select(0)
    rig.send(IDENTIFY, *m.sdtr(0x19, 8))
    rig.take()
    rig.write(r.SCSISIGO, MESSAGE_IN | r.ATN_LINE)
    assert bytes(rig.take() for _ in range(4)) == m.sdtr(0x19, 8)[1:]
    assert rig.phase == MESSAGE_OUT


def test_who_holds_attention_provokes_no_heap_of_answers() -> None:
    rig = Rig()
    rig.select(0)
    for _ in range(100):
        rig.send(0x11, last=False)
    rig.send(0x11)
    answers = 0
    while rig.phase == MESSAGE_IN:
        rig.take()
        answers += 1
    assert answers <= 8


# --- aborts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "left"),
    [(m.ABORT_TAG, [7]), (m.ABORT, []), (m.CLEAR_QUEUE, []), (m.BUS_DEVICE_RESET, [])],
)
def test_abort_messages_end_commands_and_free_the_bus(message: int, left: list[int]) -> None:
    rig = disconnecting()
    park(rig, 5)
    park(rig, 7)
    rig.select(0)
    rig.send(IDENTIFY, m.SIMPLE_QUEUE_TAG, 5, message)
    assert rig.status1(r.BUSFREE)
    assert waiting(rig) == left


def test_an_abort_is_for_its_unit_alone() -> None:
    rig = disconnecting()
    park(rig, 5)
    rig.select(0)
    rig.send(IDENTIFY | 1, m.ABORT)
    assert waiting(rig) == [5]
    assert rig.target.aborted == [1]


def test_bus_device_reset_resets_the_target_alone() -> None:
    rig = Rig()
    before = rig.target.resets, rig.other.resets
    rig.select(0)
    rig.send(IDENTIFY, m.BUS_DEVICE_RESET)
    assert (rig.target.resets, rig.other.resets) == (before[0] + 1, before[1])


def test_a_bus_reset_forgets_disconnected_commands() -> None:
    rig = disconnecting()
    park(rig, 5)
    rig.write(r.SCSISEQ, r.SCSIRSTO)
    rig.write(r.SCSISEQ, r.ENRSELI)
    rig.advance(1_000_000)
    assert waiting(rig) == []
    assert not rig.status0(r.SELDI)


# --- disconnection -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "messages"),
    [
        (f.NEVER, b"\0"),
        (f.BEFORE_DATA, b"\x04\x80\x20\x09\0"),
        (f.MID_DATA, b"\x04\x80\x20\x09\x02\x04\x80\x20\x09\0"),
    ],
)
def test_each_policy_moves_all_data(policy: str, messages: bytes) -> None:
    rig = disconnecting(policy)
    tagged = bytes((MAY_DISCONNECT, m.SIMPLE_QUEUE_TAG, 9))
    result = rig.command(read10(5000), 0x1000, 5000, messages=tagged)
    assert (result.status, result.messages, result.left) == (GOOD, messages, 0)
    assert rig.memory.data[0x1000 : 0x1000 + 5000] == pattern(5000)
    rig.memory.data[0x4000 : 0x4000 + 5000] = pattern(5000)
    assert rig.command(write10(5000), 0x4000, 5000, messages=tagged).messages == messages
    assert rig.target.written == pattern(5000)


def test_without_the_privilege_nobody_disconnects() -> None:
    assert disconnecting(f.MID_DATA).command(read10(512), 0, 512).messages == b"\0"


def test_an_untagged_command_reselects_with_identify_alone() -> None:
    rig = disconnecting()
    result = rig.command(read10(512), 0, 512, messages=bytes((MAY_DISCONNECT | 2,)))
    assert result.messages == b"\x04\x82\0"


def test_reselection_shows_who_and_never_comes_in_the_same_instant() -> None:
    rig = disconnecting()
    park(rig, 5, target=3)
    assert rig.status1(r.BUSFREE)
    assert not rig.status0(r.SELDI)
    rig.advance(1_000_000)
    assert rig.status0(r.SELDI)
    assert not rig.status1(r.BUSFREE)
    assert rig.read(r.SELID) == 0x30
    assert rig.phase == MESSAGE_IN


def test_reselection_needs_enrseli() -> None:
    rig = disconnecting()
    park(rig, 5)
    rig.write(r.SCSISEQ, 0)
    rig.advance(1_000_000)
    assert not rig.status0(r.SELDI)
    rig.write(r.SCSISEQ, r.ENRSELI)
    rig.advance(1_000_000)
    assert rig.status0(r.SELDI)


def test_reselection_comes_after_a_selection_that_was_given_up() -> None:
    rig = disconnecting()
    park(rig, 5)
    rig.write(r.SCSIID, 0x57)
    rig.write(r.SCSISEQ, r.ENSELO | r.ENRSELI)
    assert rig.status1(r.SELTO)
    rig.advance(1_000_000)
    assert not rig.status0(r.SELDI)
    rig.write(r.SCSISEQ, r.ENRSELI)
    rig.advance(1_000_000)
    assert rig.status0(r.SELDI)


def test_reselection_waits_for_the_bus() -> None:
    rig = disconnecting()
    park(rig, 5)
    rig.select(3)
    rig.advance(1_000_000)
    assert rig.phase == MESSAGE_OUT
    rig.send(IDENTIFY)
    rig.send(*bytes(6))
    rig.take()
    rig.take()
    assert not rig.status0(r.SELDI)
    rig.advance(10_000)
    assert rig.status0(r.SELDI)


def test_several_commands_of_one_target_are_open_at_once() -> None:
    rig = disconnecting()
    for tag in (1, 2, 3):
        park(rig, tag)
    park(rig, 4, target=3)
    assert (waiting(rig), waiting(rig, 3)) == ([1, 2, 3], [4])
    order = []
    for _ in range(4):
        rig.advance(1_000_000)
        assert rig.status0(r.SELDI)
        rig.write(r.CLRSINT0, r.SELDI)
        rig.write(r.CLRSINT1, r.BUSFREE)
        order.append([rig.take() for _ in range(3)][2])
        rig.finish(b"", 0, 512)
    assert order == [1, 2, 3, 4]


def test_a_tag_that_is_in_use_ends_all_commands_of_the_unit() -> None:
    """[SCSI-2] §7.5.2: ABORTED COMMAND, OVERLAPPED COMMANDS ATTEMPTED, and the others are aborted."""
    rig = disconnecting()
    for tag in (5, 6):
        park(rig, tag)
    park(rig, 7, target=3)
    assert rig.command(bytes(6), messages=bytes((IDENTIFY, 0x20, 5))).status == CHECK_CONDITION
    assert rig.target.refusals == [(0, (0xB, 0x4E, 0, None))]
    assert (waiting(rig), waiting(rig, 3)) == ([], [7])
    assert rig.command(bytes(6), messages=bytes((IDENTIFY, 0x20, 5))).status == GOOD


def test_a_tag_in_use_is_no_matter_to_another_unit_or_tag() -> None:
    rig = disconnecting()
    park(rig, 5)
    assert rig.command(bytes(6), messages=bytes((IDENTIFY, 0x20, 6))).status == GOOD
    assert rig.command(bytes(6), messages=bytes((IDENTIFY,))).status == GOOD
    assert rig.command(bytes(6), messages=bytes((IDENTIFY | 1, 0x20, 5))).status == GOOD
    assert waiting(rig) == [5]


def test_a_target_keeps_so_many_commands_and_no_more() -> None:
    rig = disconnecting()
    for tag in range(MOST_TASKS):
        park(rig, tag)
    assert rig.command(bytes(6), messages=bytes((IDENTIFY, 0x20, 200))).status == TASK_SET_FULL


# --- faults --------------------------------------------------------------------------------------


def test_a_command_that_hangs_disconnects_and_never_comes_back() -> None:
    rig = Rig()
    rig.chip.bus.peripherals[0].faults.append(f.parse_fault("hang,op=28,lba=4096"))
    park(rig, 5, cdb=read10(512, lba=4096))
    rig.advance(10_000_000_000)
    assert not rig.status0(r.SELDI)
    rig.write(r.CLRSINT1, r.BUSFREE)
    assert rig.command(read10(512, lba=4096), 0, 512).status == GOOD


@pytest.mark.parametrize(
    ("cdb", "hit"),
    [
        (bytes((0x08, 0, 0x10, 0x00, 1, 0)), True),
        (bytes((0x28, 0, 0, 0, 0x10, 0, 0, 0, 1, 0)), True),
        (bytes((0x88, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 1, 0, 0)), True),
        (bytes((0x88, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0)), False),
        (bytes((0x12, 0, 0, 0x10, 0, 0)), False),
    ],
)
def test_the_block_of_a_fault_is_the_commands_whatever_its_length(cdb: bytes, hit: bool) -> None:
    assert f.parse_fault("hang,lba=4096").strikes(f.HANG, 0, cdb) is hit


def test_a_command_that_hangs_without_the_privilege_keeps_the_bus() -> None:
    rig = Rig()
    rig.chip.bus.peripherals[0].faults.append(f.parse_fault("hang"))
    rig.select(0)
    rig.send(IDENTIFY)
    rig.send(*bytes(6))
    assert rig.read(r.SCSISIGI) & (r.BSY_LINE | r.REQ_LINE) == r.BSY_LINE
    rig.write(r.SCSISEQ, r.SCSIRSTO)
    rig.write(r.SCSISEQ, 0)
    assert rig.command(bytes(6)).status == GOOD


def test_a_target_may_miss_a_selection() -> None:
    rig = Rig()
    rig.chip.bus.peripherals[0].faults.append(f.parse_fault("absent,id=0,times=2"))
    assert [rig.command(bytes(6)).status for _ in range(3)] == [None, None, GOOD]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("explode", "'explode' is no fault; write hang or absent"),
        ("hang,id", "'id' in fault 'hang,id': the options are"),
        ("hang,op=zz", "'zz' in fault 'hang,op=zz' is not a number"),
    ],
)
def test_what_is_wrong_with_a_fault_is_said(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        f.parse_fault(text)
