"""MODE SENSE and MODE SELECT of a disk, and what the write cache does."""

from __future__ import annotations

import pytest

from devices.scsi import commands as s
from devices.scsi.disk import ScsiDisk
from devices.scsi.mode import ALL_PAGES
from tests.devices.ide_rig import MemoryImage
from tests.devices.scsi.rig import refused, run
from tests.devices.scsi.test_disk import BLOCKS, ready_disk

CURRENT, CHANGEABLE, DEFAULT, SAVED = 0x00, 0x40, 0x80, 0xC0
CACHING = 0x08
DESCRIPTOR = BLOCKS.to_bytes(4, "big") + (512).to_bytes(4, "big")
WRITE = (s.WRITE_10, 0, 0, 0, 0, 9, 0, 0, 1, 0)
SECTOR = bytes(512)


@pytest.fixture
def image() -> MemoryImage:
    return MemoryImage(BLOCKS)


@pytest.fixture
def disk(image: MemoryImage) -> ScsiDisk:
    return ready_disk(image)


def sense(disk: ScsiDisk, page: int, control: int = CURRENT, dbd: int = 8) -> bytes:
    return run(disk, s.MODE_SENSE_10, dbd, control | page, 0, 0, 0, 0, 1, 0, 0)


def select(disk: ScsiDisk, parameters: bytes) -> bytes:
    return run(
        disk, s.MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, *len(parameters).to_bytes(2, "big"), 0, out=parameters
    )


def refuses(disk: ScsiDisk, parameters: bytes) -> tuple[int, ...]:
    length = len(parameters).to_bytes(2, "big")
    return refused(disk, s.MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, *length, 0, out=parameters)


def caching(enabled: bool) -> bytes:
    return bytes([CACHING, 18, 4 if enabled else 0]) + bytes(17)


@pytest.mark.parametrize(
    ("page", "length"), [(0x01, 10), (0x02, 14), (0x03, 22), (0x04, 22), (0x08, 18), (0x0A, 10)]
)
def test_pages_have_the_length_of_the_standard(disk: ScsiDisk, page: int, length: int) -> None:
    """[SBC-2] §6.3, [SPC-2] §8.3; [SCSI-2] §9.3.3."""
    data = sense(disk, page)
    assert data[8:10] == bytes([page, length])
    assert int.from_bytes(data[:2], "big") == len(data) - 2 == 8 + length


def test_all_pages_come_in_ascending_order(disk: ScsiDisk) -> None:
    """[SPC-2] §7.8.1: page code 3Fh."""
    data, codes = sense(disk, ALL_PAGES)[8:], []
    while data:
        codes.append(data[0])
        data = data[2 + data[1] :]
    assert codes == [1, 2, 3, 4, 8, 10]


def test_the_block_descriptor_is_there_unless_disabled(disk: ScsiDisk) -> None:
    """[SPC-2] §7.8.1: DBD."""
    assert sense(disk, CACHING, dbd=0)[6:16] == bytes([0, 8]) + DESCRIPTOR
    assert sense(disk, CACHING)[6:8] == b"\0\0"
    assert run(disk, s.MODE_SENSE_6, 0, CACHING, 0, 255, 0)[:12] == bytes([31, 0, 0x10, 8]) + DESCRIPTOR


def test_write_protection_and_fua_show_in_the_header(disk: ScsiDisk) -> None:
    """[SBC-2] §6.3.1: WP and DPOFUA."""
    assert sense(disk, CACHING)[3] == 0x10
    locked = ready_disk(MemoryImage(BLOCKS, read_only=True))
    assert sense(locked, CACHING)[3] == 0x90


def test_the_geometry_has_at_most_as_many_blocks_as_the_disk(disk: ScsiDisk) -> None:
    """[SCSI-2] §9.3.3.7."""
    for blocks in (BLOCKS, 1 << 21, 1 << 22, 1 << 40):
        disk = ready_disk(MemoryImage(blocks))
        rigid, tracks = sense(disk, 4)[8:], sense(disk, 3)[8:]
        cylinders, heads = int.from_bytes(rigid[2:5], "big"), rigid[5]
        assert 0 < cylinders * heads * int.from_bytes(tracks[10:12], "big") <= blocks
        assert int.from_bytes(tracks[12:14], "big") == 512


def test_what_can_be_changed_is_wce(disk: ScsiDisk) -> None:
    """[SPC-2] §7.8.2: ones where MODE SELECT can change a bit."""
    assert sense(disk, CACHING, CHANGEABLE)[10:] == b"\4" + bytes(17)
    mask = sense(disk, ALL_PAGES, CHANGEABLE)[8:]
    assert sum(mask[at] for at in range(len(mask))) - sum((1, 10, 2, 14, 3, 22, 4, 22, 8, 18, 10, 10)) == 4


def test_current_and_default_values_part_when_one_is_changed(disk: ScsiDisk) -> None:
    """[SPC-2] §7.8.2-§7.8.4."""
    assert sense(disk, CACHING)[10] == sense(disk, CACHING, DEFAULT)[10] == 4
    select(disk, bytes(8) + caching(False))
    assert (sense(disk, CACHING)[10], sense(disk, CACHING, DEFAULT)[10]) == (0, 4)
    disk.reset()
    disk.start(bytes(6))
    assert sense(disk, CACHING)[10] == 4


def test_there_are_no_saved_values(disk: ScsiDisk) -> None:
    """[SPC-2] §7.8.5: SAVING PARAMETERS NOT SUPPORTED; §7.6: SP is then an invalid field."""
    assert refused(disk, s.MODE_SENSE_6, 0, SAVED | CACHING, 0, 255, 0) == (5, 0x39, 0)
    assert refused(disk, s.MODE_SELECT_6, 0x11, 0, 0, 24, 0) == (5, 0x24, 0)


def test_a_page_there_is_not(disk: ScsiDisk) -> None:
    """[SPC-2] §7.8.1."""
    assert refused(disk, s.MODE_SENSE_6, 0, 0x1C, 0, 255, 0) == (5, 0x24, 0)
    assert refused(disk, s.MODE_SENSE_6, 0, CACHING, 3, 255, 0) == (5, 0x24, 0)
    assert refuses(disk, bytes(8) + bytes([0x1C, 10]) + bytes(10)) == (5, 0x26, 0)


def test_what_mode_sense_gave_mode_select_takes(disk: ScsiDisk) -> None:
    """[SPC-2] §7.6: the usual way is to read all pages, change a bit and write them back."""
    data = bytearray(sense(disk, ALL_PAGES, dbd=0))
    data[:4] = bytes(4)  # reserved in MODE SELECT
    select(disk, bytes(data))
    data[data.index(bytes([CACHING, 18])) + 2] = 0
    select(disk, bytes(data))
    assert sense(disk, CACHING)[10] == 0
    short = run(disk, s.MODE_SENSE_6, 0, CACHING, 0, 255, 0)
    run(disk, s.MODE_SELECT_6, 0x10, 0, 0, len(short), 0, out=b"\0\0\0" + short[3:])


def test_a_bit_that_cannot_be_changed_changes_nothing(disk: ScsiDisk) -> None:
    """[SPC-2] §7.6: INVALID FIELD IN PARAMETER LIST, and no parameter of the list is changed."""
    error = bytes([1, 10, 0x80]) + bytes(9)
    assert refuses(disk, bytes(8) + caching(False) + error) == (5, 0x26, 0)
    assert sense(disk, CACHING)[10] == 4


@pytest.mark.parametrize(
    "descriptor",
    [
        bytes(4) + (2048).to_bytes(4, "big"),
        (BLOCKS - 1).to_bytes(4, "big") + (512).to_bytes(4, "big"),
        bytes(6) + b"\2\0" + bytes(8),
    ],
)
def test_a_block_descriptor_cannot_change_the_disk(disk: ScsiDisk, descriptor: bytes) -> None:
    """[SPC-2] §8.3.4."""
    assert refuses(disk, bytes(7) + bytes([len(descriptor)]) + descriptor) == (5, 0x26, 0)


@pytest.mark.parametrize("length", [1, 7, 9, 10, 27])
def test_a_list_cut_off_in_the_middle(disk: ScsiDisk, length: int) -> None:
    """[SPC-2] §7.6: PARAMETER LIST LENGTH ERROR."""
    assert refuses(disk, (bytes(8) + caching(False))[:length]) == (5, 0x1A, 0)
    assert refuses(disk, bytes(7) + b"\x08" + bytes(5)) == (5, 0x1A, 0)
    assert sense(disk, CACHING)[10] == 4


def test_a_list_of_no_length_is_no_error(disk: ScsiDisk) -> None:
    """[SPC-2] §7.6."""
    run(disk, s.MODE_SELECT_6, 0x10, 0, 0, 0, 0)
    run(disk, s.MODE_SELECT_10, 0x10, *bytes(8))


def test_the_cache_is_flushed_when_it_is_turned_off(disk: ScsiDisk, image: MemoryImage) -> None:
    run(disk, *WRITE, out=SECTOR)
    assert image.flushes == 0
    select(disk, bytes(8) + caching(False))
    assert image.flushes == 1
    image.bad = {-1}
    disk = ready_disk(image)
    assert refuses(disk, bytes(8) + caching(False)) == (3, 0x0C, 0)
    assert sense(disk, CACHING)[10] == 4


def test_with_the_write_cache_off_every_write_is_flushed_before_its_status(
    disk: ScsiDisk, image: MemoryImage
) -> None:
    """[SBC-2] §6.3.2: WCE 0, status only when the data is on the medium."""
    select(disk, bytes(8) + caching(False))
    before = image.flushes
    task = disk.start(bytes(WRITE))
    task.take(SECTOR[:-1])
    assert image.flushes == before
    task.take(b"\0")
    assert (image.flushes, len(image.writes)) == (before + 1, 1)
    image.bad = {-1}
    assert refused(disk, *WRITE, out=SECTOR) == (3, 0x0C, 0)


@pytest.mark.parametrize("opcode", [s.WRITE_10, s.WRITE_12, s.WRITE_16])
def test_fua_makes_one_write_durable(disk: ScsiDisk, image: MemoryImage, opcode: int) -> None:
    """[SBC-2] §5.25: FUA 1, to the medium before the status."""
    count = {s.WRITE_10: 8, s.WRITE_12: 9, s.WRITE_16: 13}[opcode]
    cdb = bytes([opcode, 8]).ljust(count, b"\0") + b"\1\0"
    run(disk, *cdb, out=SECTOR)
    run(disk, opcode, 0, *cdb[2:], out=SECTOR)
    assert image.flushes == 1


def test_the_short_write_has_no_fua_but_an_address_there(disk: ScsiDisk, image: MemoryImage) -> None:
    """[SBC-2] §5.24."""
    disk = ready_disk(big := MemoryImage(1 << 20))
    run(disk, s.WRITE_6, 0x08, 0, 0, 1, 0, out=SECTOR)
    assert (big.flushes, big.writes) == (0, [(0x8_0000, 1)])


def test_synchronize_cache_flushes_and_tells_of_a_failure(disk: ScsiDisk, image: MemoryImage) -> None:
    """[SBC-2] §5.20; WRITE ERROR when the data could not be made durable."""
    run(disk, s.SYNCHRONIZE_CACHE_10, *bytes(9))
    run(disk, s.SYNCHRONIZE_CACHE_16, *bytes(15))
    assert image.flushes == 2
    image.bad = {-1}
    assert refused(disk, s.SYNCHRONIZE_CACHE_10, *bytes(9)) == (3, 0x0C, 0)
    assert refused(disk, s.SYNCHRONIZE_CACHE_16, *bytes(15)) == (3, 0x0C, 0)
    assert refused(disk, s.START_STOP_UNIT, *bytes(5)) == (3, 0x0C, 0)
    run(disk, *bytes(6))  # and it has not stopped
