"""Every crash leaves each sector old or new, what was flushed new, and an image that opens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from disks.errors import DiskError
from disks.sync import SyncPolicy
from disks.vhd import create
from disks.vhd.create import write_dynamic
from disks.vhd.layout import BLOCK_ABSENT
from disks.vhd.opening import open_vhd
from disks.vhd.sparse import SparseVhd, VhdImage
from tests.disks import small_images
from tests.disks.crash_recorder import RecordingFile

SECTORS = 4 * 1024
BLOCK = 512 << 10


def blank() -> bytes:
    """Return an empty dynamic VHD of four blocks."""
    file = RecordingFile(b"")
    write_dynamic(file, SECTORS * 512, block_bytes=BLOCK)
    return bytes(file.contents)


def blank_of_small_blocks(count: int) -> bytes:
    """Return an empty image of 4-KiB blocks, which we open but do not make."""
    file = RecordingFile(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(create, "CREATE_BLOCK_BYTES", (4 << 10,))
        write_dynamic(file, count * (4 << 10), block_bytes=4 << 10)
    return bytes(file.contents)


def without_bitmap(image: VhdImage, lba: int) -> bytes:
    """Return a sector of a dynamic disk as QEMU reads it."""
    assert isinstance(image, SparseVhd)
    block, first = divmod(lba, BLOCK // 512)
    start = image.store.table[block]
    return bytes(512) if start == BLOCK_ABSENT else image.file.read_at((start + 1 + first) * 512, 512)


class History:
    """An image under writing, and what each sector may hold after a crash in each epoch."""

    def __init__(self, start: bytes, sync: SyncPolicy = SyncPolicy.ON_FLUSH) -> None:
        self.file = RecordingFile(start)
        self.image = open_vhd(self.file, sync)
        self.written: list[tuple[int, dict[int, int]]] = []  # (epoch it was written in, fill by sector)
        self.flushed: list[tuple[int, int]] = []  # (epoch, writes durable from then on)

    def write(self, lba: int, sectors: int, fill: int) -> None:
        epoch = len(self.file.epochs) - 1
        self.image.write(lba, bytes([fill]) * 512 * sectors)
        self.written.append((epoch, dict.fromkeys(range(lba, lba + sectors), fill)))

    def flush(self) -> None:
        self.image.flush()
        self.flushed.append((len(self.file.epochs) - 1, len(self.written)))

    def allowed(self, epoch: int, lba: int) -> set[int]:
        """Return the fills `lba` may have when the crash comes in `epoch`."""
        durable = max((count for at, count in self.flushed if at <= epoch), default=0)
        allowed = {0}
        for number, (at, fills) in enumerate(self.written):
            if lba in fills and at <= epoch:
                allowed = {fills[lba]} if number < durable else allowed | {fills[lba]}
        return allowed

    def check_all(self) -> int:
        """Open the image after every crash; return how many there were."""
        touched = sorted({lba for _, fills in self.written for lba in fills})
        probes = {lba for at in touched for lba in (at - 1, at, at + 1) if 0 <= lba < SECTORS}
        states = 0
        for epoch, contents in self.file.crashes():
            survivor = open_vhd(RecordingFile(contents))
            assert survivor.warnings == ()
            for lba in probes:
                sector = survivor.read(lba, 1)
                assert sector == sector[:1] * 512, f"sector {lba} is torn"
                assert sector[0] in self.allowed(epoch, lba), f"sector {lba} in epoch {epoch}"
                assert sector == without_bitmap(survivor, lba), f"QEMU sees another sector {lba}"
            states += 1
        return states


def test_new_blocks_survive_any_crash() -> None:
    history = History(blank())
    history.write(10, 3, 0x11)
    history.write(1024 + 500, 2, 0x22)
    history.flush()
    history.write(3 * 1024 - 1, 2, 0x33)  # across the edge of two blocks
    history.flush()
    history.image.close()
    assert history.check_all() > 50


def test_overwriting_survives_any_crash() -> None:
    history = History(blank())
    history.write(0, 4, 0x11)
    history.flush()
    history.write(2, 4, 0x22)
    history.write(1, 1, 0x33)
    history.flush()
    history.image.close()
    assert history.check_all() > 20


def test_unflushed_writes_survive_close() -> None:
    history = History(blank())
    history.write(5, 1, 0x44)
    history.image.close()
    history.flushed.append((len(history.file.epochs) - 1, 1))
    assert history.check_all() > 5


def test_always_policy_makes_each_write_durable() -> None:
    history = History(blank(), SyncPolicy.ALWAYS)
    for lba, fill in ((7, 0x11), (1500, 0x22), (7, 0x33)):
        history.write(lba, 1, fill)
        history.flushed.append((len(history.file.epochs) - 1, len(history.written)))
    history.image.close()
    assert history.check_all() > 10


def test_writes_after_a_crash_never_show_what_it_left_behind() -> None:
    first = History(blank())
    first.write(0, 1024, 0xEE)  # lands in the file, but no BAT entry points at it yet
    crashed = bytes(first.file.contents)
    second = History(crashed)
    second.write(1024, 1, 0x11)
    second.flush()
    second.image.close()
    assert second.check_all() > 10
    assert b"\xee" * 512 not in bytes(second.file.contents)


def test_footer_is_never_absent_from_the_end() -> None:
    history = History(blank())
    for block in range(4):
        history.write(block * 1024, 1, 0x55)
    history.image.close()
    for _, contents in history.file.crashes():
        assert contents[-512:].startswith(b"conectix")


def test_closed_image_has_no_room_left_over() -> None:
    history = History(blank())
    history.write(0, 1, 1)
    history.image.close()
    assert history.file.size() == len(blank()) + 512 + BLOCK


def test_flush_without_writes_touches_nothing() -> None:
    history = History(blank())
    history.flush()
    history.image.close()
    assert history.file.epochs == [[]]


def test_failed_write_can_be_repeated() -> None:
    history = History(blank())
    history.file.is_full = True
    with pytest.raises(OSError, match="No space"):
        history.write(0, 1, 1)
    history.file.is_full = False
    history.write(0, 1, 1)
    history.flush()
    history.image.close()
    survivor = open_vhd(RecordingFile(bytes(history.file.contents)))
    assert survivor.read(0, 2) == b"\x01" * 512 + bytes(512)


def test_a_block_whose_first_write_failed_is_not_remembered_as_absent() -> None:
    history = History(blank())
    assert history.image.read(0, 2) == bytes(1024)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history.file, "write_at", refuse_data(history.file))
        with pytest.raises(OSError, match="No space"):
            history.write(0, 2, 1)
    history.write(1, 1, 2)
    assert history.image.read(0, 2) == bytes(512) + b"\x02" * 512


def refuse_data(file: RecordingFile) -> Callable[[int, bytes], None]:
    """Return a `write_at` that finds no room for the two sectors of data, but for all else."""
    write_at = file.write_at

    def write(offset: int, data: bytes) -> None:
        file.is_full = len(data) == 1024
        try:
            write_at(offset, data)
        finally:
            file.is_full = False

    return write


def test_a_new_block_of_a_dynamic_disk_is_marked_whole() -> None:
    history = History(blank())
    history.write(3, 3, 1)
    history.flush()
    assert history.file.contents[2048 : 2048 + 512] == (b"\xff" * 128).ljust(512, b"\0")
    history.image.close()


def test_the_last_block_is_marked_up_to_the_end_of_the_disk() -> None:
    file = RecordingFile(b"")
    write_dynamic(file, BLOCK + 12 * 512, block_bytes=BLOCK)
    image = open_vhd(file)
    image.write(1024 + 3, bytes(512))
    image.close()
    assert file.contents[2048 : 2048 + 512] == b"\xff\xf0".ljust(512, b"\0")


def test_bitmap_of_a_child_has_a_bit_for_each_sector_written_the_first_one_highest() -> None:
    file = RecordingFile(small_images.blank(1, small_images.BASE_ID))
    image = small_images.open_small(file, small_images.blank(1))
    image.write(3, bytes(3 * 512))
    image.flush()
    assert file.contents[2048 : 2048 + 512] == bytes([0b0001_1100]).ljust(512, b"\0")


def test_a_write_over_more_blocks_than_bitmaps_are_kept_for() -> None:
    block = 4 << 10
    file = RecordingFile(blank_of_small_blocks(5000))
    image = open_vhd(file, SyncPolicy.ON_FLUSH)
    for lba in range(0, 5000 * 8, 8):  # every block present
        image.write(lba, b"\x01" * 512)
    image.close()

    again = open_vhd(RecordingFile(bytes(file.contents)), SyncPolicy.ON_FLUSH)
    again.write(0, b"\x02" * (5000 * block))

    assert again.read(4999 * 8, 8) == b"\x02" * block
    assert len(again.store._bitmaps) <= 4096


def test_the_death_of_the_process_costs_at_most_64_new_blocks() -> None:
    file = RecordingFile(blank_of_small_blocks(1000))
    image = open_vhd(file, SyncPolicy.ON_FLUSH)
    for lba in range(0, 1000 * 8, 8):
        image.write(lba, b"\x01" * 512)

    survivor = open_vhd(RecordingFile(bytes(file.contents)), SyncPolicy.ON_FLUSH)

    lost = sum(survivor.read(lba, 1) != b"\x01" * 512 for lba in range(0, 1000 * 8, 8))
    assert lost < 64


def test_a_file_never_grows_past_what_a_table_entry_can_name() -> None:
    history = History(blank())
    history.image.store._next_offset = 0xFFFF_FFFF * 512
    with pytest.raises(DiskError, match="2 TiB"):
        history.write(0, 1, 1)
