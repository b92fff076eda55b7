"""A client made of bytes, for the tests of the NBD conversation: no sockets, no threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from disks.image import BlockImage
from disks.nbd import protocol as nbd
from disks.nbd.export import Export
from disks.nbd.handshake import negotiate
from disks.nbd.talk import PIECE_BYTES, Step, Talk
from disks.nbd.transmission import Transmission
from disks.sync import SyncPolicy
from disks.vhd.create import write_dynamic
from disks.vhd.opening import open_vhd
from tests.disks.crash_recorder import RecordingFile

SIZE = 4 << 20
BLOCK = 512 << 10
NOISE = bytes(range(256)) * 16
BOTH_FLAGS = nbd.CLIENT_FLAGS.pack(nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES)


def dynamic(size: int = SIZE) -> RecordingFile:
    """Return an empty dynamic VHD in memory."""
    made = RecordingFile(b"")
    write_dynamic(made, size, block_bytes=BLOCK)
    return RecordingFile(bytes(made.contents))


def opened(file: RecordingFile) -> BlockImage:
    file.path = Path("disk.vhd")
    return open_vhd(file, SyncPolicy.ON_FLUSH)  # type: ignore[arg-type]


def option(number: int, data: bytes = b"") -> bytes:
    return nbd.OPTION.pack(nbd.OPTION_MAGIC, number, len(data)) + data


def text(value: str) -> bytes:
    return len(value.encode()).to_bytes(4, "big") + value.encode()


def go(*requests: int, name: str = "", number: int = nbd.OPT_GO) -> bytes:
    wanted = b"".join(request.to_bytes(2, "big") for request in (len(requests), *requests))
    return option(number, text(name) + wanted)


def contexts(*queries: str, name: str = "", number: int = nbd.OPT_SET_META_CONTEXT) -> bytes:
    return option(number, text(name) + len(queries).to_bytes(4, "big") + b"".join(map(text, queries)))


def request(kind: int, offset: int = 0, length: int = 0, flags: int = 0, data: bytes = b"") -> bytes:
    return nbd.REQUEST.pack(nbd.REQUEST_MAGIC, flags, kind, 7, offset, length or len(data)) + data


def read(offset: int, length: int, flags: int = 0) -> bytes:
    return request(nbd.CMD_READ, offset, length, flags)


def write(offset: int, data: bytes, flags: int = 0) -> bytes:
    return request(nbd.CMD_WRITE, offset, 0, flags, data)


def zeroes(offset: int, length: int, flags: int = 0) -> bytes:
    return request(nbd.CMD_WRITE_ZEROES, offset, length, flags)


def error_of(chunks: list[tuple[int, bytes]]) -> int:
    """Return the error of a reply that is one error chunk with a message."""
    ((kind, payload),) = chunks
    assert kind == nbd.REPLY_ERROR
    code, length = nbd.CHUNK_ERROR.unpack_from(payload)
    assert payload[nbd.CHUNK_ERROR.size :].decode() != ""
    assert len(payload) == nbd.CHUNK_ERROR.size + length
    return int(code)


class Dialogue:
    """Says bytes to a conversation and keeps what comes back."""

    def __init__(self, image: BlockImage) -> None:
        self.export = Export(image, "disk.vhd")
        self.reports: list[str] = []
        self.most_asked = 0
        self.over = False
        self._pending = bytearray()
        self._talk = self._whole()
        self._wanted = 0
        self._said = bytearray()
        self._go_on(lambda: next(self._talk))

    def say(self, data: bytes) -> bytes:
        """Give all of `data`; return what came back since the last time."""
        self._pending += data
        while not self.over and len(self._pending) >= self._wanted:
            view = memoryview(bytes(self._pending[: self._wanted]))
            del self._pending[: self._wanted]
            self._go_on(lambda view=view: self._talk.send(view))
        said, self._said = bytes(self._said), bytearray()
        return said

    def options(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Say options; return (option, type, data) of every reply."""
        said, found = self.say(data), []
        while said:
            magic, number, kind, length = nbd.OPTION_REPLY.unpack_from(said)
            assert magic == nbd.OPTION_REPLY_MAGIC
            found.append((number, kind, said[nbd.OPTION_REPLY.size :][:length]))
            assert len(found[-1][2]) == length
            said = said[nbd.OPTION_REPLY.size + length :]
        return found

    def simple(self, data: bytes) -> tuple[int, bytes]:
        """Say one request; return the error and the data of its simple reply."""
        said = self.say(data)
        magic, error, cookie = nbd.SIMPLE_REPLY.unpack_from(said)
        assert (magic, cookie) == (nbd.SIMPLE_REPLY_MAGIC, 7)
        return error, said[nbd.SIMPLE_REPLY.size :]

    def chunks(self, data: bytes) -> list[tuple[int, bytes]]:
        """Say one request; return (type, payload) of every chunk of its reply."""
        said, found, done = self.say(data), [], False
        while said:
            assert not done
            magic, flags, kind, cookie, length = nbd.CHUNK.unpack_from(said)
            assert (magic, cookie) == (nbd.CHUNK_MAGIC, 7)
            done = bool(flags & nbd.REPLY_FLAG_DONE)
            found.append((kind, said[nbd.CHUNK.size :][:length]))
            said = said[nbd.CHUNK.size + length :]
        assert done
        return found

    def _whole(self) -> Talk[None]:
        agreed = yield from negotiate(self.export)
        if agreed is not None:
            yield from Transmission(self.export, agreed, self.reports.append).talk()

    def _go_on(self, advance: Callable[[], Step]) -> None:
        try:
            step = advance()
            while isinstance(step, tuple):
                for buffer in step:
                    self._said += buffer
                step = self._talk.send(memoryview(b""))
        except StopIteration:
            self.over = True
            return
        assert 0 < step <= PIECE_BYTES
        self._wanted, self.most_asked = step, max(self.most_asked, step)


def plain(image: BlockImage) -> Dialogue:
    """Return a dialogue past an old client's negotiation: simple replies, no block sizes."""
    client = Dialogue(image)
    client.say(BOTH_FLAGS + option(nbd.OPT_EXPORT_NAME))
    return client


def modern(image: BlockImage) -> Dialogue:
    """Return a dialogue past the negotiation of a client that asks for everything."""
    client = Dialogue(image)
    client.say(BOTH_FLAGS + option(nbd.OPT_STRUCTURED_REPLY) + contexts("base:allocation"))
    client.say(go(nbd.INFO_BLOCK_SIZE))
    return client
