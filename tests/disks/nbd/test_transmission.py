"""Requests and their replies, one sentence of the protocol's document at a time."""

from __future__ import annotations

import errno
from unittest.mock import patch

import pytest

from disks.errors import DiskError
from disks.image import BlockImage
from disks.nbd import protocol as nbd
from disks.nbd.talk import PIECE_BYTES, ProtocolError
from tests.disks.crash_recorder import RecordingFile
from tests.disks.nbd.dialogue import (
    BOTH_FLAGS,
    NOISE,
    SIZE,
    Dialogue,
    dynamic,
    error_of,
    go,
    modern,
    opened,
    option,
    plain,
    read,
    request,
    write,
    zeroes,
)

# -- reading and writing


def test_what_is_written_is_read_back(image: BlockImage) -> None:
    client = plain(image)
    assert client.simple(write(4096, NOISE)) == (0, b"")
    assert client.simple(read(4096 - 512, len(NOISE) + 512)) == (0, bytes(512) + NOISE)


def test_a_client_that_knows_no_block_sizes_may_use_any_byte(image: BlockImage) -> None:
    client = plain(image)
    client.say(write(0, b"\xff" * 2048))
    assert client.simple(write(510, b"abc")) == (0, b"")
    assert client.simple(zeroes(1000, 3)) == (0, b"")
    model = bytearray(b"\xff" * 2048)
    model[510:513], model[1000:1003] = b"abc", bytes(3)
    assert client.simple(read(1, 2046)) == (0, bytes(model[1:2047]))


@pytest.mark.parametrize("message", [read(1, 512), read(0, 511), write(256, bytes(512)), zeroes(0, 100)])
def test_a_client_that_asked_for_block_sizes_keeps_to_them(image: BlockImage, message: bytes) -> None:
    assert error_of(modern(image).chunks(message)) == nbd.EINVAL


def test_a_structured_read_has_a_chunk_for_holes_and_one_for_data(image: BlockImage) -> None:
    client = modern(image)
    client.say(write(PIECE_BYTES, NOISE))
    (first, hole), (second, data) = client.chunks(read(0, PIECE_BYTES + len(NOISE)))
    assert (first, nbd.CHUNK_HOLE.unpack(hole)) == (nbd.REPLY_OFFSET_HOLE, (0, PIECE_BYTES))
    assert (second, data) == (nbd.REPLY_OFFSET_DATA, nbd.CHUNK_OFFSET.pack(PIECE_BYTES) + NOISE)


def test_a_read_that_may_not_be_fragmented_comes_in_one_chunk(image: BlockImage) -> None:
    client = modern(image)
    client.say(write(PIECE_BYTES, NOISE))
    ((kind, data),) = client.chunks(read(512, PIECE_BYTES, nbd.CMD_FLAG_DF))
    assert kind == nbd.REPLY_OFFSET_DATA
    assert data[8:] == bytes(PIECE_BYTES - 512) + NOISE[:512]


def test_a_read_that_may_not_be_fragmented_has_a_limit(image: BlockImage) -> None:
    client = modern(image)
    assert error_of(client.chunks(read(0, PIECE_BYTES + 512, nbd.CMD_FLAG_DF))) == nbd.EOVERFLOW


def test_a_long_read_has_one_simple_reply(image: BlockImage) -> None:
    client = plain(image)
    client.say(write(2 * PIECE_BYTES - 512, NOISE))
    error, data = client.simple(read(512, 3 * PIECE_BYTES - 512))
    assert (error, data) == (0, (bytes(2 * PIECE_BYTES - 1024) + NOISE).ljust(3 * PIECE_BYTES - 512, b"\0"))


def test_a_read_of_nothing_is_answered(image: BlockImage) -> None:
    assert modern(image).chunks(read(0, 0)) == [(nbd.REPLY_NONE, b"")]
    assert plain(image).simple(read(SIZE, 0)) == (0, b"")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (read(SIZE - 512, 1024), nbd.EINVAL),
        (read(1 << 63, 512), nbd.EINVAL),
        (write(SIZE - 512, bytes(1024)), nbd.ENOSPC),
        (zeroes(SIZE, 512), nbd.ENOSPC),
        (request(nbd.CMD_TRIM, SIZE, 512), nbd.EINVAL),
        (request(nbd.CMD_BLOCK_STATUS, SIZE - 512, 1024), nbd.EINVAL),
        (request(nbd.CMD_BLOCK_STATUS, 0, 0), nbd.EINVAL),
        (request(5, 0, 512), nbd.EINVAL),
        (request(8), nbd.EINVAL),
        (request(nbd.CMD_FLUSH, 0, 512), nbd.EINVAL),
        (read(0, 512, nbd.CMD_FLAG_NO_HOLE), nbd.EINVAL),
        (write(0, bytes(512), nbd.CMD_FLAG_FAST_ZERO), nbd.EINVAL),
        (read(0, 512, 1 << 9), nbd.EINVAL),
    ],
)
def test_a_wrong_request_is_an_error_and_the_next_one_works(
    image: BlockImage, message: bytes, code: int
) -> None:
    client = modern(image)
    assert error_of(client.chunks(message)) == code
    assert client.simple(request(nbd.CMD_FLUSH)) == (0, b"")


def test_a_read_or_write_of_more_than_32_mib_is_refused(file: RecordingFile) -> None:
    image = opened(dynamic(64 << 20))
    client = modern(image)
    assert error_of(client.chunks(read(0, (32 << 20) + 512))) == nbd.EINVAL
    head = request(nbd.CMD_WRITE, 0, (32 << 20) + 512)
    assert client.say(head + bytes(32 << 20)) == b""
    assert error_of(client.chunks(bytes(512))) == nbd.EINVAL
    assert client.simple(write(0, NOISE)) == (0, b"")


def test_simple_replies_do_without_flags_of_structured_ones(image: BlockImage) -> None:
    assert plain(image).simple(read(0, 512, nbd.CMD_FLAG_DF)) == (nbd.EINVAL, b"")


def test_disconnect_has_no_reply(image: BlockImage) -> None:
    client = plain(image)
    assert client.say(request(nbd.CMD_DISC)) == b""
    assert client.over


def test_what_is_no_request_ends_the_connection(image: BlockImage) -> None:
    with pytest.raises(ProtocolError, match="request"):
        plain(image).say(bytes(nbd.REQUEST.size))


# -- what may not be written, and what fails


@pytest.mark.parametrize("message", [write(0, NOISE), zeroes(0, 512), request(nbd.CMD_TRIM, 0, 512)])
def test_a_read_only_disk_says_so_and_refuses_writes(file: RecordingFile, message: bytes) -> None:
    file.read_only = True
    client = Dialogue(opened(file))
    client.say(BOTH_FLAGS + option(nbd.OPT_STRUCTURED_REPLY))
    flags = nbd.INFO_EXPORT_REPLY.unpack(client.options(go())[0][2])[2]
    assert flags & nbd.READ_ONLY
    assert not flags & (nbd.SEND_TRIM | nbd.SEND_WRITE_ZEROES)
    assert error_of(client.chunks(message)) == nbd.EPERM
    assert file.epochs == [[]]


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), nbd.ENOSPC),
        (OSError(errno.EDQUOT, "Quota exceeded"), nbd.ENOSPC),
        (OSError(errno.EACCES, "Permission denied"), nbd.EPERM),
        (OSError(errno.EIO, "Input/output error"), nbd.EIO),
        (OSError("an error without a number"), nbd.EIO),
        (DiskError("/home/me/disk.vhd: is broken"), nbd.EIO),
    ],
)
def test_failures_of_the_image_become_errors_and_tell_the_client_no_paths(
    image: BlockImage, failure: Exception, code: int
) -> None:
    client = modern(image)
    with patch.object(image, "write", side_effect=failure):
        ((_, payload),) = client.chunks(write(0, bytes(PIECE_BYTES + 512)))
    assert nbd.CHUNK_ERROR.unpack_from(payload)[0] == code
    assert b"/home" not in payload
    assert client.reports == [str(failure)]
    assert client.simple(write(0, NOISE)) == (0, b"")


def test_a_read_that_fails_half_way_ends_in_an_error_chunk(image: BlockImage) -> None:
    client = modern(image)
    client.say(write(0, bytes([1]) * 2 * PIECE_BYTES))
    with patch.object(image, "read", side_effect=[bytes(PIECE_BYTES), OSError(errno.EIO, "broken")]):
        kinds = [kind for kind, _ in client.chunks(read(0, 2 * PIECE_BYTES))]
    assert kinds == [nbd.REPLY_OFFSET_DATA, nbd.REPLY_ERROR]


def test_a_simple_read_that_fails_at_once_is_an_error(image: BlockImage) -> None:
    client = plain(image)
    with patch.object(image, "read", side_effect=OSError(errno.EIO, "broken")):
        assert client.simple(read(0, 2 * PIECE_BYTES)) == (nbd.EIO, b"")
    assert client.simple(read(0, 512)) == (0, bytes(512))


def test_a_simple_read_that_fails_half_way_ends_the_connection(image: BlockImage) -> None:
    client = plain(image)
    with (
        patch.object(image, "read", side_effect=[bytes(PIECE_BYTES), OSError(errno.EIO, "broken")]),
        pytest.raises(ProtocolError, match="half-way"),
    ):
        client.say(read(0, 2 * PIECE_BYTES))
    assert client.reports == ["[Errno 5] broken"]


# -- the end of the server


def test_requests_at_the_end_are_refused_and_a_long_one_is_cut(image: BlockImage) -> None:
    client = modern(image)
    client.say(write(0, NOISE))
    client.export.stopping = True
    assert error_of(client.chunks(read(0, 512))) == nbd.ESHUTDOWN
    assert error_of(client.chunks(write(0, bytes(4096)))) == nbd.ESHUTDOWN
    with pytest.raises(OSError, match="shut down"):
        client.export.zero(0, SIZE, keep_room=True)
    assert image.read(0, len(NOISE) // 512) == NOISE
