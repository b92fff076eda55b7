"""FLUSH and FUA, TRIM and zeros, and what BLOCK_STATUS tells, on a dynamic VHD."""

from __future__ import annotations

import pytest

from disks.image import BlockImage
from disks.nbd import protocol as nbd
from disks.overlay import SnapshotImage
from disks.vhd.sparse import SparseVhd
from tests.disks import small_images
from tests.disks.crash_recorder import RecordingFile
from tests.disks.nbd.dialogue import (
    BLOCK,
    BOTH_FLAGS,
    NOISE,
    SIZE,
    Dialogue,
    error_of,
    go,
    modern,
    opened,
    plain,
    request,
    write,
    zeroes,
)


def blocks_of(image: BlockImage) -> int:
    assert isinstance(image, SparseVhd)
    return len(image.store.table.used())


# -- durability


def survivor(file: RecordingFile) -> BlockImage:
    """Return the image as it is found when the process dies now."""
    return opened(RecordingFile(bytes(file.contents)))


@pytest.mark.parametrize(
    "messages",
    [
        (write(0, NOISE), request(nbd.CMD_FLUSH)),
        (write(0, NOISE, nbd.CMD_FLAG_FUA),),
        (write(0, NOISE), zeroes(0, 0, nbd.CMD_FLAG_FUA)),
        (write(0, NOISE), request(nbd.CMD_TRIM, 0, 0, nbd.CMD_FLAG_FUA)),
    ],
)
def test_after_the_reply_to_a_flush_or_fua_the_data_are_durable(
    file: RecordingFile, image: BlockImage, messages: tuple[bytes, ...]
) -> None:
    client = plain(image)
    for message in messages:
        assert client.simple(message) == (0, b"")
    assert file.epochs[-1] == []  # nothing is left that a crash of the host could lose
    assert survivor(file).read(0, len(NOISE) // 512) == NOISE


def test_a_write_alone_need_not_be_durable(file: RecordingFile, image: BlockImage) -> None:
    plain(image).say(write(0, NOISE))
    assert file.epochs[-1] != []


def test_a_flush_makes_the_writes_of_other_clients_durable(file: RecordingFile, image: BlockImage) -> None:
    first, second = plain(image), Dialogue(image)
    second.say(BOTH_FLAGS + go())
    first.say(write(0, NOISE))
    assert second.simple(request(nbd.CMD_FLUSH)) == (0, b"")
    assert survivor(file).read(0, len(NOISE) // 512) == NOISE


# -- zeros, holes


def test_zeros_over_data_are_written(image: BlockImage) -> None:
    client = modern(image)
    client.say(write(0, NOISE))
    assert client.simple(zeroes(512, 1024)) == (0, b"")
    assert image.read(0, len(NOISE) // 512) == NOISE[:512] + bytes(1024) + NOISE[1536:]


def test_zeros_where_nothing_is_take_no_room(file: RecordingFile, image: BlockImage) -> None:
    assert modern(image).simple(zeroes(0, SIZE)) == (0, b"")
    assert file.epochs == [[]]


def test_zeros_that_may_be_no_hole_take_their_room(image: BlockImage) -> None:
    client = modern(image)
    assert client.simple(zeroes(0, BLOCK + 512, nbd.CMD_FLAG_NO_HOLE)) == (0, b"")
    assert blocks_of(image) == 2
    (status,) = client.chunks(request(nbd.CMD_BLOCK_STATUS, 0, BLOCK + 512))
    assert status[1][4:] == nbd.DESCRIPTOR.pack(BLOCK + 512, 0)


def test_fast_zeros_fail_at_once_where_they_would_have_to_be_written(image: BlockImage) -> None:
    client = modern(image)
    client.say(write(BLOCK, NOISE))
    assert client.simple(zeroes(0, BLOCK, nbd.CMD_FLAG_FAST_ZERO)) == (0, b"")
    assert error_of(client.chunks(zeroes(0, BLOCK + 512, nbd.CMD_FLAG_FAST_ZERO))) == nbd.ENOTSUP
    no_hole = nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE
    assert error_of(client.chunks(zeroes(0, 512, no_hole))) == nbd.ENOTSUP
    assert image.read(BLOCK // 512, 8) == NOISE


def test_trim_makes_zeros_of_whole_sectors_the_image_holds(file: RecordingFile, image: BlockImage) -> None:
    client = plain(image)
    client.say(write(0, NOISE))
    writes = len(file.epochs[-1])
    assert client.simple(request(nbd.CMD_TRIM, 100, 2000)) == (0, b"")
    assert image.read(0, len(NOISE) // 512) == NOISE[:512] + bytes(1536) + NOISE[2048:]
    assert [len(write.data or b"") for write in file.epochs[-1][writes:]] == [1536]


def test_trim_of_what_nobody_holds_touches_nothing(file: RecordingFile, image: BlockImage) -> None:
    assert plain(image).simple(request(nbd.CMD_TRIM, 0, SIZE)) == (0, b"")
    assert file.epochs == [[]]


def test_a_crash_after_trim_leaves_each_sector_old_or_zero(file: RecordingFile, image: BlockImage) -> None:
    client = plain(image)
    client.say(write(0, NOISE, nbd.CMD_FLAG_FUA))
    durable = len(file.epochs) - 1
    client.say(request(nbd.CMD_TRIM, 512, 2048) + write(BLOCK, NOISE) + request(nbd.CMD_FLUSH))
    image.close()
    states = 0
    for epoch, contents in file.crashes():
        if epoch < durable:
            continue
        states += 1
        found = opened(RecordingFile(contents)).read(0, len(NOISE) // 512)
        for at in range(0, len(NOISE), 512):
            assert found[at : at + 512] in (NOISE[at : at + 512], bytes(512) if 512 <= at < 2560 else b"")
    assert states > 20


def test_block_status_tells_holes_from_data(image: BlockImage) -> None:
    client = modern(image)
    client.say(write(BLOCK + 1024, NOISE))
    ((kind, payload),) = client.chunks(request(nbd.CMD_BLOCK_STATUS, 512, SIZE - 512))
    assert kind == nbd.REPLY_BLOCK_STATUS
    hole = nbd.STATE_HOLE | nbd.STATE_ZERO
    assert list(nbd.DESCRIPTOR.iter_unpack(payload[4:])) == [
        (BLOCK - 512, hole),
        (BLOCK, 0),
        (SIZE - 2 * BLOCK, hole),
    ]


def test_block_status_of_one_extent(image: BlockImage) -> None:
    client = modern(image)
    client.say(write(BLOCK, NOISE))
    message = request(nbd.CMD_BLOCK_STATUS, 0, SIZE, nbd.CMD_FLAG_REQ_ONE)
    ((_, payload),) = client.chunks(message)
    assert list(nbd.DESCRIPTOR.iter_unpack(payload[4:])) == [(BLOCK, nbd.STATE_HOLE | nbd.STATE_ZERO)]


def test_block_status_is_cut_where_it_would_be_long() -> None:
    blocks = SIZE // small_images.BLOCK
    child = RecordingFile(small_images.blank(blocks, small_images.BASE_ID))
    image = small_images.open_small(child, small_images.blank(blocks))
    client = modern(image)
    for lba in range(0, 6000, 2):
        image.write(lba, b"\x01" * 512)
    ((_, payload),) = client.chunks(request(nbd.CMD_BLOCK_STATUS, 0, SIZE))
    assert list(nbd.DESCRIPTOR.iter_unpack(payload[4:]))[:2] == [(512, 0), (512, 3)]
    assert len(payload) == 4 + 1024 * 8


def test_an_image_that_cannot_tell_is_all_data(image: BlockImage) -> None:
    client = modern(SnapshotImage(image))
    ((_, payload),) = client.chunks(request(nbd.CMD_BLOCK_STATUS, 0, SIZE))
    assert list(nbd.DESCRIPTOR.iter_unpack(payload[4:])) == [(SIZE, 0)]
    assert client.simple(zeroes(0, 4096)) == (0, b"")
    client.export.close()
