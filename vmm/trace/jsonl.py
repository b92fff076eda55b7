"""Traces for programs: one JSON object a line.

Keys are those of the events; `code` is hexadecimal, and `instruction` adds its text. The cost on the
host is left out where the same run must give the same bytes.
"""

from __future__ import annotations

from typing import Any, TextIO

import msgspec

from devices.backplane import TraceEvent
from devices.scsi.events import ScsiCommand, ScsiStatus
from vmm.trace.disassembly import decode
from vmm.trace.events import Exit, Instruction, TimedEvent
from vmm.trace.explain import explain


class JsonTrace:
    """Writes events to a text stream as JSON lines."""

    def __init__(self, stream: TextIO, *, explanations: bool = False, host_times: bool = True) -> None:
        self._write = stream.write
        self._explanations = explanations
        self._host_times = host_times

    def emit(self, event: TraceEvent) -> None:
        """Write one event."""
        fields: dict[str, Any]
        if isinstance(event, TimedEvent):
            fields = {"event": type(event.event).__name__.lower(), "time_ns": event.time_ns}
            event = event.event
        else:
            fields = {"event": type(event).__name__.lower()}
        fields.update(msgspec.structs.asdict(event))
        if isinstance(event, ScsiCommand):
            fields["cdb"] = event.cdb.hex()
        if isinstance(event, ScsiStatus):
            fields["sense"] = event.sense.hex()
            if not self._host_times:
                del fields["ns"]
        if isinstance(event, (Exit, Instruction)):
            decoded = decode(event.code, event.ip, event.mode)
            fields["code"] = decoded.code.hex()
            fields["instruction"] = decoded.text
        if isinstance(event, Exit):
            if not self._host_times:
                del fields["host_ns"]
            if self._explanations:
                fields["why"] = " ".join(explain(event))
        self._write(msgspec.json.encode(fields).decode() + "\n")
