"""What the virtio transport tells a tracer."""

from __future__ import annotations

from devices.backplane import TraceEvent


class VirtioBroken(TraceEvent, frozen=True):
    """A driver has put into queue `queue` what the device cannot work on; it waits for a reset."""

    device: str
    queue: int
    reason: str
