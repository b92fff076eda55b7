"""Data of a disk: in pieces of any size, beside other tasks, half way through a snapshot, on a bad image."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.scsi import commands as s
from devices.scsi.disk import ScsiDisk
from devices.scsi.task import CHECK_CONDITION, GOOD, Task, TaskState
from devices.scsi.tasks import MOST_BYTES, STORE_BYTES
from tests.devices.ide_rig import MemoryImage, pattern
from tests.devices.scsi.rig import move, refused, run
from tests.devices.scsi.test_disk import ready_disk, sectors

BLOCKS = 4000
SMALL = 24


def read_10(lba: int, blocks: int) -> bytes:
    return bytes([s.READ_10, 0, *lba.to_bytes(4, "big"), 0, *blocks.to_bytes(2, "big"), 0])


def write_10(lba: int, blocks: int) -> bytes:
    return bytes([s.WRITE_10]) + read_10(lba, blocks)[1:]


def verify_10(lba: int, blocks: int, compare: bool) -> bytes:
    return bytes([s.VERIFY_10, 2 if compare else 0]) + read_10(lba, blocks)[2:]


@pytest.fixture
def image() -> MemoryImage:
    return MemoryImage(BLOCKS)


@pytest.fixture
def disk(image: MemoryImage) -> ScsiDisk:
    return ready_disk(image)


# --- pieces ----------------------------------------------------------------------------------


def test_a_read_fetches_a_bounded_piece_ahead(disk: ScsiDisk, image: MemoryImage) -> None:
    task = disk.start(read_10(0, 4000))
    assert image.reads == []
    task.give(1)
    assert image.reads == [(0, 256)]  # 128 KiB
    task.give(4 << 20)
    assert max(count for _, count in image.reads) * 512 <= MOST_BYTES


def test_a_write_is_stored_as_its_data_comes(disk: ScsiDisk, image: MemoryImage) -> None:
    task = disk.start(write_10(0, 4000))
    for at in range(1000):
        task.take(bytes(2000))
        assert len(task.save().data) < STORE_BYTES
        stored = sum(count for _, count in image.writes) * 512
        assert 0 <= 2000 * (at + 1) - stored < STORE_BYTES


def test_no_more_is_taken_than_the_command_wants(disk: ScsiDisk, image: MemoryImage) -> None:
    task = disk.start(write_10(3, 2))
    task.take(bytes(5000))
    assert (task.data_out, task.status, image.writes) == (0, GOOD, [(3, 2)])
    task.take(bytes(512))
    assert image.writes == [(3, 2)]


def test_a_task_of_the_other_direction_moves_nothing(disk: ScsiDisk, image: MemoryImage) -> None:
    reading, writing = disk.start(read_10(0, 1)), disk.start(write_10(0, 1))
    reading.take(bytes(512))
    assert (writing.give(512), image.writes, reading.give(512)) == (b"", [], pattern(0))


def test_tasks_are_open_at_once(disk: ScsiDisk, image: MemoryImage) -> None:
    """[SAM-2] §7: tagged tasks, of which each has its own place."""
    tasks = [disk.start(read_10(100 * at, 4)) for at in range(8)]
    writing = disk.start(write_10(1000, 2))
    pieces = [b""] * 8
    while any(task.data_in for task in tasks):
        for at, task in enumerate(tasks):
            pieces[at] += task.give(300)
        writing.take(bytes(100))
    assert pieces == [sectors(100 * at, 4) for at in range(8)]
    assert (writing.status, writing.data_out) == (GOOD, 1024 - 700)


# --- a model ---------------------------------------------------------------------------------

CDBS = {
    "read": read_10,
    "write": write_10,
    "verify": lambda lba, blocks: verify_10(lba, blocks, False),
    "compare": lambda lba, blocks: verify_10(lba, blocks, True),
}
COMMANDS = st.tuples(
    st.sampled_from(sorted(CDBS)),
    st.integers(0, SMALL - 1),
    st.integers(0, SMALL),
    st.integers(1, 3000),
    st.integers(0, 255),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(COMMANDS, max_size=12))
def test_a_disk_is_an_array_of_bytes(commands: list[tuple[str, int, int, int, int]]) -> None:
    disk = ready_disk(MemoryImage(SMALL))
    model = bytearray(sectors(0, SMALL))
    for what, lba, blocks, piece, seed in commands:
        start, end = 512 * lba, 512 * (lba + blocks)
        task = disk.start(CDBS[what](lba, blocks))
        if lba + blocks > SMALL:
            assert (task.status, disk.sense[:3], task.data_in, task.data_out) == (2, (5, 0x21, 0), 0, 0)
            continue
        data = bytes((seed + at) & 0xFF for at in range(256)) * (2 * blocks)
        if what == "compare" and seed & 1:
            data = bytes(model[start:end])
        assert move(task, data, piece) == (model[start:end] if what == "read" else b"")
        if what == "write":
            model[start:end] = data
        same = what != "compare" or data == model[start:end]
        assert task.status == (GOOD if same else CHECK_CONDITION)
    assert run(disk, *read_10(0, SMALL)) == model


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["compare", "read", "write"]),
    st.integers(0, 10),
    st.integers(1, 10),
    st.lists(st.integers(1, 2000), max_size=6),
    st.booleans(),
)
def test_a_command_goes_on_where_it_was_saved(
    what: str, lba: int, blocks: int, pieces: list[int], bad: bool
) -> None:
    images = MemoryImage(SMALL), MemoryImage(SMALL)
    for image in images:
        image.bad = {lba + blocks - 1} if bad else set()
    here, there = ready_disk(images[0]), ready_disk(images[1])
    task, out = here.start(CDBS[what](lba, blocks)), sectors(lba, blocks)
    at = 0
    for piece in pieces:
        task.give(piece)
        task.take(out[at : at + piece])
        at += piece
    images[1].written = dict(images[0].written)
    there.load(here.save())
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(task.save()), type=TaskState)
    twin = there.resume(state)
    assert twin.save() == state
    assert move(twin, out[at:], 700) == move(task, out[at:], 700)
    assert (twin.status, twin.data_out, there.save()) == (task.status, task.data_out, here.save())
    assert images[0].written == images[1].written


def test_a_parameter_list_goes_on_where_it_was_saved(disk: ScsiDisk) -> None:
    parameters = bytes(4) + bytes([8, 18]) + bytes(18)
    task = disk.start(bytes([s.MODE_SELECT_6, 0x10, 0, 0, 24, 0]))
    task.take(parameters[:7])
    twin = ready_disk()
    rest = twin.resume(task.save())
    rest.take(parameters[7:])
    assert (rest.status, rest.data_out) == (GOOD, 0)
    assert run(twin, s.MODE_SENSE_6, 8, 8, 0, 255, 0)[6] == 0


# --- errors of the host ----------------------------------------------------------------------


def sense_information(disk: ScsiDisk) -> tuple[int, int, int, int]:
    """Response code, key, information field and additional code of the pending sense data."""
    data = disk.sense_data()
    return data[0], data[2], int.from_bytes(data[3:7], "big"), data[12]


@pytest.mark.parametrize("bad", [0, 1, 7, 300, 599])
def test_a_block_that_cannot_be_read_is_named_after_the_good_ones(bad: int) -> None:
    """[SBC-2] §4.13: MEDIUM ERROR, UNRECOVERED READ ERROR, the LBA in the information field."""
    image = MemoryImage(BLOCKS)
    image.bad = {50 + bad}
    disk = ready_disk(image)
    task = disk.start(read_10(50, 600))
    assert move(task) == sectors(50, bad)
    assert (task.status, task.data_in) == (CHECK_CONDITION, 0)
    assert sense_information(disk) == (0xF0, 3, 50 + bad, 0x11)


@pytest.mark.parametrize("bad", [0, 1, 7, 300, 599])
def test_a_block_that_cannot_be_written_is_named_after_the_good_ones(bad: int) -> None:
    """[SBC-2] §4.13: MEDIUM ERROR, WRITE ERROR, the LBA in the information field."""
    image = MemoryImage(BLOCKS)
    image.bad = {50 + bad}
    disk = ready_disk(image)
    task = disk.start(write_10(50, 600))
    move(task, bytes(512 * 600), 10_000)
    assert (task.status, task.data_out) == (CHECK_CONDITION, 0)
    assert sense_information(disk) == (0xF0, 3, 50 + bad, 0x0C)
    assert sorted(image.written) == list(range(50, 50 + bad))


def test_a_block_past_32_bits_cannot_be_named() -> None:
    """[SPC-2] §7.20.2: VALID 0 when the information is not as the standard defines it."""
    image = MemoryImage((1 << 32) + 10)
    image.bad = {(1 << 32) + 1}
    disk = ready_disk(image)
    cdb = bytes([s.READ_16, 0, *((1 << 32) + 1).to_bytes(8, "big"), 0, 0, 0, 1, 0, 0])
    assert refused(disk, *cdb) == (3, 0x11, 0)
    assert sense_information(disk) == (0x70, 3, 0, 0x11)


def test_an_image_that_is_read_only_is_write_protected() -> None:
    """[SBC-2] §4.2.1.3: DATA PROTECT, WRITE PROTECTED; before any data is taken."""
    disk = ready_disk(MemoryImage(BLOCKS, read_only=True))
    for cdb in ((s.WRITE_6, 0, 0, 0, 1, 0), tuple(write_10(0, 1)), (s.WRITE_16, *bytes(15))):
        assert refused(disk, *cdb) == (7, 0x27, 0)
    assert run(disk, *read_10(0, 1)) == pattern(0)


def test_verify_reads_the_medium(disk: ScsiDisk, image: MemoryImage) -> None:
    """[SBC-2] §5.22: BYTCHK 0, no data is moved, but blocks are read."""
    run(disk, *verify_10(10, 3000, False))
    assert sum(count for _, count in image.reads) == 3000
    image.bad = {2500}
    assert refused(disk, *verify_10(10, 3000, False)) == (3, 0x11, 0)
    assert sense_information(disk) == (0xF0, 3, 2500, 0x11)


@pytest.mark.parametrize("opcode", [s.VERIFY_10, s.VERIFY_12, s.VERIFY_16])
def test_verify_compares_with_the_data_of_the_initiator(disk: ScsiDisk, opcode: int) -> None:
    """[SBC-2] §5.22: BYTCHK 1, MISCOMPARE DURING VERIFY OPERATION where it differs."""
    short, long = (10).to_bytes(4, "big"), (10).to_bytes(8, "big")
    cdb = {
        s.VERIFY_10: (opcode, 2, *short, 0, 0, 3, 0),
        s.VERIFY_12: (opcode, 2, *short, 0, 0, 0, 3, 0, 0),
        s.VERIFY_16: (opcode, 2, *long, 0, 0, 0, 3, 0, 0),
    }[opcode]
    run(disk, *cdb, out=sectors(10, 3))
    assert refused(disk, *cdb, out=sectors(10, 2) + sectors(5, 1)) == (0xE, 0x1D, 0)
    assert sense_information(disk) == (0xF0, 0xE, 12, 0x1D)


def test_comparing_with_a_block_that_cannot_be_read(disk: ScsiDisk, image: MemoryImage) -> None:
    image.bad = {11}
    assert refused(disk, *verify_10(10, 3, True), out=sectors(10, 3)) == (3, 0x11, 0)
    assert sense_information(disk) == (0xF0, 3, 11, 0x11)


def test_comparing_writes_and_flushes_nothing(disk: ScsiDisk, image: MemoryImage) -> None:
    run(disk, s.MODE_SELECT_6, 0x10, 0, 0, 24, 0, out=bytes(4) + bytes([8, 18]) + bytes(18))
    before = image.flushes
    run(disk, *verify_10(10, 3, True), out=sectors(10, 3))
    assert (image.writes, image.flushes) == ([], before)


def test_a_bad_bit_of_verify(disk: ScsiDisk) -> None:
    """[SBC-3] §5.33: BYTCHK 10b and 11b are not supported."""
    for bits in (0x04, 0x06):
        assert refused(disk, s.VERIFY_10, bits, *bytes(8)) == (5, 0x24, 0)


def test_one_task_of_several_fails_alone(disk: ScsiDisk, image: MemoryImage) -> None:
    image.bad = {500}
    tasks: list[Task] = [disk.start(read_10(lba, 2)) for lba in (0, 500, 1000)]
    assert [move(task) for task in tasks] == [sectors(0, 2), b"", sectors(1000, 2)]
    assert [task.status for task in tasks] == [GOOD, CHECK_CONDITION, GOOD]
