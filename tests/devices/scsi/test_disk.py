"""A direct-access unit, one sentence of the standards per test."""

from __future__ import annotations

import pytest

from devices.scsi import commands as s
from devices.scsi.disk import MOST_BLOCKS, ScsiDisk
from devices.scsi.inquiry import SYNC, WBUS16, disk_identity
from devices.scsi.task import CHECK_CONDITION, GOOD
from tests.devices.ide_rig import MemoryImage, pattern
from tests.devices.scsi.rig import Initiator, refused, run
from vmm.clock import MachineClock

BLOCKS = 4000
START, STOP = (s.START_STOP_UNIT, 0, 0, 0, 1, 0), (s.START_STOP_UNIT, 0, 0, 0, 0, 0)
TEST_UNIT_READY = (s.TEST_UNIT_READY, 0, 0, 0, 0, 0)


def ready_disk(image: MemoryImage | None = None) -> ScsiDisk:
    disk = ScsiDisk("sda", image or MemoryImage(BLOCKS))
    disk.start(bytes(TEST_UNIT_READY))
    return disk


@pytest.fixture
def image() -> MemoryImage:
    return MemoryImage(BLOCKS)


@pytest.fixture
def disk(image: MemoryImage) -> ScsiDisk:
    return ready_disk(image)


def sectors(lba: int, count: int) -> bytes:
    return b"".join(pattern(at) for at in range(lba, lba + count))


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    initiator = Initiator(ScsiDisk("sda", MemoryImage(BLOCKS, keeps_writes=False)))
    exercises = [
        lambda: initiator.start(*TEST_UNIT_READY),
        lambda: initiator.start(s.READ_10, 0, 0, 0, 0, 9, 0, 0, 3, 0),
        lambda: initiator.task.give(700),
        lambda: initiator.start(0xEE),
        lambda: initiator.start(s.WRITE_10, 0, 0, 0, 0, 9, 0, 0, 3, 0),
        lambda: initiator.task.take(bytes(700)),
        lambda: initiator.start(s.VERIFY_10, 2, 0, 0, 0, 9, 0, 0, 3, 0),
        lambda: initiator.start(s.MODE_SELECT_6, 0x10, 0, 0, 24, 0),
        lambda: initiator.task.take(bytes(4)),
        lambda: initiator.start(*STOP),
    ]
    return initiator, [(initiator.packets, 1)], exercises


CONTRACT = [("scsi disk", make_for_contract)]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("READ_6", 0x08),
        ("WRITE_6", 0x0A),
        ("MODE_SELECT_6", 0x15),
        ("RESERVE_6", 0x16),
        ("RELEASE_6", 0x17),
        ("SEND_DIAGNOSTIC", 0x1D),
        ("WRITE_10", 0x2A),
        ("VERIFY_10", 0x2F),
        ("SYNCHRONIZE_CACHE_10", 0x35),
        ("READ_DEFECT_DATA_10", 0x37),
        ("MODE_SELECT_10", 0x55),
        ("READ_16", 0x88),
        ("WRITE_16", 0x8A),
        ("VERIFY_16", 0x8F),
        ("SYNCHRONIZE_CACHE_16", 0x91),
        ("SERVICE_ACTION_IN_16", 0x9E),
        ("REPORT_LUNS", 0xA0),
        ("READ_12", 0xA8),
        ("WRITE_12", 0xAA),
        ("VERIFY_12", 0xAF),
    ],
)
def test_operation_codes(name: str, code: int) -> None:
    """[SBC-2] table 12."""
    assert getattr(s, name) == code
    assert s.NAMES[code] == name.replace("_", " ")


def test_inquiry_names_a_disk_that_stays_where_it_is(disk: ScsiDisk) -> None:
    """[SPC-2] §7.3.2: type 00h, RMB 0; CmdQue says that tagged tasks are supported."""
    data = run(disk, s.INQUIRY, 0, 0, 0, 96, 0)
    assert data[:8] == bytes([0x00, 0x00, 0x04, 0x02, 31, 0, 0, 0x02])
    assert data[8:] == b"TRAPLINE" + b"HARDDISK".ljust(16) + b"1.0 "


def test_inquiry_says_what_a_parallel_bus_can_do() -> None:
    """[SPC-2] §7.3.2: WBUS16 and SYNC of byte 7."""
    disk = ScsiDisk("sda", MemoryImage(), disk_identity("1", SYNC | WBUS16))
    assert run(disk, s.INQUIRY, 0, 0, 0, 36, 0)[7] == 0x32


def test_vital_product_data_lists_its_pages(disk: ScsiDisk) -> None:
    """[SPC-2] §8.4.5: page 00h names all pages, in ascending order."""
    data = run(disk, s.INQUIRY, 1, 0x00, 0, 255, 0)
    assert data == bytes([0, 0x00, 0, 5, 0x00, 0x80, 0x83, 0xB0, 0xB1])
    for page in data[4:]:
        body = run(disk, s.INQUIRY, 1, page, 0, 255, 0)
        assert (body[1], int.from_bytes(body[2:4], "big")) == (page, len(body) - 4)


def test_serial_number_and_identification_are_the_disks_own() -> None:
    """[SPC-2] §8.4.3, §8.4.6: ASCII; a descriptor with the T10 vendor identification."""
    disk = ScsiDisk("sda", MemoryImage(), disk_identity("TL42"))
    assert run(disk, s.INQUIRY, 1, 0x80, 0, 255, 0)[4:] == b"TL42"
    body = run(disk, s.INQUIRY, 1, 0x83, 0, 255, 0)[4:]
    assert body[:4] == bytes([2, 1, 0, 28])
    assert body[4:] == b"TRAPLINE" + b"HARDDISK".ljust(16) + b"TL42"


def test_a_page_code_without_evpd_and_an_unknown_page_are_invalid(disk: ScsiDisk) -> None:
    """[SPC-2] §7.3.1."""
    assert refused(disk, s.INQUIRY, 0, 0x80, 0, 255, 0) == (5, 0x24, 0)
    assert refused(disk, s.INQUIRY, 1, 0x55, 0, 255, 0) == (5, 0x24, 0)


def test_command_support_data_is_refused(disk: ScsiDisk) -> None:
    """[SPC-2] §7.3.1: CmdDt."""
    assert refused(disk, s.INQUIRY, 2, 0, 0, 255, 0) == (5, 0x24, 0)
    assert refused(disk, s.INQUIRY, 3, 0, 0, 255, 0) == (5, 0x24, 0)


def test_read_capacity_gives_the_last_block_and_the_block_length(disk: ScsiDisk) -> None:
    """[SBC-2] §5.10."""
    expected = (BLOCKS - 1).to_bytes(4, "big") + (512).to_bytes(4, "big")
    assert run(disk, s.READ_CAPACITY, *bytes(9)) == expected
    assert run(disk, s.READ_CAPACITY, 0, 0, 0, 0, 9, 0, 0, 1, 0) == expected
    assert refused(disk, s.READ_CAPACITY, 0, 0, 0, 0, 9, 0, 0, 0, 0) == (5, 0x24, 0)


def test_read_capacity_of_more_than_32_bits_is_all_ones() -> None:
    """[SBC-2] §5.10.2: FFFFFFFFh sends the application client to READ CAPACITY(16)."""
    disk = ready_disk(MemoryImage((1 << 32) + 10))
    assert run(disk, s.READ_CAPACITY, *bytes(9))[:4] == b"\xff" * 4
    long = run(disk, s.SERVICE_ACTION_IN_16, 0x10, *bytes(11), 32, 0, 0)
    assert long == ((1 << 32) + 9).to_bytes(8, "big") + (512).to_bytes(4, "big") + bytes(20)
    lba = (1 << 32) + 5
    assert run(disk, s.READ_16, 0, *lba.to_bytes(8, "big"), 0, 0, 0, 0, 0, 0) == b""


def test_other_service_actions_are_invalid(disk: ScsiDisk) -> None:
    """[SPC-2] §4.3.4.1."""
    assert refused(disk, s.SERVICE_ACTION_IN_16, 0x11, *bytes(14)) == (5, 0x24, 0)


def cdbs(lba: int, blocks: int, six: int, ten: int, twelve: int, sixteen: int) -> list[tuple[int, ...]]:
    short, long = lba.to_bytes(4, "big"), lba.to_bytes(8, "big")
    return [
        (six, *lba.to_bytes(3, "big"), blocks, 0),
        (ten, 0, *short, 0, *blocks.to_bytes(2, "big"), 0),
        (twelve, 0, *short, *blocks.to_bytes(4, "big"), 0, 0),
        (sixteen, 0, *long, *blocks.to_bytes(4, "big"), 0, 0),
    ]


def test_reads_of_all_lengths(disk: ScsiDisk) -> None:
    """[SBC-2] §5.5-§5.8."""
    for cdb in cdbs(0x123, 5, s.READ_6, s.READ_10, s.READ_12, s.READ_16):
        assert run(disk, *cdb) == sectors(0x123, 5)


def test_writes_of_all_lengths(disk: ScsiDisk, image: MemoryImage) -> None:
    """[SBC-2] §5.24-§5.27."""
    for number, cdb in enumerate(cdbs(0x123, 5, s.WRITE_6, s.WRITE_10, s.WRITE_12, s.WRITE_16)):
        run(disk, *cdb, out=bytes([number]) * 2560)
        assert image.read(0x123, 5) == bytes([number]) * 2560


def test_a_transfer_length_of_zero_is_256_blocks_of_the_short_ones_only(disk: ScsiDisk) -> None:
    """[SBC-2] §5.5, §5.6."""
    assert run(disk, s.READ_6, 0, 0, 1, 0, 0) == sectors(1, 256)
    assert run(disk, s.READ_10, 0, 0, 0, 0, 1, 0, 0, 0, 0) == b""
    assert disk.start(bytes([s.WRITE_6, 0, 0, 1, 0, 0])).data_out == 256 * 512


def test_the_top_bits_of_byte_1_are_no_address_in_the_short_ones(disk: ScsiDisk) -> None:
    """[SPC-2] §4.3.2: LBA of 21 bits; initiators of SCSI-2 put the LUN above it."""
    assert run(disk, s.READ_6, 0xE0, 0, 7, 1, 0) == sectors(7, 1)


@pytest.mark.parametrize("opcode", [s.READ_10, s.WRITE_10, s.VERIFY_10, s.SYNCHRONIZE_CACHE_10])
def test_a_block_past_the_end_is_out_of_range(disk: ScsiDisk, image: MemoryImage, opcode: int) -> None:
    """[SBC-2] §4.1: LOGICAL BLOCK ADDRESS OUT OF RANGE, and nothing is moved."""
    end = BLOCKS.to_bytes(4, "big")
    assert refused(disk, opcode, 0, *(BLOCKS - 1).to_bytes(4, "big"), 0, 0, 2, 0) == (5, 0x21, 0)
    assert refused(disk, opcode, 0, *end, 0, 0, 1, 0) == (5, 0x21, 0)
    assert image.reads == image.writes == []


def test_a_transfer_longer_than_the_block_limits_say_is_refused() -> None:
    """[SBC-3] §6.5.3: MAXIMUM TRANSFER LENGTH, else INVALID FIELD IN CDB."""
    disk = ready_disk(MemoryImage(1 << 20))
    limits = run(disk, s.INQUIRY, 1, 0xB0, 0, 255, 0)
    assert int.from_bytes(limits[8:12], "big") == MOST_BLOCKS
    for opcode in (s.READ_12, s.WRITE_12, s.VERIFY_12):
        assert refused(disk, opcode, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0) == (5, 0x24, 0)


def test_an_address_relative_to_a_linked_command_is_refused(disk: ScsiDisk) -> None:
    """[SBC] §5.1.8: RELADR only in linked commands, which are not supported."""
    assert refused(disk, s.READ_10, 1, 0, 0, 0, 0, 0, 0, 1, 0) == (5, 0x24, 0)
    assert run(disk, s.READ_16, 1, *bytes(7), 3, 0, 0, 0, 1, 0, 0) == sectors(3, 1)


@pytest.mark.parametrize("control", [0x01, 0x04])
def test_link_and_naca_are_refused(disk: ScsiDisk, control: int) -> None:
    """[SAM-2] §5.1.2: not supported, INVALID FIELD IN CDB."""
    assert refused(disk, s.TEST_UNIT_READY, 0, 0, 0, 0, control) == (5, 0x24, 0)
    assert refused(disk, s.READ_10, *bytes(8), control) == (5, 0x24, 0)


def test_a_command_there_is_not(disk: ScsiDisk) -> None:
    """[SPC-2] §4.3.1: INVALID COMMAND OPERATION CODE; formatting and forgetting blocks are among them."""
    for opcode in (0xEE, s.FORMAT_UNIT, s.UNMAP, s.WRITE_SAME_10, s.WRITE_SAME_16):
        assert refused(disk, opcode, *bytes(15)) == (5, 0x20, 0)


def test_the_first_command_after_power_on_and_a_reset_is_told_of_it() -> None:
    """[SPC-2] §5.6.5; INQUIRY runs all the same and leaves the condition."""
    disk = ScsiDisk("sda", MemoryImage())
    run(disk, s.INQUIRY, 0, 0, 0, 36, 0)
    assert refused(disk, *TEST_UNIT_READY) == (6, 0x29, 0)
    run(disk, *TEST_UNIT_READY)
    disk.reset()
    assert refused(disk, s.READ_10, *bytes(9)) == (6, 0x29, 0)


def test_request_sense_takes_the_sense_data(disk: ScsiDisk) -> None:
    """[SPC-2] §7.20: fixed format, 18 bytes, once."""
    refused(disk, 0xEE)
    data = run(disk, s.REQUEST_SENSE, 0, 0, 0, 252, 0)
    assert (data[0], data[2] & 0xF, data[7], data[12], len(data)) == (0x70, 5, 10, 0x20, 18)
    assert run(disk, s.REQUEST_SENSE, 0, 0, 0, 18, 0)[2] == 0
    assert disk.sense_data() == b""


def test_the_next_command_clears_the_sense_data(disk: ScsiDisk) -> None:
    """[SAM-2] §5.8.1.2."""
    refused(disk, 0xEE)
    run(disk, *TEST_UNIT_READY)
    assert disk.sense_data() == b""


def test_a_stopped_unit_wants_an_initializing_command(disk: ScsiDisk, image: MemoryImage) -> None:
    """[SBC-2] §5.18: NOT READY, 04h 02h, until START; and it keeps what was written."""
    run(disk, *STOP)
    assert image.flushes == 1
    for cdb in (
        TEST_UNIT_READY,
        (s.READ_10, *bytes(9)),
        (s.WRITE_10, *bytes(9)),
        (s.READ_CAPACITY, *bytes(9)),
    ):
        assert refused(disk, *cdb) == (2, 4, 2)
    run(disk, s.MODE_SENSE_6, 0, 0x3F, 0, 255, 0)
    disk.reset()
    disk.start(bytes(TEST_UNIT_READY))
    assert refused(disk, *TEST_UNIT_READY) == (2, 4, 2)
    run(disk, *START)
    run(disk, *TEST_UNIT_READY)


def test_nothing_can_be_ejected(disk: ScsiDisk) -> None:
    """[SBC-2] §5.18: LOEJ of a medium that is not removable."""
    assert refused(disk, s.START_STOP_UNIT, 0, 0, 0, 2, 0) == (5, 0x24, 0)
    run(disk, s.PREVENT_ALLOW_MEDIUM_REMOVAL, 0, 0, 0, 1, 0)


def test_seek_is_in_range_or_not(disk: ScsiDisk) -> None:
    """[SBC] §5.1.14."""
    run(disk, s.SEEK_10, 0, 0, 0, 0x0F, 0x9F, 0, 0, 0, 0)
    assert refused(disk, s.SEEK_10, 0, 0, 0, 0x0F, 0xA0, 0, 0, 0, 0) == (5, 0x21, 0)
    assert refused(disk, s.SEEK_6, 0, 0x0F, 0xA0, 0, 0) == (5, 0x21, 0)


def test_there_are_no_defects(disk: ScsiDisk) -> None:
    """[SBC-2] §5.11: a header with the lists asked for and a length of 0."""
    assert run(disk, s.READ_DEFECT_DATA_10, 0, 0x1D, 0, 0, 0, 0, 1, 0, 0) == bytes([0, 0x1D, 0, 0])
    assert run(disk, s.READ_DEFECT_DATA_12, 0x0D, *bytes(4), 0, 0, 0, 8, 0, 0) == bytes([0, 0x0D, *bytes(6)])


def test_reserving_for_somebody_else_is_refused(disk: ScsiDisk) -> None:
    """[SPC-2] §7.21: third-party reservations are optional."""
    for opcode in (s.RESERVE_6, s.RELEASE_6):
        run(disk, opcode, *bytes(5))
        assert refused(disk, opcode, 0x10, 0, 0, 0, 0) == (5, 0x24, 0)


def test_the_self_test_passes_and_takes_no_parameters(disk: ScsiDisk) -> None:
    """[SPC-2] §7.23."""
    run(disk, s.SEND_DIAGNOSTIC, 4, 0, 0, 0, 0)
    assert refused(disk, s.SEND_DIAGNOSTIC, 0, 0, 0, 8, 0) == (5, 0x24, 0)


def test_a_short_cdb_is_one_with_zeros_behind_it() -> None:
    disk = ready_disk()
    for length in range(10):
        assert disk.start(bytes([s.READ_10, *bytes(9)])[:length]).status == GOOD
    assert disk.start(b"\xff").status == CHECK_CONDITION
