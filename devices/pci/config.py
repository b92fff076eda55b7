"""The 256-byte configuration space of a PCI function, declared by values and write masks.

A function is an identity, a table of its own registers and its base address registers; what a
guest may change is a mask a byte, what it clears by writing ones is another. Not modelled:
64-bit BARs, bridges (header type 1). A function declares its capabilities as plain registers.

Sources:
    [PCI-2.1] PCI Local Bus Specification, revision 2.1, PCI SIG 1995, chapter 6.
    [PCI-2.2] The same, revision 2.2, 1998: the list of capabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Final, NamedTuple, Protocol

import msgspec

from devices.backplane import DeviceState

# Header registers, [PCI-2.1] figure 6-1
VENDOR_ID: Final = 0x00
DEVICE_ID: Final = 0x02
COMMAND: Final = 0x04
STATUS: Final = 0x06
REVISION_ID: Final = 0x08
CLASS_CODE: Final = 0x09
CACHE_LINE_SIZE: Final = 0x0C
LATENCY_TIMER: Final = 0x0D
HEADER_TYPE: Final = 0x0E
BAR0: Final = 0x10
BAR4: Final = 0x20
SUBSYSTEM_VENDOR_ID: Final = 0x2C
SUBSYSTEM_ID: Final = 0x2E
EXPANSION_ROM: Final = 0x30
CAPABILITIES_POINTER: Final = 0x34  # [PCI-2.2] §6.7
INTERRUPT_LINE: Final = 0x3C
INTERRUPT_PIN: Final = 0x3D

# COMMAND, [PCI-2.1] §6.2.2
COMMAND_IO: Final = 0x0001
COMMAND_MEMORY: Final = 0x0002
COMMAND_MASTER: Final = 0x0004

HEADER_MULTI_FUNCTION: Final = 0x80
STATUS_CAPABILITIES: Final = 0x0010
STATUS_DEVSEL_MEDIUM: Final = 0x0200
STATUS_CLEARABLE: Final = 0xF900  # parity, system error and abort bits, [PCI-2.1] §6.2.3

CONFIG_BYTES: Final = 256

# Low bits and enables of a base address register, [PCI-2.1] §6.2.5
BAR_IO: Final = 0x1
BAR_MEMORY: Final = 0x0
ROM_ENABLE: Final = 0x1

MoveBar = Callable[[int | None, int | None], None]
ReadDword = Callable[[int, int], int]
WriteDword = Callable[[int, int, int], None]


class FunctionIdentity(NamedTuple):
    """What a function says it is. `class_code` is base class, subclass and interface (24 bits)."""

    vendor_id: int
    device_id: int
    class_code: int
    revision: int = 0
    header_type: int = 0
    interrupt_pin: int = 0  # 0 none, 1 INTA#..4 INTD#
    subsystem_vendor_id: int = 0
    subsystem_id: int = 0


class Register(NamedTuple):
    """A register beyond the identity: reset value, writable bits, bits cleared by writing ones."""

    offset: int
    size: int
    reset: int
    writable: int = 0
    clearable: int = 0


class Bar:
    """A base address register: `size` bytes (a power of two) of I/O ports, memory or expansion ROM.

    `on_move(old, new)` hears every change of the decoded address; None means not decoded, be it
    for COMMAND, for an address of zero or for one that does not fit. It must not raise: an
    address that is taken is the guest's mistake.
    """

    __slots__ = ("address", "is_io", "offset", "on_move", "size")

    def __init__(self, offset: int, size: int, is_io: bool, on_move: MoveBar) -> None:
        self.offset, self.size, self.is_io, self.on_move = offset, size, is_io, on_move
        self.address: int | None = None

    def decode(self, value: int, command: int) -> int | None:
        """Return the address the register decodes with this value and COMMAND, or None."""
        enabled = command & (COMMAND_IO if self.is_io else COMMAND_MEMORY)
        if self.offset == EXPANSION_ROM and not value & ROM_ENABLE:
            return None
        base = value & -self.size & 0xFFFF_FFFF
        last = base + self.size - 1
        if not enabled or base == 0 or last >= (0x1_0000 if self.is_io else 0xFFFF_FFFF):
            return None
        return base


class _Watch(NamedTuple):
    first: int
    last: int
    callback: Callable[[], None]


class ConfigSpace:
    """The registers of one function, and who wants to hear of writes to them."""

    def __init__(
        self, identity: FunctionIdentity, registers: Iterable[Register] = (), bars: Iterable[Bar] = ()
    ) -> None:
        self.bars = tuple(bars)
        self._power_on = bytearray(CONFIG_BYTES)
        self._writable = bytearray(CONFIG_BYTES)
        self._clearable = bytearray(CONFIG_BYTES)
        self._watches: list[_Watch] = []
        self._answers: dict[int, tuple[ReadDword, WriteDword]] = {}
        for register in (*_header(identity), *registers):
            self._declare(register)
        for bar in self.bars:
            enable = ROM_ENABLE if bar.offset == EXPANSION_ROM else 0
            kind = BAR_IO if bar.is_io else BAR_MEMORY
            self._declare(Register(bar.offset, 4, kind, -bar.size & 0xFFFF_FFFF | enable))
        self._bytes = bytearray(self._power_on)

    def _declare(self, register: Register) -> None:
        span = slice(register.offset, register.offset + register.size)
        self._power_on[span] = register.reset.to_bytes(register.size, "little")
        self._writable[span] = register.writable.to_bytes(register.size, "little")
        self._clearable[span] = register.clearable.to_bytes(register.size, "little")

    def watch(self, first: int, length: int, callback: Callable[[], None]) -> None:
        """Call `callback` after every write, reset and load that may change `length` bytes at `first`."""
        self._watches.append(_Watch(first, first + length - 1, callback))

    def answer(self, dword: int, read: ReadDword, write: WriteDword) -> None:
        """Let `read(offset, size)` and `write(offset, size, value)` answer the four bytes at `dword`.

        `offset` counts from there. No access reaches past the four: mechanism #1 has none that would.
        """
        self._answers[dword] = (read, write)

    def read(self, offset: int, size: int) -> int:
        """Return `size` bytes; what lies beyond the 256th reads as ones."""
        answer = self._answers.get(offset & ~3)
        if answer is not None:
            return answer[0](offset & 3, size)
        data = self._bytes[offset : offset + size]
        return int.from_bytes(data.ljust(size, b"\xff"), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Change what the masks allow, then tell the watchers and move the BARs."""
        answer = self._answers.get(offset & ~3)
        if answer is not None:
            answer[1](offset & 3, size, value)
            return
        last = min(offset + size, CONFIG_BYTES) - 1
        for at in range(offset, last + 1):
            byte = value >> 8 * (at - offset) & 0xFF
            writable = self._writable[at]
            merged = self._bytes[at] & ~writable | byte & writable
            self._bytes[at] = merged & ~(byte & self._clearable[at])
        self._tell(offset, last)

    def reset(self) -> None:
        """Take the power-on values."""
        self.restore(bytes(self._power_on))

    def snapshot(self) -> bytes:
        """Return all 256 bytes."""
        return bytes(self._bytes)

    def restore(self, data: bytes) -> None:
        """Become `data`, then tell every watcher and place every BAR."""
        self._bytes[:] = data[:CONFIG_BYTES].ljust(CONFIG_BYTES, b"\0")
        self._tell(0, CONFIG_BYTES - 1)

    def _tell(self, first: int, last: int) -> None:
        for watch in self._watches:
            if watch.first <= last and first <= watch.last:
                watch.callback()
        if first < EXPANSION_ROM + 4 and last >= COMMAND:
            self._place_bars()

    def _place_bars(self) -> None:
        command = self.read(COMMAND, 2)
        for bar in self.bars:
            old, new = bar.address, bar.decode(self.read(bar.offset, 4), command)
            if new != old:
                bar.address = new
                bar.on_move(old, new)


def _header(identity: FunctionIdentity) -> tuple[Register, ...]:
    writable_command = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | 0x0140  # and PERR, SERR
    return (
        Register(VENDOR_ID, 2, identity.vendor_id),
        Register(DEVICE_ID, 2, identity.device_id),
        Register(COMMAND, 2, 0, writable_command),
        Register(STATUS, 2, STATUS_DEVSEL_MEDIUM, 0, STATUS_CLEARABLE),
        Register(REVISION_ID, 1, identity.revision),
        Register(CLASS_CODE, 3, identity.class_code),
        Register(CACHE_LINE_SIZE, 1, 0, 0xFF),
        Register(LATENCY_TIMER, 1, 0, 0xF8),
        Register(HEADER_TYPE, 1, identity.header_type),
        Register(SUBSYSTEM_VENDOR_ID, 2, identity.subsystem_vendor_id),
        Register(SUBSYSTEM_ID, 2, identity.subsystem_id),
        Register(INTERRUPT_LINE, 1, 0, 0xFF if identity.interrupt_pin else 0),
        Register(INTERRUPT_PIN, 1, identity.interrupt_pin),
    )


class PciFunctionState(DeviceState, frozen=True, kw_only=True):
    """The configuration space of a function."""

    config: Annotated[bytes, msgspec.Meta(min_length=CONFIG_BYTES, max_length=CONFIG_BYTES)]


class HasConfig(Protocol):
    """What sits in a slot of the bus: anything with a configuration space."""

    @property
    def name(self) -> str:
        """Name in traces and conflicts."""

    @property
    def config(self) -> ConfigSpace:
        """The function's configuration space."""


class PciFunction:
    """A function whose whole state is its configuration space."""

    def __init__(self, name: str, config: ConfigSpace) -> None:
        self.name = name
        self.config = config
        config.reset()

    def reset(self) -> None:
        """Take the power-on values; BARs stop decoding."""
        self.config.reset()

    def save(self) -> PciFunctionState:
        """Return the configuration space."""
        return PciFunctionState(config=self.config.snapshot())

    def load(self, state: PciFunctionState) -> None:
        """Become `state`; watchers and BARs follow."""
        self.config.restore(state.config)
