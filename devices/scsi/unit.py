"""What every logical unit does alike: commands by table, sense data, unit attention.

Of initiators there is one: a reservation excludes nobody, and a changed mode page is news to
nobody. Not modelled: linked commands, auto contingent allegiance (NACA).

Sources:
    [SPC-2] T10/1236D revision 20, §5.6.5 unit attention, §7.20 REQUEST SENSE.
    [SAM-2] T10/1157D revision 24, §5.1.2 the control byte, §5.8.6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from devices.saved import fitting, require
from devices.scsi.commands import (
    LONGEST_CDB,
    MODE_SELECT_6,
    MODE_SELECT_10,
    RELEASE_6,
    REQUEST_SENSE,
    RESERVE_6,
    REZERO_UNIT,
    SEND_DIAGNOSTIC,
    be,
    length_of,
)
from devices.scsi.sense import (
    INVALID_FIELD,
    INVALID_OPCODE,
    NO_SENSE,
    UNRECOVERED_READ,
    WAS_RESET,
    Sense,
    fixed_sense,
)
from devices.scsi.task import CHECK_CONDITION, Task, TaskState
from devices.scsi.tasks import (
    COMPARE,
    MOST_AHEAD,
    PARAMETERS,
    READ,
    REPLY,
    STORE_BYTES,
    WRITE,
    CompareTask,
    Data,
    ParameterTask,
    ReadTask,
    Reply,
    WriteTask,
)

# Per command: does it need the medium, does it run in spite of a pending unit attention
NEEDS_MEDIUM: Final = 0x1
IGNORES_ATTENTION: Final = 0x2

NACA: Final = 0x04  # control byte, [SAM-2] §5.1.2
LINK: Final = 0x01
MOST_PARAMETERS: Final = 0x1_0000  # bytes of a list or a reply, whose lengths have two bytes
THIRD_PARTY: Final = 0x11  # RESERVE and RELEASE byte 1, with the bit for extents

Answer = bytes | Sense | Task
"""Of a command: the data at once, why there is none, or what moves it."""

Attention = Annotated[tuple[Sense, ...], msgspec.Meta(max_length=8)]
"""Unit attentions that wait, in a saved state."""

Handler = Callable[[bytes], Answer]


class ScsiUnit:
    """The common half of a logical unit. Subclasses fill `_commands` and answer for their blocks.

    `kinds` are those of the commands that it can have under way.
    """

    kinds = frozenset((REPLY,))

    def __init__(self, name: str) -> None:
        self.name = name
        self._commands: dict[int, tuple[Handler, int]] = {
            REQUEST_SENSE: (self._request_sense, IGNORES_ATTENTION)
        }
        self.sense = NO_SENSE
        self._attention: list[Sense] = [WAS_RESET]

    def reset(self) -> None:
        """Reset the unit: the next command hears of it."""
        self.sense = NO_SENSE
        self._attention = [WAS_RESET]

    # --- transport side ----------------------------------------------------------------------

    def start(self, cdb: bytes) -> Task:
        """Begin a command. A CHECK CONDITION leaves `sense` set until the next one."""
        opcode = cdb[0] if cdb else 0
        control = cdb[length_of(opcode) - 1 :][:1]
        cdb = cdb.ljust(LONGEST_CDB, b"\0")
        if opcode != REQUEST_SENSE:
            self.sense = NO_SENSE
        handler, flags = self._commands.get(opcode, (_unknown, IGNORES_ATTENTION))
        if self._attention and not flags & IGNORES_ATTENTION:
            return self.failed(self._attention.pop(0))
        trouble = self._not_ready() if flags & NEEDS_MEDIUM else None
        if trouble is None and control and control[0] & (NACA | LINK):
            trouble = INVALID_FIELD
        answer = handler(cdb) if trouble is None else trouble
        if isinstance(answer, bytes):
            return Reply(answer)
        return self.failed(answer) if isinstance(answer, Sense) else answer

    def failed(self, sense: Sense) -> Reply:
        """Return a command that ended with CHECK CONDITION."""
        return Reply(status=self.report(sense))

    def report(self, sense: Sense) -> int:
        """Keep the sense data of a failed command and return its status."""
        self.sense = sense
        return CHECK_CONDITION

    def sense_data(self) -> bytes:
        """Take the sense data of the last CHECK CONDITION; b"" when there is none."""
        sense, self.sense = self.sense, NO_SENSE
        return b"" if sense == NO_SENSE else fixed_sense(sense)

    def check(self, state: TaskState) -> None:
        """Raise StateError unless `resume` can take up the command that `state` was saved from."""
        fitting(self.name, state)
        held = len(state.data)
        require(state.kind in self.kinds, self.name, f"it has no command of the kind {state.kind!r}")
        if state.kind in (REPLY, PARAMETERS):
            require(held + state.left <= MOST_PARAMETERS, self.name, "a list longer than a CDB can name")
        if state.kind != REPLY:
            require(len(state.cdb) == LONGEST_CDB, self.name, "a CDB of another length")
        if state.kind == PARAMETERS:
            takes_list = state.cdb[0] in (MODE_SELECT_6, MODE_SELECT_10)
            require(takes_list, self.name, "a list for a command that takes none")
        elif state.kind == READ:
            require(held <= MOST_AHEAD, self.name, "more data than are fetched ahead")
        elif state.kind != REPLY:
            wanted = state.blocks * self.block_bytes(state.cdb)
            require(held <= min(wanted, STORE_BYTES), self.name, "more data than the command names")

    def resume(self, state: TaskState) -> Task:
        """Return the command that `state` was saved from; `check` has found nothing."""
        task: Task
        if state.kind == READ:
            task = ReadTask(self, state.cdb, state.lba, state.blocks, state.data)
        elif state.kind in (WRITE, COMPARE):
            kind = WriteTask if state.kind == WRITE else CompareTask
            task = kind(self, state.cdb, state.lba, state.blocks, state.data)
        elif state.kind == PARAMETERS:
            task = ParameterTask(self, state.cdb, state.left, self.take_parameters).load(state)
        else:
            task = Reply(state.data)
        task.status = state.status
        return task

    # --- for subclasses ----------------------------------------------------------------------

    def _not_ready(self) -> Sense | None:
        """Return why the medium cannot be used just now."""
        return None

    def block_bytes(self, cdb: bytes) -> int:
        """Return the bytes of a block as this command moves it."""
        raise NotImplementedError

    def read_blocks(self, cdb: bytes, lba: int, blocks: int) -> bytes:
        """Return blocks as this command moves them, or raise one of HOST_ERRORS."""
        raise NotImplementedError

    def read_into(self, cdb: bytes, lba: int, views: list[memoryview]) -> bool:
        """Fill `views` with whole blocks, or raise as above; False if only `read_blocks` will do."""
        return False

    def read_failure(self, lba: int) -> Sense:
        """Return why `read_blocks` raised."""
        return UNRECOVERED_READ.at(lba)

    def write_blocks(self, lba: int, data: Data) -> None:
        """Store blocks, or raise one of HOST_ERRORS."""
        raise NotImplementedError

    def settle(self, cdb: bytes) -> None:
        """Make what the command wrote durable if it must be before its status; raise as above."""
        raise NotImplementedError

    def take_parameters(self, cdb: bytes, data: bytes) -> Sense | None:
        """Judge the whole parameter list of a command and act on it; return what is wrong with it."""
        raise NotImplementedError

    def _request_sense(self, cdb: bytes) -> Answer:
        sense, self.sense = self.sense, NO_SENSE
        if sense == NO_SENSE and self._attention:
            sense = self._attention.pop(0)
        return fixed_sense(sense)[: cdb[4]]


def _unknown(cdb: bytes) -> Answer:
    return INVALID_OPCODE


def accept(cdb: bytes) -> Answer:
    """Do nothing, well."""
    return b""


def _reserve(cdb: bytes) -> Answer:
    """RESERVE and RELEASE for the one initiator there is; for a third party or extents no."""
    return INVALID_FIELD if cdb[1] & THIRD_PARTY else b""


def _send_diagnostic(cdb: bytes) -> Answer:
    """Pass the self test; there are no diagnostics that take parameters."""
    return INVALID_FIELD if be(cdb[3:5]) else b""


BUS_COMMANDS: Final[dict[int, tuple[Handler, int]]] = {
    REZERO_UNIT: (accept, NEEDS_MEDIUM),
    RESERVE_6: (_reserve, 0),
    RELEASE_6: (_reserve, 0),
    SEND_DIAGNOSTIC: (_send_diagnostic, 0),
}
"""What units have on any bus but ATAPI's."""
