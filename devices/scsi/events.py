"""What the transports of SCSI commands tell a tracer: one event a command, one a status.

ATAPI has its own event, by channel and drive (`devices.ide.events.AtapiCommand`).
"""

from __future__ import annotations

from devices.backplane import TraceEvent
from devices.scsi.commands import decode


class ScsiCommand(TraceEvent, frozen=True):
    """A command descriptor block was received. `lba` is None where it names no block."""

    adapter: str
    target: int
    lun: int
    cdb: bytes
    name: str
    lba: int | None
    blocks: int


class ScsiStatus(TraceEvent, frozen=True):
    """A command has its status. `sense` is that of a CHECK CONDITION, else empty.

    `data_bytes` counts both directions; `instructions` are the sequencer's, 0 where there is none;
    `ns` is time of the machine's clock since the command.
    """

    adapter: str
    target: int
    lun: int
    status: int
    sense: bytes
    data_bytes: int
    instructions: int
    ns: int


def command_event(adapter: str, target: int, lun: int, cdb: bytes) -> ScsiCommand:
    """Return the event of a CDB."""
    return ScsiCommand(adapter, target, lun, cdb, *decode(cdb))
