"""What IDE devices tell a tracer: one event a command, as the guest gave it."""

from __future__ import annotations

from devices.backplane import TraceEvent


class _Command(TraceEvent, frozen=True):
    """`lba` is None where the command addresses no sector."""

    channel: str
    drive: int
    opcode: int
    name: str
    lba: int | None
    count: int


class AtaCommand(_Command, frozen=True):
    """An ATA command was written. `count` is in sectors."""


class AtapiCommand(_Command, frozen=True):
    """A command packet was received. `count` is in blocks of 2048 bytes."""
