"""What IDE devices tell a tracer: one event a command, as the guest gave it."""

from __future__ import annotations

from devices.backplane import TraceEvent


class AtaCommand(TraceEvent, frozen=True):
    """An ATA command was written. `lba` is None where it addresses no sector."""

    channel: str
    drive: int
    opcode: int
    name: str
    lba: int | None
    count: int


class AtapiCommand(TraceEvent, frozen=True):
    """A command packet was received. `count` is in blocks of 2048 bytes."""

    channel: str
    drive: int
    opcode: int
    name: str
    lba: int | None
    count: int
