"""The transmission phase: requests are carried out in order, each answered before the next is read.

A request that cannot be carried out is answered with an error, and the conversation goes on. Data come and
go in pieces: a client that announces much and sends little costs nothing.

NOT modelled: requests carried out side by side, CACHE.

Sources:
    [NBD] The NBD protocol, doc/proto.md of github.com/NetworkBlockDevice/nbd
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final, NamedTuple

from disks.errors import HOST_ERRORS, DiskError
from disks.nbd import protocol as nbd
from disks.nbd.export import Export, pieces
from disks.nbd.handshake import Agreed
from disks.nbd.talk import PIECE_BYTES, ProtocolError, Talk, skip

_MOST_DESCRIPTORS: Final = 1024
_WRITES: Final = (nbd.CMD_WRITE, nbd.CMD_TRIM, nbd.CMD_WRITE_ZEROES)
_FLAGS: Final = {  # [NBD] "Command flags"; FUA goes with every command
    nbd.CMD_READ: nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_DF,
    nbd.CMD_WRITE: nbd.CMD_FLAG_FUA,
    nbd.CMD_FLUSH: nbd.CMD_FLAG_FUA,
    nbd.CMD_TRIM: nbd.CMD_FLAG_FUA,
    nbd.CMD_WRITE_ZEROES: nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO,
    nbd.CMD_BLOCK_STATUS: nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_REQ_ONE,
}
_ERRORS: Final = {  # [NBD] "Error values"
    errno.EPERM: nbd.EPERM,
    errno.EACCES: nbd.EPERM,
    errno.EROFS: nbd.EPERM,
    errno.ENOMEM: nbd.ENOMEM,
    errno.ENOSPC: nbd.ENOSPC,
    errno.EDQUOT: nbd.ENOSPC,
    errno.EFBIG: nbd.ENOSPC,
    errno.ESHUTDOWN: nbd.ESHUTDOWN,
}


class Request(NamedTuple):
    """A request message."""

    flags: int
    kind: int
    cookie: int
    offset: int
    length: int


class _RefusedError(Exception):
    """A request that is not carried out: the error, and why, for the client."""

    def __init__(self, error: int, why: str) -> None:
        super().__init__(why)
        self.error = error


Failure = _RefusedError | OSError | DiskError


class Transmission:
    """One client at work. `report` is told of failures of the host or the image."""

    def __init__(self, export: Export, agreed: Agreed, report: Callable[[str], None]) -> None:
        self._export = export
        self._agreed = agreed
        self._report = report
        self._handlers = {
            nbd.CMD_READ: self._read,
            nbd.CMD_WRITE: self._write,
            nbd.CMD_FLUSH: self._flush,
            nbd.CMD_TRIM: self._trim,
            nbd.CMD_WRITE_ZEROES: self._write_zeroes,
            nbd.CMD_BLOCK_STATUS: self._block_status,
        }

    def talk(self) -> Talk[None]:
        """Carry out requests until the client says good-bye."""
        while True:
            magic, *fields = nbd.REQUEST.unpack((yield nbd.REQUEST.size))
            request = Request(*fields)
            if magic != nbd.REQUEST_MAGIC:
                raise ProtocolError(f"no request where one should be: {magic:#x}")
            if request.kind == nbd.CMD_DISC:
                return
            try:
                if (refusal := self._refusal(request)) is not None:
                    if request.kind == nbd.CMD_WRITE:
                        yield from skip(request.length)
                    raise refusal
                yield from self._handlers[request.kind](request)
            except (_RefusedError, *HOST_ERRORS) as error:
                yield self._error(request, error)

    def _refusal(self, request: Request) -> _RefusedError | None:
        """Return why a request is not carried out, if that can be told by looking at it."""
        flags, kind, _, offset, length = request
        size = self._export.size_bytes
        if self._export.stopping:
            return _RefusedError(nbd.ESHUTDOWN, "the server is being shut down")
        if kind not in self._handlers:
            return _RefusedError(nbd.EINVAL, f"no such request: {kind}")
        if flags & ~_FLAGS[kind] or (flags & nbd.CMD_FLAG_DF and not self._agreed.structured):
            return _RefusedError(nbd.EINVAL, f"flags {flags:#x} do not go with request {kind}")
        if kind == nbd.CMD_FLUSH:
            good = offset == length == 0
            return None if good else _RefusedError(nbd.EINVAL, "a flush is of the whole disk")
        if kind == nbd.CMD_BLOCK_STATUS and (self._agreed.context_id is None or length == 0):
            return _RefusedError(nbd.EINVAL, "no range, or no context was agreed on")
        if kind in _WRITES and self._export.read_only:
            return _RefusedError(nbd.EPERM, "the disk is read-only")
        if offset + length > size:
            error = nbd.ENOSPC if kind in (nbd.CMD_WRITE, nbd.CMD_WRITE_ZEROES) else nbd.EINVAL
            return _RefusedError(error, f"the disk ends at {size}")
        if self._agreed.block_sizes and (offset | length) % nbd.MINIMUM_BLOCK:
            return _RefusedError(nbd.EINVAL, f"not a multiple of {nbd.MINIMUM_BLOCK} bytes")
        if kind in (nbd.CMD_READ, nbd.CMD_WRITE) and length > nbd.MAXIMUM_BLOCK:
            return _RefusedError(nbd.EINVAL, f"more than {nbd.MAXIMUM_BLOCK} bytes")
        return None

    def _read(self, request: Request) -> Talk[None]:
        _, _, cookie, offset, length = request
        if not self._agreed.structured:
            data = self._export.read(offset, length)
            yield nbd.SIMPLE_REPLY.pack(nbd.SIMPLE_REPLY_MAGIC, 0, cookie), data
            return
        if length == 0:
            yield (_chunk(cookie, nbd.REPLY_NONE, 0, done=True),)
        piece_bytes = nbd.MAXIMUM_BLOCK if request.flags & nbd.CMD_FLAG_DF else PIECE_BYTES
        for at, size in pieces(offset, length, piece_bytes):
            done = at + size == offset + length
            if not request.flags & nbd.CMD_FLAG_DF and self._export.is_absent(at, size):
                head = _chunk(cookie, nbd.REPLY_OFFSET_HOLE, nbd.CHUNK_HOLE.size, done)
                yield (head + nbd.CHUNK_HOLE.pack(at, size),)
            else:
                data = self._export.read(at, size)
                head = _chunk(cookie, nbd.REPLY_OFFSET_DATA, nbd.CHUNK_OFFSET.size + size, done)
                yield head + nbd.CHUNK_OFFSET.pack(at), data

    def _write(self, request: Request) -> Talk[None]:
        failure: Failure | None = None
        for at, size in pieces(request.offset, request.length, PIECE_BYTES):
            data = yield size
            if failure is None:  # else the rest is taken and forgotten
                try:
                    self._export.write(at, data)
                except HOST_ERRORS as error:
                    failure = error
        if failure is not None:
            raise failure
        yield self._done(request)

    def _flush(self, request: Request) -> Talk[None]:
        self._export.flush()
        yield self._done(request)

    def _trim(self, request: Request) -> Talk[None]:
        yield self._done(request)

    def _write_zeroes(self, request: Request) -> Talk[None]:
        _, _, _, offset, length = request
        keep_room = bool(request.flags & nbd.CMD_FLAG_NO_HOLE)
        if request.flags & nbd.CMD_FLAG_FAST_ZERO and (
            keep_room or not self._export.is_absent(offset, length)
        ):
            raise _RefusedError(nbd.ENOTSUP, "zeros would have to be written")
        self._export.zero(offset, length, keep_room)
        yield self._done(request)

    def _block_status(self, request: Request) -> Talk[None]:
        _, _, cookie, offset, length = request
        most = 1 if request.flags & nbd.CMD_FLAG_REQ_ONE else _MOST_DESCRIPTORS
        payload = bytearray(nbd.CHUNK_CONTEXT.pack(self._agreed.context_id))
        for part in self._export.status(offset, length, most):
            state = nbd.STATE_HOLE | nbd.STATE_ZERO if part.absent else 0
            payload += nbd.DESCRIPTOR.pack(part.length, state)
        yield _chunk(cookie, nbd.REPLY_BLOCK_STATUS, len(payload), done=True), payload

    def _done(self, request: Request) -> tuple[bytes]:
        """Make durable what must be, and return the reply of success."""
        if request.flags & nbd.CMD_FLAG_FUA and request.kind in _WRITES:
            self._export.flush()
        return (nbd.SIMPLE_REPLY.pack(nbd.SIMPLE_REPLY_MAGIC, 0, request.cookie),)

    def _error(self, request: Request, error: Failure) -> tuple[bytes]:
        """Return the reply of failure. What the host says of its files is not for the client."""
        if isinstance(error, _RefusedError):
            code, why = error.error, str(error)
        else:
            self._report(str(error))
            code = _ERRORS.get(error.errno or 0, nbd.EIO) if isinstance(error, OSError) else nbd.EIO
            why = "the server could not do it; it says why on its side"
        if not self._agreed.structured:
            return (nbd.SIMPLE_REPLY.pack(nbd.SIMPLE_REPLY_MAGIC, code, request.cookie),)
        text = why.encode()
        payload = nbd.CHUNK_ERROR.pack(code, len(text)) + text
        return (_chunk(request.cookie, nbd.REPLY_ERROR, len(payload), done=True) + payload,)


def _chunk(cookie: int, kind: int, length: int, done: bool) -> bytes:
    return nbd.CHUNK.pack(nbd.CHUNK_MAGIC, nbd.REPLY_FLAG_DONE if done else 0, kind, cookie, length)
