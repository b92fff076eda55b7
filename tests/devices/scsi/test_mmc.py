"""The multimedia command set of a CD-ROM drive, one sentence of the standard per test."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.scsi import commands as s
from devices.scsi.inquiry import SYNC, InquiryIdentity, cd_identity
from devices.scsi.mmc import CdRom
from devices.scsi.mmc_data import raw_block
from devices.scsi.task import CHECK_CONDITION
from tests.devices.ide_rig import MemoryImage, pattern
from tests.devices.scsi.rig import Initiator, refused, run
from vmm.clock import MachineClock

BLOCKS = 1024
ALLOCATION = (0x01, 0x00)  # 256 bytes
CD_COMMANDS = sorted(s.NAMES)


def ready_drive(image: MemoryImage | None = None, identity: InquiryIdentity | None = None) -> CdRom:
    unit = CdRom("cd", image or MemoryImage(4 * BLOCKS), identity)
    unit.start(bytes([s.TEST_UNIT_READY]))
    return unit


@pytest.fixture
def unit() -> CdRom:
    return ready_drive()


def block(lba: int) -> bytes:
    return b"".join(pattern(at) for at in range(4 * lba, 4 * lba + 4))


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    initiator = Initiator(CdRom("cd", MemoryImage(4 * BLOCKS)))
    exercises = [
        lambda: initiator.start(s.TEST_UNIT_READY),
        lambda: initiator.start(s.READ_10, 0, 0, 0, 0, 9, 0, 0, 3),
        lambda: initiator.task.give(1000),
        lambda: initiator.start(0xEE),
        lambda: initiator.start(s.PREVENT_ALLOW_MEDIUM_REMOVAL, 0, 0, 0, 1),
    ]
    return initiator, [(initiator.packets, 1)], exercises


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("TEST_UNIT_READY", 0x00),
        ("REQUEST_SENSE", 0x03),
        ("INQUIRY", 0x12),
        ("MODE_SENSE_6", 0x1A),
        ("START_STOP_UNIT", 0x1B),
        ("PREVENT_ALLOW_MEDIUM_REMOVAL", 0x1E),
        ("READ_10", 0x28),
        ("READ_TOC", 0x43),
        ("GET_CONFIGURATION", 0x46),
        ("GET_EVENT_STATUS", 0x4A),
        ("READ_DISC_INFORMATION", 0x51),
        ("READ_TRACK_INFORMATION", 0x52),
        ("MODE_SENSE_10", 0x5A),
        ("READ_12", 0xA8),
        ("MECHANISM_STATUS", 0xBD),
        ("READ_CD", 0xBE),
    ],
)
def test_operation_codes(name: str, code: int) -> None:
    assert getattr(s, name) == code
    assert s.NAMES[code] == name.replace("_", " ")


def test_inquiry_names_a_removable_cd_drive(unit: CdRom) -> None:
    data = run(unit, s.INQUIRY, 0, 0, 0, 96)
    assert data[:5] == bytes([0x05, 0x80, 0x00, 0x21, 31])
    assert data[8:] == b"TRAPLINE" + b"CD-ROM".ljust(16) + b"1.0 "


def test_inquiry_versions_are_the_transports() -> None:
    unit = CdRom("cd", identity=cd_identity(SYNC))
    data = run(unit, s.INQUIRY, 0, 0, 0, 36)
    assert data[2:4] == b"\2\2"
    assert data[7] == 0x10


def test_vital_product_data_is_refused(unit: CdRom) -> None:
    assert refused(unit, s.INQUIRY, 1, 0x80, 0, 96) == (5, 0x24, 0)
    assert refused(unit, s.INQUIRY, 2, 0, 0, 96) == (5, 0x24, 0)


def test_unknown_command_is_refused(unit: CdRom) -> None:
    assert refused(unit, 0xEE) == (5, 0x20, 0)


def test_read_capacity_gives_the_last_block(unit: CdRom) -> None:
    assert run(unit, s.READ_CAPACITY) == (BLOCKS - 1).to_bytes(4, "big") + (2048).to_bytes(4, "big")


def test_reads_of_both_lengths(unit: CdRom) -> None:
    assert run(unit, s.READ_10, 0, 0, 0, 1, 2, 0, 0, 2) == block(0x102) + block(0x103)
    assert run(unit, s.READ_12, 0, 0, 0, 1, 2, 0, 0, 0, 1) == block(0x102)
    assert run(unit, s.READ_10, 0, 0, 0, 0, 0, 0, 0, 0) == b""


def test_read_in_odd_pieces(unit: CdRom) -> None:
    task = unit.start(bytes([s.READ_10, 0, 0, 0, 0, 5, 0, 0, 2]))
    assert task.give(700) + task.give(2000) + task.give(9999) == block(5) + block(6)


def test_read_off_the_disc_is_out_of_range(unit: CdRom) -> None:
    assert refused(unit, s.READ_10, 0, 0, 0, 3, 0xFF, 0, 0, 2) == (5, 0x21, 0)


def test_read_cd_user_data_and_whole_sectors(unit: CdRom) -> None:
    assert run(unit, s.READ_CD, 0, 0, 0, 0, 16, 0, 0, 1, 0x10) == block(16)
    raw = run(unit, s.READ_CD, 0, 0, 0, 0, 16, 0, 0, 2, 0xF8)
    assert len(raw) == 2 * 2352
    assert raw[:16] == b"\0" + b"\xff" * 10 + b"\0" + bytes([0x00, 0x02, 0x16, 0x01])
    assert raw[16:2064] == block(16)
    assert raw[2352 + 16 : 2352 + 2064] == block(17)


@pytest.mark.parametrize(("byte1", "byte9", "code"), [(0x04, 0x10, 0x64), (0, 0x20, 0x24)])
def test_read_cd_of_other_kinds_is_refused(unit: CdRom, byte1: int, byte9: int, code: int) -> None:
    assert refused(unit, s.READ_CD, byte1, 0, 0, 0, 0, 0, 0, 1, byte9) == (5, code, 0)


def test_toc_lists_the_track_and_the_lead_out(unit: CdRom) -> None:
    data = run(unit, s.READ_TOC, 0, 0, 0, 0, 0, 0, *ALLOCATION)
    assert data == bytes([0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x16, 0xAA, 0, 0, 0, 4, 0])


def test_toc_in_minutes_seconds_frames(unit: CdRom) -> None:
    data = run(unit, s.READ_TOC, 2, 0, 0, 0, 0, 0xAA, *ALLOCATION)
    assert data == bytes([0, 10, 1, 1, 0, 0x16, 0xAA, 0, 0, 0, 15, 49])


def test_toc_from_a_track_that_does_not_exist(unit: CdRom) -> None:
    assert refused(unit, s.READ_TOC, 0, 0, 0, 0, 0, 2, *ALLOCATION) == (5, 0x24, 0)


def test_toc_session_information_in_both_encodings_of_the_format(unit: CdRom) -> None:
    expected = bytes([0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0])
    assert run(unit, s.READ_TOC, 0, 1, 0, 0, 0, 0, *ALLOCATION) == expected
    assert run(unit, s.READ_TOC, 0, 0, 0, 0, 0, 0, *ALLOCATION, 0x40) == expected


def test_full_toc_has_the_three_points_and_the_track(unit: CdRom) -> None:
    data = run(unit, s.READ_TOC, 2, 2, 0, 0, 0, 0, *ALLOCATION)
    assert [data[at + 3] for at in range(4, len(data), 11)] == [0xA0, 0xA1, 0xA2, 1]
    assert int.from_bytes(data[:2], "big") == len(data) - 2


def test_allocation_length_cuts_the_reply(unit: CdRom) -> None:
    assert len(run(unit, s.READ_TOC, 0, 0, 0, 0, 0, 0, 0, 12)) == 12
    assert run(unit, s.INQUIRY) == b""


@pytest.mark.parametrize(("page", "length"), [(0x01, 6), (0x0E, 14), (0x2A, 18)])
def test_mode_pages(unit: CdRom, page: int, length: int) -> None:
    data = run(unit, s.MODE_SENSE_10, 0, page, 0, 0, 0, 0, *ALLOCATION)
    assert data[8:10] == bytes([page, length])
    assert int.from_bytes(data[:2], "big") == len(data) - 2 == 8 + length
    assert run(unit, s.MODE_SENSE_6, 0, page, 0, 255)[4:] == data[8:]


def test_all_mode_pages_and_missing_ones(unit: CdRom) -> None:
    assert len(run(unit, s.MODE_SENSE_10, 0, 0x3F, 0, 0, 0, 0, *ALLOCATION)) == 8 + 8 + 16 + 20
    assert refused(unit, s.MODE_SENSE_10, 0, 0x08, 0, 0, 0, 0, *ALLOCATION) == (5, 0x24, 0)
    assert refused(unit, s.MODE_SENSE_10, 0, 0xEA, 0, 0, 0, 0, *ALLOCATION) == (5, 0x39, 0)


def test_configuration_names_the_current_profile(unit: CdRom) -> None:
    data = run(unit, s.GET_CONFIGURATION, 0, 0, 0, 0, 0, 0, *ALLOCATION)
    assert data[6:8] == b"\0\x08"
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    big = ready_drive(MemoryImage(4 * 400_000))
    assert run(big, s.GET_CONFIGURATION, 2, 0, 0, 0, 0, 0, *ALLOCATION)[6:8] == b"\0\x10"


def test_events_tell_of_media_once(unit: CdRom) -> None:
    unit.insert(MemoryImage(8))
    poll = (s.GET_EVENT_STATUS, 1, 0, 0, 0x10, 0, 0, *ALLOCATION)
    assert run(unit, *poll) == bytes([0, 6, 4, 0x10, 2, 2, 0, 0])
    assert run(unit, *poll)[4] == 0
    unit.eject()
    assert run(unit, *poll)[4:6] == bytes([3, 1])


def test_no_medium(unit: CdRom) -> None:
    assert unit.eject() is not None
    for opcode in (s.TEST_UNIT_READY, s.READ_CAPACITY, s.READ_10, s.READ_TOC):
        assert refused(unit, opcode) == (2, 0x3A, 0)
    assert run(unit, s.GET_CONFIGURATION, 0, 0, 0, 0, 0, 0, *ALLOCATION)[6:8] == b"\0\0"


def test_guest_opens_and_closes_the_tray(unit: CdRom) -> None:
    run(unit, s.START_STOP_UNIT, 0, 0, 0, 2)
    assert refused(unit, s.TEST_UNIT_READY) == (2, 0x3A, 0)
    run(unit, s.START_STOP_UNIT, 0, 0, 0, 3)
    assert refused(unit, s.TEST_UNIT_READY) == (2, 0x3A, 0)
    assert refused(unit, s.TEST_UNIT_READY) == (6, 0x28, 0)
    run(unit, s.TEST_UNIT_READY)


def test_locked_tray_stays_shut_and_passes_the_wish_on(unit: CdRom) -> None:
    run(unit, s.PREVENT_ALLOW_MEDIUM_REMOVAL, 0, 0, 0, 1)
    assert refused(unit, s.START_STOP_UNIT, 0, 0, 0, 2) == (5, 0x53, 2)
    assert unit.eject() is None
    assert run(unit, s.GET_EVENT_STATUS, 1, 0, 0, 0x10, 0, 0, *ALLOCATION)[4] == 1


def test_attention_waits_while_inquiry_and_configuration_run() -> None:
    unit = CdRom("cd", MemoryImage(8))
    run(unit, s.INQUIRY, 0, 0, 0, 36)
    run(unit, s.GET_CONFIGURATION, 0, 0, 0, 0, 0, 0, *ALLOCATION)
    assert refused(unit, s.TEST_UNIT_READY) == (6, 0x29, 0)


def test_request_sense_takes_a_pending_attention() -> None:
    unit = CdRom("cd", MemoryImage(8))
    data = run(unit, s.REQUEST_SENSE, 0, 0, 0, 18)
    assert (data[0], data[2], data[12]) == (0x70, 6, 0x29)
    run(unit, s.TEST_UNIT_READY)


def test_disc_track_and_mechanism_information(unit: CdRom) -> None:
    assert run(unit, s.READ_DISC_INFORMATION, 0, 0, 0, 0, 0, 0, *ALLOCATION)[:3] == bytes([0, 32, 0x0E])
    track = run(unit, s.READ_TRACK_INFORMATION, 1, 0, 0, 0, 1, 0, *ALLOCATION)
    assert (len(track), track[24:28]) == (36, BLOCKS.to_bytes(4, "big"))
    assert refused(unit, s.READ_TRACK_INFORMATION, 1, 0, 0, 0, 2, 0, *ALLOCATION) == (5, 0x24, 0)
    assert len(run(unit, s.MECHANISM_STATUS, 0, 0, 0, 0, 0, 0, 0, *ALLOCATION)) == 8


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(CD_COMMANDS) | st.integers(0, 255), st.binary(min_size=11, max_size=11))
    )
)
def test_no_packet_raises_or_promises_what_it_does_not_give(packets: list[tuple[int, bytes]]) -> None:
    unit = ready_drive()
    for opcode, rest in packets:
        task = unit.start(bytes([opcode]) + rest)
        assert (task.status == CHECK_CONDITION) == bool(unit.sense.key)
        promised, given = task.data_in, 0
        while task.data_in:
            given += len(task.give(1 << 20))
        assert given == promised


CONTRACT = [("cd-rom unit", make_for_contract)]


def test_the_address_in_a_raw_block_holds_however_long_the_disc_is() -> None:
    assert raw_block(160 * 60 * 75, bytes(2048))[12:16] == bytes([0x00, 0x02, 0x00, 0x01])


def test_a_disc_of_more_blocks_than_32_bits_tell_shows_as_many_as_they_do() -> None:
    unit = ready_drive(MemoryImage((9 << 40) // 512))
    assert run(unit, s.READ_CAPACITY, *bytes(9)) == b"\xff\xff\xff\xfe\0\0\x08\0"
    assert run(unit, s.READ_TOC, 0, 0, 0, 0, 0, 0, *ALLOCATION)[-4:] == b"\xff" * 4
    for form in (1, 2):
        run(unit, s.READ_TOC, 2, form, 0, 0, 0, 0, *ALLOCATION)
    track = run(unit, s.READ_TRACK_INFORMATION, 1, 0, 0, 0, 1, 0, *ALLOCATION)
    assert track[24:28] == b"\xff" * 4


def test_the_interface_a_configuration_names_is_the_transports(unit: CdRom) -> None:
    core = (s.GET_CONFIGURATION, 2, 0, 1, 0, 0, 0, *ALLOCATION)
    assert run(unit, *core)[12:16] == b"\0\0\0\2"
    assert run(ready_drive(identity=cd_identity()), *core)[12:16] == b"\0\0\0\1"


def test_a_disc_that_goes_in_the_middle_of_a_read_is_a_medium_not_present(unit: CdRom) -> None:
    task = unit.start(bytes([s.READ_10, 0, 0, 0, 0, 0, 0, 1, 0]))
    assert len(task.give(2048)) == 2048
    unit.eject(force=True)
    while task.data_in:
        task.give(2048)
    assert (task.status, tuple(unit.sense[:3])) == (CHECK_CONDITION, (2, 0x3A, 0))


def test_a_bad_block_ends_a_read_with_its_number(unit: CdRom) -> None:
    image = MemoryImage(4 * BLOCKS)
    image.bad = {4 * 7 + 1}
    unit = ready_drive(image)
    task = unit.start(bytes([s.READ_10, 0, 0, 0, 0, 5, 0, 0, 9]))
    assert task.give(1 << 20) == block(5) + block(6)
    assert (task.give(1 << 20), task.data_in, task.status) == (b"", 0, CHECK_CONDITION)
    assert unit.sense == (3, 0x11, 0, 7)


def test_drives_before_mmc_have_the_short_commands_and_atapi_has_not(unit: CdRom) -> None:
    """[SCSI-2] table 230."""
    older = ready_drive(identity=cd_identity())
    assert run(older, s.READ_6, 0, 0, 7, 2, 0) == block(7) + block(8)
    for cdb in (
        (s.SEEK_6, 0, 0, 7),
        (s.REZERO_UNIT,),
        (s.RESERVE_6,),
        (s.RELEASE_6,),
        (s.SEND_DIAGNOSTIC, 4),
    ):
        run(older, *cdb)
        assert refused(unit, *cdb) == (5, 0x20, 0)
    assert refused(older, s.SEEK_6, 0, 4, 0) == (5, 0x21, 0)
