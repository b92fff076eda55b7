"""Fixed newstyle negotiation: the client asks what there is and how to use it, then begins.

There is one export, the default one, whose name is empty.

NOT modelled: TLS (its option is answered as unknown), extended headers.

Sources:
    [NBD] The NBD protocol, doc/proto.md of github.com/NetworkBlockDevice/nbd
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from disks.nbd import protocol as nbd
from disks.nbd.export import Export
from disks.nbd.talk import ProtocolError, Talk, skip

MOST_OPTIONS: Final = 256  # what a client may ask for before it begins
_MOST_OPTION_BYTES: Final = 64 << 10
_CONTEXT_ID: Final = 1
_KNOWN_FLAGS: Final = nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES


@dataclass
class Agreed:
    """What the client chose."""

    structured: bool = False
    block_sizes: bool = False  # it asked for them, so it keeps to them
    context_id: int | None = None  # of base:allocation, if it wants to hear of that


class _InvalidError(Exception):
    """The data of an option are not what they should be; the message is for the client."""


def negotiate(export: Export) -> Talk[Agreed | None]:
    """Greet and answer options; return what was agreed, None when the client only asked or went away."""
    yield (nbd.GREETING.pack(nbd.INIT_MAGIC, nbd.OPTION_MAGIC, _KNOWN_FLAGS),)
    (flags,) = nbd.CLIENT_FLAGS.unpack((yield nbd.CLIENT_FLAGS.size))
    if flags & ~_KNOWN_FLAGS:
        raise ProtocolError(f"unknown client flags {flags:#x}")
    haggling = _Haggling(export, padded=not flags & nbd.FLAG_NO_ZEROES)
    for _ in range(MOST_OPTIONS):
        magic, option, length = nbd.OPTION.unpack((yield nbd.OPTION.size))
        if magic != nbd.OPTION_MAGIC:
            raise ProtocolError(f"no option where one should be: {magic!r}")
        data: bytes | None = None
        if length <= _MOST_OPTION_BYTES:
            data = bytes((yield length)) if length else b""
        else:
            yield from skip(length)
        replies, done = haggling.answer(option, data)
        if replies:
            yield tuple(replies)
        if done:
            return None if option == nbd.OPT_ABORT else haggling.agreed
    raise ProtocolError(f"{MOST_OPTIONS} options and no end")


class _Haggling:
    """The options so far."""

    def __init__(self, export: Export, padded: bool) -> None:
        self.agreed = Agreed()
        self._export = export
        self._padding = nbd.EXPORT_PADDING if padded else b""
        self._answers = {
            nbd.OPT_LIST: self._list,
            nbd.OPT_INFO: self._info,
            nbd.OPT_GO: self._go,
            nbd.OPT_STRUCTURED_REPLY: self._structured_reply,
            nbd.OPT_LIST_META_CONTEXT: self._list_contexts,
            nbd.OPT_SET_META_CONTEXT: self._set_contexts,
        }

    def answer(self, option: int, data: bytes | None) -> tuple[list[bytes], bool]:
        """Return the replies, and whether they end the negotiation; `data` None was too much to look at."""
        if option == nbd.OPT_EXPORT_NAME:
            if data != b"":
                raise ProtocolError("an export that is not there")  # this option cannot be refused
            return [nbd.EXPORT_REPLY.pack(self._export.size_bytes, self._flags()) + self._padding], True
        if option == nbd.OPT_ABORT:
            return [_reply(option, nbd.REP_ACK)], True
        answer = self._answers.get(option)
        if answer is None:
            return [_reply(option, nbd.REP_ERR_UNSUP, b"this server has no such option")], False
        if data is None:
            return [_reply(option, nbd.REP_ERR_TOO_BIG, b"the option has too much data")], False
        try:
            replies, good = answer(option, data)
        except _InvalidError as error:
            return [_reply(option, nbd.REP_ERR_INVALID, str(error).encode())], False
        return replies, good and option == nbd.OPT_GO

    def _list(self, option: int, data: bytes) -> tuple[list[bytes], bool]:
        _require(not data, "LIST takes no data")
        entry = (0).to_bytes(4, "big") + self._export.description.encode()
        return [_reply(option, nbd.REP_SERVER, entry), _reply(option, nbd.REP_ACK)], True

    def _structured_reply(self, option: int, data: bytes) -> tuple[list[bytes], bool]:
        _require(not data, "STRUCTURED_REPLY takes no data")
        self.agreed.structured = True
        return [_reply(option, nbd.REP_ACK)], True

    def _go(self, option: int, data: bytes) -> tuple[list[bytes], bool]:
        replies, good = self._info(option, data)
        self.agreed.block_sizes = good and nbd.INFO_BLOCK_SIZE in _Reader(data).requests()
        return replies, good

    def _info(self, option: int, data: bytes) -> tuple[list[bytes], bool]:
        reader = _Reader(data)
        wanted = reader.requests()
        if reader.name:
            return [_unknown(option)], False
        export = self._export
        infos = [nbd.INFO_EXPORT_REPLY.pack(nbd.INFO_EXPORT, export.size_bytes, self._flags())]
        if nbd.INFO_DESCRIPTION in wanted:
            infos.append(nbd.INFO_DESCRIPTION.to_bytes(2, "big") + export.description.encode())
        if nbd.INFO_BLOCK_SIZE in wanted:
            sizes = (nbd.MINIMUM_BLOCK, nbd.PREFERRED_BLOCK, nbd.MAXIMUM_BLOCK)
            infos.append(nbd.INFO_BLOCK_SIZE_REPLY.pack(nbd.INFO_BLOCK_SIZE, *sizes))
        return [*(_reply(option, nbd.REP_INFO, info) for info in infos), _reply(option, nbd.REP_ACK)], True

    def _list_contexts(self, option: int, data: bytes) -> tuple[list[bytes], bool]:
        reader = _Reader(data)
        queries = reader.queries()
        if reader.name:
            return [_unknown(option)], False
        found = not queries or not {"base:", nbd.BASE_ALLOCATION}.isdisjoint(queries)
        return _contexts(option, 0 if found else None), True

    def _set_contexts(self, option: int, data: bytes) -> tuple[list[bytes], bool]:
        self.agreed.context_id = None
        _require(self.agreed.structured, "contexts need structured replies, which were not asked for")
        reader = _Reader(data)
        queries = reader.queries()
        if reader.name:
            return [_unknown(option)], False
        if nbd.BASE_ALLOCATION in queries:
            self.agreed.context_id = _CONTEXT_ID
        return _contexts(option, self.agreed.context_id), True

    def _flags(self) -> int:
        """Return the transmission flags.

        There is one image and one lock, so connections can be many at once.
        """
        flags = nbd.HAS_FLAGS | nbd.SEND_FLUSH | nbd.SEND_FUA | nbd.CAN_MULTI_CONN
        flags |= nbd.SEND_DF if self.agreed.structured else 0
        if self._export.read_only:
            return flags | nbd.READ_ONLY
        return flags | nbd.SEND_TRIM | nbd.SEND_WRITE_ZEROES | nbd.SEND_FAST_ZERO


class _Reader:
    """The data of an option that names an export; what does not fit raises _InvalidError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.name = self._text()

    def requests(self) -> list[int]:
        """Return the rest, a list of information types."""
        wanted = [self._number(2) for _ in range(self._number(2))]
        self._require_end()
        return wanted

    def queries(self) -> list[str]:
        """Return the rest, a list of texts."""
        count = self._number(4)
        _require(count <= len(self._data) // 4, "more queries than there are data")
        found = [self._text() for _ in range(count)]
        self._require_end()
        return found

    def _text(self) -> str:
        length = self._number(4)
        _require(length <= nbd.MAX_STRING_BYTES, f"a text of {length} bytes")
        return self._take(length).decode("utf-8", "replace")

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _take(self, length: int) -> bytes:
        _require(self._at + length <= len(self._data), "the option ends in the middle of its data")
        self._at += length
        return self._data[self._at - length : self._at]

    def _require_end(self) -> None:
        _require(self._at == len(self._data), "the option has data left over")


def _require(good: bool, problem: str) -> None:
    if not good:
        raise _InvalidError(problem)


def _reply(option: int, kind: int, data: bytes = b"") -> bytes:
    return nbd.OPTION_REPLY.pack(nbd.OPTION_REPLY_MAGIC, option, kind, len(data)) + data


def _unknown(option: int) -> bytes:
    return _reply(option, nbd.REP_ERR_UNKNOWN, b"there is one export, whose name is empty")


def _contexts(option: int, context_id: int | None) -> list[bytes]:
    found = []
    if context_id is not None:
        data = context_id.to_bytes(4, "big") + nbd.BASE_ALLOCATION.encode()
        found.append(_reply(option, nbd.REP_META_CONTEXT, data))
    return [*found, _reply(option, nbd.REP_ACK)]
