"""The backplane: everything a device model may touch. It imports nothing of ours.

A device gets its collaborators in `__init__` and knows no port numbers, IRQ numbers or
addresses; `vmm/machine.py` plugs it in. A guest access never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec


class PortRange(NamedTuple):
    """A run of ports, as the data sheets write it: first port and number of ports."""

    first: int
    length: int


class PortDevice(Protocol):
    """Something that answers port or MMIO accesses.

    `offset` counts from the first address of the claimed range; `size` is 1, 2 or 4 bytes;
    `value` is unsigned and already masked to `size`.
    """

    @property
    def name(self) -> str:
        """Name for traces and conflicts, such as `com1`."""

    def read(self, offset: int, size: int) -> int:
        """Return the value a guest read of `size` bytes sees."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Take a guest write of `size` bytes."""


ReadRegister = Callable[[int, int], int]
WriteRegister = Callable[[int, int, int], None]
ReadBlock = Callable[[int, int], bytes]
WriteBlock = Callable[[int, bytes], int]


class PortBank:
    """One run of registers of a chip that has several (a PIC's 20h and 4D0h, a disk's 1F0h and 3F6h).

    `read_block(size, count)` and `write_block(size, data)` are for a data port that REP INS/OUTS
    moves through: they do exactly what `count` single accesses of `size` bytes at offset 0 would,
    as far as they choose to go, and return the bytes moved (b"") or the number of elements taken
    (0), whereupon the caller falls back to single accesses.
    """

    __slots__ = ("name", "read", "read_block", "write", "write_block")

    def __init__(
        self,
        name: str,
        read: ReadRegister,
        write: WriteRegister,
        read_block: ReadBlock | None = None,
        write_block: WriteBlock | None = None,
    ) -> None:
        self.name = name
        self.read = read
        self.write = write
        self.read_block = read_block
        self.write_block = write_block


class IrqLine:
    """One wire. Driving it twice to the same level is heard once by the sink."""

    __slots__ = ("_sink", "level")

    def __init__(self, sink: Callable[[bool], None]) -> None:
        self._sink = sink
        self.level = False

    def set_level(self, level: bool) -> None:
        """Drive the wire, telling the listener only when it changes."""
        if level != self.level:
            self.level = level
            self._sink(level)


class SharedIrqLine:
    """A wired-OR of several lines onto one sink (PCI INTx on one PIRQ)."""

    def __init__(self, sink: Callable[[bool], None]) -> None:
        self._output = IrqLine(sink)
        self._high = 0

    def connect(self) -> IrqLine:
        """Return a new wire; the sink is high while any wire is."""
        return IrqLine(self._drive)

    def _drive(self, level: bool) -> None:
        self._high += 1 if level else -1
        self._output.set_level(self._high > 0)


class Timer(Protocol):
    """A pending deadline."""

    def cancel(self) -> None:
        """Forget the deadline; harmless when it has passed or was cancelled."""


class Clock(Protocol):
    """Virtual time of the machine in nanoseconds since power-on."""

    def now_ns(self) -> int:
        """Return the current virtual time."""

    def at(self, deadline_ns: int, callback: Callable[[], None], name: str) -> Timer:
        """Call `callback` once when virtual time reaches `deadline_ns` (at once if it has passed)."""


OPEN_BUS: Final = (0, 0xFF, 0xFFFF, 0, 0xFFFF_FFFF)
"""What nobody drives, by the size of the access."""


class GuestMemory(Protocol):
    """Guest-physical memory as a bus master sees it. The processor sees what is written here."""

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes; what is not RAM reads as FFh."""

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data`; what falls outside RAM is dropped."""


class ScatteredMemory(GuestMemory, Protocol):
    """Guest memory of a bus master whose transfers are lists of runs: (address, length) each."""

    def views(self, runs: Sequence[tuple[int, int]]) -> list[memoryview] | None:
        """Return the RAM itself, a view a run; None if some run is not RAM from end to end."""

    def written(self, runs: Sequence[tuple[int, int]]) -> None:
        """Say that what `views` returned for `runs` has been written to."""


class TraceEvent(msgspec.Struct, frozen=True, tag=True):
    """Base of all event values: frozen, with named fields of plain types."""


class Tracer(Protocol):
    """Takes events. A device holds `Tracer | None` and guards hot paths with `is not None`."""

    def emit(self, event: TraceEvent) -> None:
        """Take one event."""


class DeviceState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every device's saved state: plain values only, host handles excluded."""

    version: int = 1


StateT = TypeVar("StateT", bound=DeviceState)


class Device(Protocol[StateT]):
    """What the contract suite demands of every chip, whatever its registers are."""

    @property
    def name(self) -> str:
        """Name in traces, states and conflicts."""

    def reset(self) -> None:
        """Become the chip after a hardware reset."""

    def save(self) -> StateT:
        """Return the state as a value; pure."""

    def load(self, state: StateT) -> None:
        """Become `state`, then drive outputs to match it."""
