"""8237A DMA controllers of a PC, two in cascade, with their page registers.

Controller 1 moves bytes on channels 0-3, controller 2 words on channels 5-7; its channel 4 is the
cascade. A device owns a `DmaChannel` and moves what it has, or wants, in one go: the controller
takes as much as its count allows and says whether the terminal count was reached. Address and page
are separate registers, so a transfer wraps inside 64 KiB (128 KiB on the word channels).

Not modelled: memory to memory (a PC's channel 0 refreshed memory, and [PIIX3] has no such mode),
priority (each transfer is whole), compressed timing, the polarity bits of the command register.
A software request is noted and shown in the status; it moves nothing, since no device answers.

Sources:
  [8237A] Intel 8237A High Performance Programmable DMA Controller, 231466.
  [PIIX3] Intel 82371FB/82371SB data sheet, 290550-002, §2.2.1 "DMA registers".
  [AT]    IBM Personal Computer AT Technical Reference, 1984, "DMA Controller": the page registers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from devices.backplane import DeviceState, GuestMemory
from devices.isa import byte_bank, floating, ignored

CHANNELS: Final = 4  # of one controller
CASCADE: Final = 4

# Command and mode, [8237A] "Register description"
COMMAND_DISABLE: Final = 0x04
MODE_CHANNEL: Final = 0x03
MODE_TRANSFER: Final = 0x0C
VERIFY: Final = 0x00
TO_MEMORY: Final = 0x04  # a "write transfer"
FROM_MEMORY: Final = 0x08  # a "read transfer"
MODE_AUTOINIT: Final = 0x10
MODE_DECREMENT: Final = 0x20
MODE_SELECT: Final = 0xC0
MODE_CASCADE: Final = 0xC0
SET_BIT: Final = 0x04  # of the single mask and request registers
ALL_CHANNELS: Final = 0x0F

# Port offsets of controller 1; controller 2 has them two apart
COMMAND: Final = 8
STATUS: Final = 8  # read
REQUEST: Final = 9
SINGLE_MASK: Final = 10
MODE: Final = 11
CLEAR_FLIP_FLOP: Final = 12
MASTER_CLEAR: Final = 13
TEMPORARY: Final = 13  # read
CLEAR_MASK: Final = 14
ALL_MASK: Final = 15
REGISTERS: Final = 16

# Page registers from port 81h, by channel; the others are plain latches, and 80h is not ours, [AT]
PAGE_OFFSETS: Final = {0: 0x6, 1: 0x2, 2: 0x0, 3: 0x1, 4: 0xE, 5: 0xA, 6: 0x8, 7: 0x9}
PAGES: Final = 15


class ChannelState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One channel."""

    base_address: int
    base_count: int
    address: int
    count: int
    mode: int


class ControllerState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One 8237A."""

    channels: tuple[ChannelState, ...]
    command: int
    mask: int
    requests: int
    reached: int
    high_byte: bool


class Dma8237State(DeviceState, frozen=True, kw_only=True):
    """Both controllers and the page registers."""

    controllers: tuple[ControllerState, ...]
    pages: bytes


class DmaChannel:
    """A device's DREQ and DACK. `number` counts through both controllers."""

    def __init__(self, pair: Dma8237Pair, number: int) -> None:
        self._pair = pair
        self.number = number

    def give(self, data: bytes) -> tuple[int, bool]:
        """Offer bytes to memory; return how many were taken, and whether terminal count was reached."""
        return self._pair.move(self.number, data, 0)[:2]

    def take(self, wanted: int) -> tuple[bytes, bool]:
        """Ask memory for up to `wanted` bytes; return them, and whether terminal count was reached."""
        moved, reached, data = self._pair.move(self.number, None, wanted)
        return data[:moved], reached


class _Channel:
    """Registers of one channel."""

    def __init__(self) -> None:
        self.base_address = self.base_count = self.address = self.count = self.mode = 0

    def reload(self) -> None:
        self.address, self.count = self.base_address, self.base_count

    def save(self) -> ChannelState:
        return ChannelState(
            base_address=self.base_address,
            base_count=self.base_count,
            address=self.address,
            count=self.count,
            mode=self.mode,
        )

    def load(self, state: ChannelState) -> None:
        self.base_address, self.base_count = state.base_address, state.base_count
        self.address, self.count, self.mode = state.address, state.count, state.mode


class _Controller:
    """One 8237A, without the channels' pages."""

    def __init__(self) -> None:
        self.channels = [_Channel() for _ in range(CHANNELS)]
        self.clear()

    def clear(self) -> None:
        """Master clear, or reset: all masked; addresses, counts and modes stay, [8237A] "Master Clear"."""
        self.command = self.requests = self.reached = 0
        self.mask = ALL_CHANNELS
        self.high_byte = False

    def byte_of(self, value: int) -> int:
        """Return the byte of a 16-bit register that the flip-flop selects, and turn it."""
        high, self.high_byte = self.high_byte, not self.high_byte
        return value >> 8 if high else value & 0xFF

    def with_byte(self, value: int, byte: int) -> int:
        """Put a byte where the flip-flop points, and turn it."""
        high, self.high_byte = self.high_byte, not self.high_byte
        return value & 0x00FF | byte << 8 if high else value & 0xFF00 | byte

    def read_address(self, index: int) -> int:
        return self.byte_of(self.channels[index].address)

    def read_count(self, index: int) -> int:
        return self.byte_of(self.channels[index].count)

    def write_address(self, index: int, value: int) -> None:
        channel, high = self.channels[index], self.high_byte
        channel.base_address = self.with_byte(channel.base_address, value)
        self.high_byte = high
        channel.address = self.with_byte(channel.address, value)

    def write_count(self, index: int, value: int) -> None:
        channel, high = self.channels[index], self.high_byte
        channel.base_count = self.with_byte(channel.base_count, value)
        self.high_byte = high
        channel.count = self.with_byte(channel.count, value)

    def read_status(self) -> int:
        """Read requests and terminal counts; the latter are cleared, [8237A] "Status Register"."""
        status = self.requests << 4 | self.reached
        self.reached = 0
        return status

    def write_command(self, value: int) -> None:
        self.command = value

    def write_request(self, value: int) -> None:
        self.requests = _with_bit(self.requests, value)

    def write_single_mask(self, value: int) -> None:
        self.mask = _with_bit(self.mask, value)

    def write_mode(self, value: int) -> None:
        self.channels[value & MODE_CHANNEL].mode = value & ~MODE_CHANNEL

    def clear_flip_flop(self, _value: int) -> None:
        self.high_byte = False

    def master_clear(self, _value: int) -> None:
        self.clear()

    def clear_mask(self, _value: int) -> None:
        self.mask = 0

    def write_mask(self, value: int) -> None:
        self.mask = value & ALL_CHANNELS

    def read_mask(self) -> int:
        return self.mask | ~ALL_CHANNELS & 0xFF

    def read_temporary(self) -> int:
        """Read what the last memory-to-memory transfer held: there was none."""
        return 0

    def serves(self, index: int, direction: int) -> bool:
        """Whether a device's request for this direction is acknowledged."""
        mode = self.channels[index].mode
        return (
            not self.command & COMMAND_DISABLE
            and not self.mask >> index & 1
            and mode & MODE_SELECT != MODE_CASCADE
            and mode & MODE_TRANSFER in (direction, VERIFY)
        )

    def advance(self, index: int, transfers: int) -> bool:
        """Count `transfers`, at most those left; return whether that was the terminal count."""
        channel = self.channels[index]
        step = -transfers if channel.mode & MODE_DECREMENT else transfers
        channel.address = channel.address + step & 0xFFFF
        reached = transfers == channel.count + 1
        channel.count = channel.count - transfers & 0xFFFF
        if reached:
            self.reached |= 1 << index
            self.requests &= ~(1 << index)
            if channel.mode & MODE_AUTOINIT:
                channel.reload()
            else:
                self.mask |= 1 << index
        return reached

    def save(self) -> ControllerState:
        return ControllerState(
            channels=tuple(channel.save() for channel in self.channels),
            command=self.command,
            mask=self.mask,
            requests=self.requests,
            reached=self.reached,
            high_byte=self.high_byte,
        )

    def load(self, state: ControllerState) -> None:
        for channel, saved in zip(self.channels, state.channels, strict=True):
            channel.load(saved)
        self.command, self.mask, self.requests = state.command, state.mask, state.requests
        self.reached, self.high_byte = state.reached, state.high_byte


def _with_bit(bits: int, value: int) -> int:
    bit = 1 << (value & MODE_CHANNEL)
    return bits | bit if value & SET_BIT else bits & ~bit


class Dma8237Pair:
    """Both controllers. Banks: `byte_ports` (from 00h), `word_ports` (from C0h), `page_ports` (from 81h)."""

    def __init__(self, memory: GuestMemory, name: str = "dma") -> None:
        self.name = name
        self._memory = memory
        self._controllers = (_Controller(), _Controller())
        self._pages = bytearray(PAGES)
        reads, writes = _registers(self._controllers[0])
        self.byte_ports = byte_bank(f"{name} 1", reads, writes)
        reads, writes = _registers(self._controllers[1])
        self.word_ports = byte_bank(
            f"{name} 2",
            [read for register in reads for read in (register, floating)],
            [write for register in writes for write in (register, ignored)],
        )
        self.page_ports = byte_bank(
            f"{name} pages",
            [partial(self._pages.__getitem__, at) for at in range(PAGES)],
            [partial(self._pages.__setitem__, at) for at in range(PAGES)],
        )

    def channel(self, number: int) -> DmaChannel:
        """Return the request line of channel 0 to 7 (4 is the cascade: nobody's)."""
        return DmaChannel(self, number)

    def reset(self) -> None:
        """Mask every channel."""
        for controller in self._controllers:
            controller.clear()
            for channel in controller.channels:
                channel.mode = 0
        self._controllers[1].channels[0].mode = MODE_CASCADE
        self._pages[:] = bytes(PAGES)

    def save(self) -> Dma8237State:
        """Return all registers."""
        return Dma8237State(
            controllers=tuple(controller.save() for controller in self._controllers), pages=bytes(self._pages)
        )

    def load(self, state: DeviceState) -> None:
        """Become `state`."""
        saved = msgspec.convert(state, Dma8237State)
        for controller, registers in zip(self._controllers, saved.controllers, strict=True):
            controller.load(registers)
        self._pages[:] = saved.pages.ljust(PAGES, b"\0")[:PAGES]

    def move(self, number: int, data: bytes | None, wanted: int) -> tuple[int, bool, bytes]:
        """Move bytes to memory (`data`) or from it (up to `wanted`): (bytes moved, terminal count, bytes).

        Word channels move whole words. A verify transfer counts and touches no memory.
        """
        controller, index = self._controllers[number // CHANNELS], number % CHANNELS
        width = 2 if number >= CHANNELS else 1
        offered = wanted if data is None else len(data)
        direction = FROM_MEMORY if data is None else TO_MEMORY
        if not controller.serves(index, direction) or not self._cascaded(number):
            return 0, False, b""
        channel = controller.channels[index]
        transfers = min(offered // width, channel.count + 1)
        if not transfers:
            return 0, False, b""
        moved = bytes(transfers * width)
        if channel.mode & MODE_TRANSFER != VERIFY:
            moved = self._at_memory(
                number, channel, None if data is None else data[: transfers * width], moved
            )
        return transfers * width, controller.advance(index, transfers), moved

    def _cascaded(self, number: int) -> bool:
        """Whether the request gets through: those of controller 1 pass channel 4 of controller 2."""
        second = self._controllers[1]
        return number >= CHANNELS or not (second.mask & 1 or second.command & COMMAND_DISABLE)

    def _at_memory(self, number: int, channel: _Channel, data: bytes | None, room: bytes) -> bytes:
        """Read or write one transfer, which may wrap at the end of its page."""
        width = 2 if number >= CHANNELS else 1
        page = self._pages[PAGE_OFFSETS[number]]
        base, span = (page << 16, 0x10000) if width == 1 else ((page & 0xFE) << 16, 0x20000)
        down = bool(channel.mode & MODE_DECREMENT)
        length = len(room)
        at = channel.address * width
        start = at - (length - width) if down else at
        pieces = _wrapped(start % span, length, span)
        if data is None:
            found = b"".join(self._memory.read(base + first, size) for first, size in pieces)
            return _reversed(found, width) if down else found
        stored = _reversed(data, width) if down else data
        done = 0
        for first, size in pieces:
            self._memory.write(base + first, stored[done : done + size])
            done += size
        return data


def _wrapped(start: int, length: int, span: int) -> list[tuple[int, int]]:
    """Cut a range that wraps inside `span` bytes; at most one span long."""
    first = min(length, span - start)
    return [(start, first)] if first == length else [(start, first), (0, length - first)]


def _reversed(data: bytes, width: int) -> bytes:
    """Return the elements of a transfer with falling addresses in the order of memory, or back."""
    if width == 1:
        return data[::-1]
    return b"".join(data[at : at + width] for at in range(len(data) - width, -1, -width))


def _registers(chip: _Controller) -> tuple[list[Callable[[], int]], list[Callable[[int], None]]]:
    """Return readers and writers of the sixteen registers of one controller."""
    reads = {STATUS: chip.read_status, TEMPORARY: chip.read_temporary, ALL_MASK: chip.read_mask}
    writes = {
        COMMAND: chip.write_command, REQUEST: chip.write_request, SINGLE_MASK: chip.write_single_mask,
        MODE: chip.write_mode, CLEAR_FLIP_FLOP: chip.clear_flip_flop, MASTER_CLEAR: chip.master_clear,
        CLEAR_MASK: chip.clear_mask, ALL_MASK: chip.write_mask,
    }  # fmt: skip
    for index in range(CHANNELS):
        reads[2 * index] = partial(chip.read_address, index)
        reads[2 * index + 1] = partial(chip.read_count, index)
        writes[2 * index] = partial(chip.write_address, index)
        writes[2 * index + 1] = partial(chip.write_count, index)
    offsets = range(REGISTERS)
    return [reads.get(at, floating) for at in offsets], [writes.get(at, ignored) for at in offsets]
