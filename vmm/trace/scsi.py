"""Traces of SCSI adapters: which of the devices' events are theirs, and each as a line for people."""

from __future__ import annotations

from typing import Final

from devices.aic7870.events import SequencerRunaway
from devices.backplane import TraceEvent, Tracer
from devices.scsi import sense
from devices.scsi.events import ScsiCommand, ScsiStatus
from devices.virtio.events import VirtioBroken
from vmm.trace.events import TimedEvent

STATUSES: Final = {
    0x00: "good",
    0x02: "check condition",
    0x08: "busy",
    0x18: "reservation conflict",
    0x28: "task set full",
}
SENSE_KEYS: Final = (
    "no sense", "recovered error", "not ready", "medium error", "hardware error", "illegal request",
    "unit attention", "data protect", "blank check", "vendor specific", "copy aborted", "aborted command",
    "equal", "volume overflow", "miscompare", "reserved",
)  # fmt: skip
SENSE_NAMES: Final = {
    (value.code, value.qualifier): name.lower().replace("_", " ")
    for name, value in vars(sense).items()
    if isinstance(value, sense.Sense)
}
LEAST_SENSE: Final = 14  # bytes of sense data that name code and qualifier
WHERE_COLUMNS: Final = 20
WHAT_COLUMNS: Final = 40
NS_PER_US: Final = 1_000
SCSI_EVENTS: Final = (ScsiCommand, ScsiStatus, SequencerRunaway, VirtioBroken)


class ScsiTracer:
    """Passes what SCSI adapters tell to another tracer, with the time, until its limit is reached."""

    def __init__(self, sink: Tracer, limit: int | None = None) -> None:
        self._emit = sink.emit
        self._left = -1 if limit is None else limit

    def emit(self, event: TraceEvent) -> None:
        """Take one event of a device."""
        if isinstance(event, TimedEvent) and isinstance(event.event, SCSI_EVENTS) and self._left:
            self._left -= 1
            self._emit(event)


def scsi_line(event: TraceEvent, *, host_times: bool = True) -> str:
    """Return where and what; of a status also the cost of its command."""
    if isinstance(event, ScsiCommand):
        what = event.name if event.lba is None else f"{event.name} lba {event.lba} blocks {event.blocks}"
        return f"{_where(event)}{what:<{WHAT_COLUMNS}} {event.cdb.hex(' ')}"
    if isinstance(event, ScsiStatus):
        status = STATUSES.get(event.status, f"status {event.status:02X}h")
        if event.sense:
            status += f", {sense_text(event.sense)}"
        cost = [f"{event.data_bytes} bytes"]
        if event.instructions:
            cost.append(f"{event.instructions} instructions")
        if host_times:
            cost.append(f"{event.ns / NS_PER_US:.0f} us")
        return f"{_where(event)}{status:<{WHAT_COLUMNS}} {', '.join(cost)}"
    return str(event)


def _where(event: ScsiCommand | ScsiStatus) -> str:
    return f"{f'{event.adapter} id {event.target} lun {event.lun}':<{WHERE_COLUMNS}}"


def sense_text(data: bytes) -> str:
    """Return key, code and qualifier of sense data of the fixed format, in words where there are some."""
    if len(data) < LEAST_SENSE:
        return f"sense {data.hex(' ')}"
    key, code, qualifier = data[2] & 0xF, data[12], data[13]
    name = SENSE_NAMES.get((code, qualifier), "")
    return f"{SENSE_KEYS[key]} {code:02X}h/{qualifier:02X}h {name}".rstrip()
