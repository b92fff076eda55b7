"""A command in a logical unit, as every transport sees it.

A transport (ATAPI, the parallel bus, virtio) starts a command with its CDB, moves the data in
pieces of its own choice, and takes the status when none is left.

Sources:
    [SAM-2] T10/1157D revision 24, §5 (the execute command procedure), §5.3 status.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from devices.saved import Byte, Natural

GOOD: Final = 0x00  # [SAM-2] table 22
CHECK_CONDITION: Final = 0x02
BUSY: Final = 0x08
TASK_SET_FULL: Final = 0x28

FIRST_LUN: Final = 0


class TaskState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a snapshot holds of a command under way, of whatever kind; plain values only."""

    kind: str
    """Which of `devices.scsi.tasks` it is."""

    cdb: bytes = b""
    status: Byte = GOOD
    data: bytes = b""
    """Fetched from the image and not given yet, or taken and not stored yet."""

    left: Natural = 0
    """Bytes still wanted from the initiator."""

    lba: Natural = 0
    blocks: Natural = 0
    """What is still to be read or written, from `lba` on."""


class Task(Protocol):
    """One command between its CDB and its status. At most one of `data_in` and `data_out` is not zero."""

    data_in: int
    """Bytes still to be fetched by the initiator."""

    data_out: int
    """Bytes still wanted from the initiator."""

    status: int
    """Valid while neither is left. A host error in mid-transfer ends the transfer: both become zero."""

    def ready(self) -> bool:
        """Whether there is a byte to give; if the next block cannot be read, the command ends here instead.

        For a bus that shows that data come before it takes them.
        """

    def give(self, limit: int) -> bytes:
        """Return the next bytes for the initiator, at most `limit`; fewer at the end or before an error.

        b"" with data still promised is the error itself: by then `data_in` is zero.
        """

    def take(self, data: bytes | bytearray | memoryview) -> None:
        """Accept the next bytes from the initiator, at most `data_out` of them."""

    def save(self) -> TaskState:
        """Return what is needed to go on."""
