"""The kinds of command a logical unit has under way: a finished one, a read, a write, a list of parameters.

Data moves in bounded pieces, whatever length a CDB names: a read fetches a little ahead of its
initiator, a write is stored as its data comes. A piece that the host refuses is tried by halves,
so that the good blocks move and the first bad one is named.

Sources:
    [SBC-2] T10/1417D revision 16, §5 the commands, §4.13 errors in the middle of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from devices.scsi.sense import MISCOMPARE, WRITE_ERROR, Sense
from devices.scsi.task import GOOD, TaskState
from disks.errors import HOST_ERRORS

AHEAD_BYTES: Final = 0x2_0000  # fetched at once for an initiator that takes little at a time
MOST_BYTES: Final = 0x10_0000  # fetched at once for one that takes much
MOST_AHEAD: Final = MOST_BYTES + 0x1000  # with the block that it ends in
STORE_BYTES: Final = 0x2_0000  # gathered before it is stored

REPLY: Final = "reply"
READ: Final = "read"
WRITE: Final = "write"
COMPARE: Final = "compare"
PARAMETERS: Final = "parameters"

Data = bytes | bytearray | memoryview


class BlockUnit(Protocol):
    """What a read or a write needs of its unit."""

    def report(self, sense: Sense) -> int:
        """Keep the sense data of a failed command and return its status."""

    def block_bytes(self, cdb: bytes) -> int:
        """Return the bytes of a block as this command moves it."""

    def read_blocks(self, cdb: bytes, lba: int, blocks: int) -> bytes:
        """Return blocks as this command moves them, or raise one of HOST_ERRORS."""

    def read_into(self, cdb: bytes, lba: int, views: list[memoryview]) -> bool:
        """Fill `views` with whole blocks, or raise as above; False if only `read_blocks` will do."""

    def read_failure(self, lba: int) -> Sense:
        """Return why `read_blocks` raised."""

    def write_blocks(self, lba: int, data: Data) -> None:
        """Store blocks, or raise one of HOST_ERRORS."""

    def settle(self, cdb: bytes) -> None:
        """Make what the command wrote durable if it must be before its status; raise as above."""


class Reply:
    """A command that is over but for the data it answers with."""

    __slots__ = ("_data", "data_in", "data_out", "status")

    def __init__(self, data: bytes = b"", status: int = GOOD) -> None:
        self._data = data
        self.data_in = len(data)
        self.data_out = 0
        self.status = status

    def ready(self) -> bool:
        """Tell whether anything is left."""
        return self.data_in > 0

    def give(self, limit: int) -> bytes:
        """Return the next bytes."""
        data, self._data = self._data[:limit], self._data[limit:]
        self.data_in = len(self._data)
        return data

    def take(self, data: Data) -> None:
        """Want nothing."""

    def save(self) -> TaskState:
        """Return the state."""
        return TaskState(kind=REPLY, status=self.status, data=self._data)


class ReadTask:
    """Blocks of the medium on their way to the initiator."""

    __slots__ = (
        "_ahead",
        "_block",
        "_blocks",
        "_cdb",
        "_lba",
        "_position",
        "_unit",
        "data_in",
        "data_out",
        "status",
    )

    def __init__(self, unit: BlockUnit, cdb: bytes, lba: int, blocks: int, ahead: bytes = b"") -> None:
        self._unit, self._cdb = unit, cdb
        self._lba, self._blocks = lba, blocks
        self._block = unit.block_bytes(cdb)
        self._ahead, self._position = ahead, 0
        self.data_in = len(ahead) + blocks * self._block
        self.data_out = 0
        self.status = GOOD

    def ready(self) -> bool:
        """Tell whether there is a byte to give, or end here for a block that cannot be read."""
        if self.data_in and self._position == len(self._ahead) and not self._fetch(1):
            self._fail()
        return self.data_in > 0

    def give(self, limit: int) -> bytes:
        """Return the next bytes; fewer before a block that cannot be read."""
        begin = self._position
        if 0 < limit <= min(self.data_in, len(self._ahead) - begin):
            self._position += limit
            self.data_in -= limit
            return self._ahead[begin : begin + limit]
        pieces: list[bytes] = []
        wanted = limit = min(limit, self.data_in)
        while wanted > 0:
            if self._position == len(self._ahead) and not self._fetch(wanted):
                if not pieces:
                    self._fail()
                break
            piece = self._ahead[self._position : self._position + wanted]
            self._position += len(piece)
            wanted -= len(piece)
            pieces.append(piece)
        self.data_in -= limit - wanted if self.data_in else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def fill(self, views: list[memoryview]) -> bool:
        """Give all that the views hold straight into them; False if they have to be filled from `give`."""
        length = sum(map(len, views))
        blocks, odd = divmod(length, self._block)
        if odd or blocks > self._blocks or self._position < len(self._ahead):
            return False
        try:
            if not self._unit.read_into(self._cdb, self._lba, views):
                return False
        except HOST_ERRORS:
            return False
        self._lba += blocks
        self._blocks -= blocks
        self.data_in -= length
        return True

    def take(self, data: Data) -> None:
        """Want nothing."""

    def save(self) -> TaskState:
        """Return the state."""
        ahead = self._ahead[self._position :]
        return TaskState(
            kind=READ, cdb=self._cdb, status=self.status, data=ahead, lba=self._lba, blocks=self._blocks
        )

    def _fetch(self, wanted: int) -> bool:
        """Get the next blocks, as many as can be read at once; False if the next one cannot."""
        most = max(AHEAD_BYTES, min(wanted, MOST_BYTES))
        blocks = min(self._blocks, -(-most // self._block))
        while blocks:
            try:
                self._ahead = self._unit.read_blocks(self._cdb, self._lba, blocks)
            except HOST_ERRORS:
                blocks //= 2
            else:
                self._position = 0
                self._lba += blocks
                self._blocks -= blocks
                return True
        return False

    def _fail(self) -> None:
        self.status = self._unit.report(self._unit.read_failure(self._lba))
        self._ahead, self._position = b"", 0
        self._blocks = self.data_in = 0


class WriteTask:
    """Blocks on their way from the initiator to the medium."""

    __slots__ = ("_block", "_blocks", "_cdb", "_lba", "_pending", "_unit", "data_in", "data_out", "status")
    kind = WRITE

    def __init__(self, unit: BlockUnit, cdb: bytes, lba: int, blocks: int, pending: bytes = b"") -> None:
        self._unit, self._cdb = unit, cdb
        self._lba, self._blocks = lba, blocks
        self._block = unit.block_bytes(cdb)
        self._pending = bytearray(pending)
        self.data_in = 0
        self.data_out = blocks * self._block - len(pending)
        self.status = GOOD

    def ready(self) -> bool:
        """Have nothing."""
        return False

    def give(self, limit: int) -> bytes:
        """Have nothing."""
        return b""

    def take(self, data: Data) -> None:
        """Store blocks as they become whole and many enough; the last bytes settle the command."""
        view = memoryview(data)[: self.data_out]
        if not view:
            return
        self.data_out -= len(view)
        if (
            not self._pending
            and len(view) % self._block == 0
            and (not self.data_out or len(view) >= STORE_BYTES)
        ):
            self._store(view)
        else:
            self._pending += view
            if not self.data_out or len(self._pending) >= STORE_BYTES:
                whole = len(self._pending) // self._block * self._block
                piece = bytes(self._pending[:whole])
                del self._pending[:whole]
                self._store(memoryview(piece))
        if not self.data_out and self.status == GOOD:
            self._settle()

    def save(self) -> TaskState:
        """Return the state."""
        return TaskState(
            kind=self.kind,
            cdb=self._cdb,
            status=self.status,
            data=bytes(self._pending),
            lba=self._lba,
            blocks=self._blocks,
        )

    def _store(self, piece: memoryview) -> None:
        while piece:
            blocks = len(piece) // self._block
            while not self._move(piece[: blocks * self._block], blocks):
                blocks //= 2
            if self.status != GOOD:
                return
            self._lba += blocks
            self._blocks -= blocks
            piece = piece[blocks * self._block :]

    def _move(self, piece: memoryview, blocks: int) -> bool:
        """Store one piece; False if half of it should be tried. A block that fails ends the command."""
        try:
            self._unit.write_blocks(self._lba, piece)
        except HOST_ERRORS:
            if blocks > 1:
                return False
            self._fail(WRITE_ERROR.at(self._lba))
        return True

    def _settle(self) -> None:
        try:
            self._unit.settle(self._cdb)
        except HOST_ERRORS:
            self._fail(WRITE_ERROR)

    def _fail(self, sense: Sense) -> None:
        self.status = self._unit.report(sense)
        self._pending.clear()
        self._blocks = self.data_out = 0


class CompareTask(WriteTask):
    """VERIFY with BYTCHK: blocks from the initiator that should equal those of the medium."""

    __slots__ = ()
    kind = COMPARE

    def _move(self, piece: memoryview, blocks: int) -> bool:
        try:
            found = self._unit.read_blocks(self._cdb, self._lba, blocks)
        except HOST_ERRORS:
            if blocks > 1:
                return False
            self._fail(self._unit.read_failure(self._lba))
            return True
        if found != piece:
            step = self._block
            at = next(
                at
                for at in range(blocks)
                if found[at * step : (at + 1) * step] != piece[at * step : (at + 1) * step]
            )
            self._fail(MISCOMPARE.at(self._lba + at))
        return True

    def _settle(self) -> None:
        """Nothing was written."""


class ParameterTask:
    """A list of parameters on its way from the initiator: `finish` judges it when it is whole."""

    __slots__ = ("_cdb", "_data", "_finish", "_unit", "data_in", "data_out", "status")

    def __init__(
        self, unit: BlockUnit, cdb: bytes, left: int, finish: Callable[[bytes, bytes], Sense | None]
    ) -> None:
        self._unit, self._cdb, self._finish = unit, cdb, finish
        self._data = bytearray()
        self.data_in = 0
        self.data_out = left
        self.status = GOOD

    def ready(self) -> bool:
        """Have nothing."""
        return False

    def give(self, limit: int) -> bytes:
        """Have nothing."""
        return b""

    def take(self, data: Data) -> None:
        """Gather the list, at most the 64 KiB a CDB can name."""
        view = memoryview(data)[: self.data_out]
        if not view:
            return
        self._data += view
        self.data_out -= len(view)
        if not self.data_out:
            sense = self._finish(self._cdb, bytes(self._data))
            if sense is not None:
                self.status = self._unit.report(sense)

    def save(self) -> TaskState:
        """Return the state."""
        return TaskState(
            kind=PARAMETERS, cdb=self._cdb, status=self.status, data=bytes(self._data), left=self.data_out
        )

    def load(self, state: TaskState) -> ParameterTask:
        """Become `state` and return itself."""
        self._data[:] = state.data
        self.status = state.status
        return self
