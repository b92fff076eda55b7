"""What the supervisor hands to the machine's process: the machine, and how to drive and show it."""

from __future__ import annotations

import json
from typing import Final, Literal, Self

import msgspec

from vmm.config import MachineConfig

TraceKind = Literal["exits", "instructions", "scsi"]
DEFAULT_PNG: Final = "trapline.png"


class TraceOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `--trace` and the filters. Without a path it goes to stderr; `.jsonl` gives JSON lines."""

    kind: TraceKind
    path: str | None = None
    reasons: tuple[str, ...] = ()
    cpl: frozenset[int] = frozenset()
    ranges: tuple[tuple[int, int], ...] = ()
    limit: int | None = None


class DisplayOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the screen is shown; `path` is of `png`, `host` and `port` of `vnc`."""

    kind: Literal["none", "terminal", "png", "vnc"] = "none"
    path: str = ""
    host: str = ""
    port: int = 0


class RunOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a run is driven and shown."""

    display: DisplayOptions = DisplayOptions()
    expect: tuple[str, ...] = ()
    send: tuple[str, ...] = ()
    timeout_s: float | None = None
    screenshot: str | None = None
    traces: tuple[TraceOptions, ...] = ()
    explain: bool = False
    json: bool = False
    quiet: bool = False


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run, complete."""

    config: MachineConfig
    options: RunOptions

    def pack(self) -> bytes:
        """Return the job as JSON in ASCII: msgspec refuses the surrogates that stand for bytes of a name."""
        return json.dumps(msgspec.to_builtins(self)).encode()

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the job that was packed.

        Raises:
            ValueError: it is none.
        """
        return msgspec.convert(json.loads(data), cls)
