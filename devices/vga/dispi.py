"""The Bochs display interface: a linear frame buffer beside the VGA, set up by index and data words.

While it is enabled the screen shows the frame buffer, and the window at A0000h is a bank of it. Sizes
need no clock and no timing: what is written is what is shown. Values that do not fit the memory are
taken, and enabling them is refused, which the enable register then shows.

NOT modelled: 4 bits a pixel (drivers use the VGA's registers for that), the interface's 1.5x and 2x
modes of one vendor.

Sources:
    [BOCHS] Bochs "VBE Display Interface" (iodev/display/vbe.h), versions B0C0h to B0C5h.
    [LINUX] Linux drivers/gpu/drm/tiny/bochs.c: which registers a driver uses, and how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from devices.backplane import PortBank
from devices.isa import ignored
from devices.vga.dac import Dac

# Registers, [BOCHS]
ID: Final = 0
X_RESOLUTION: Final = 1
Y_RESOLUTION: Final = 2
BITS: Final = 3
ENABLE: Final = 4
BANK: Final = 5
VIRTUAL_WIDTH: Final = 6
VIRTUAL_HEIGHT: Final = 7
X_OFFSET: Final = 8
Y_OFFSET: Final = 9
MEMORY_64K: Final = 10  # size of the frame buffer in units of 64 KiB
REGISTERS: Final = 11

NEWEST: Final = 0xB0C5
VERSIONS: Final = range(0xB0C0, NEWEST + 1)
ENABLED: Final = 0x01
CAPABILITIES: Final = 0x02  # the sizes read as the largest there are
DAC_8_BITS: Final = 0x20
LINEAR: Final = 0x40
KEEP_MEMORY: Final = 0x80
DEPTHS: Final = (8, 15, 16, 24, 32)
MOST_X: Final = 2560
MOST_Y: Final = 1600
MOST_BITS: Final = 32
BANK_BYTES: Final = 0x1_0000
VRAM_BYTES: Final = 16 << 20

FrameBuffer = bytearray | memoryview


class DispiState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Registers, and the frame buffer without the zeros at its end."""

    index: int
    registers: tuple[int, ...]
    memory: bytes


@dataclass(frozen=True)
class LinearScreen:
    """A picture in the frame buffer: `pixels` are `height` lines, each `pitch` bytes from the one before.

    `bits` a pixel are 8 (an index into `colours`), 15, 16, 24 or 32: blue in the lowest bits.
    """

    width: int
    height: int
    bits: int
    pitch: int
    pixels: bytes
    colours: tuple[tuple[int, int, int], ...]


class Dispi:
    """The registers, over `memory`. `bank` serves 1CEh (index) and 1CFh (data), words at adjacent ports."""

    def __init__(self, dac: Dac, memory: FrameBuffer | None = None, name: str = "dispi") -> None:
        self.name = name
        self.memory: FrameBuffer = bytearray(VRAM_BYTES) if memory is None else memory
        self._dac = dac
        self._writes: dict[int, Callable[[int], None]] = {
            ID: self._write_id,
            ENABLE: self._write_enable,
            BANK: self._write_bank,
            VIRTUAL_WIDTH: self._write_virtual_width,
            VIRTUAL_HEIGHT: ignored,  # follows from the width and the memory
            MEMORY_64K: ignored,
        }
        self.bank = PortBank(name, self._read_port, self._write_port)
        self.reset()

    def reset(self) -> None:
        """Power-on: disabled, the memory zero."""
        self._index = 0
        self._registers = [0] * REGISTERS
        self._registers[ID] = NEWEST
        self._registers[BITS] = 8
        self._dac.eight_bits = False
        self._clear()

    def save(self) -> DispiState:
        """Return the state."""
        memory = bytes(self.memory).rstrip(b"\0")
        return DispiState(index=self._index, registers=tuple(self._registers), memory=memory)

    def load(self, state: DispiState) -> None:
        """Become `state`."""
        self._index = state.index
        self._registers = list(state.registers)
        self._clear()
        self.memory[: len(state.memory)] = state.memory[: len(self.memory)]
        self._dac.eight_bits = bool(self._registers[ENABLE] & DAC_8_BITS)

    def disable(self) -> None:
        """Give the screen back to the VGA."""
        self._write_enable(0)

    # -- what is shown

    @property
    def enabled(self) -> bool:
        """Whether the screen shows the frame buffer rather than the VGA's picture."""
        return bool(self._registers[ENABLE] & ENABLED)

    def screen(self) -> LinearScreen:
        """Return the picture; its part beyond the end of the memory is black."""
        registers, pitch = self._registers, self._pitch
        bits = registers[BITS]
        start = registers[Y_OFFSET] * pitch + registers[X_OFFSET] * _pixel_bytes(bits)
        length = registers[Y_RESOLUTION] * pitch
        pixels = bytes(self.memory[start : start + length]).ljust(length, b"\0")
        colours = tuple(self._dac.colour(number & self._dac.mask) for number in range(256))
        return LinearScreen(
            registers[X_RESOLUTION],
            registers[Y_RESOLUTION],
            bits,
            pitch,
            pixels,
            colours if bits == 8 else (),
        )

    @property
    def _pitch(self) -> int:
        return self._registers[VIRTUAL_WIDTH] * _pixel_bytes(self._registers[BITS])

    # -- the window at A0000h

    def read_window(self, offset: int, size: int) -> int:
        """Guest read of the bank; beyond its 64 KiB nothing answers."""
        at = self._registers[BANK] * BANK_BYTES + offset
        if offset + size > BANK_BYTES:
            return (1 << 8 * size) - 1
        return int.from_bytes(self.memory[at : at + size], "little")

    def write_window(self, offset: int, size: int, value: int) -> None:
        """Guest write to the bank."""
        at = self._registers[BANK] * BANK_BYTES + offset
        if offset + size <= BANK_BYTES:
            self.memory[at : at + size] = value.to_bytes(size, "little")

    # -- the linear frame buffer, where it is not mapped into the guest directly

    def read(self, offset: int, size: int) -> int:
        """Guest read of the frame buffer."""
        return int.from_bytes(bytes(self.memory[offset : offset + size]).ljust(size, b"\xff"), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest write to the frame buffer."""
        room = len(self.memory) - offset
        if room > 0:
            data = value.to_bytes(size, "little")[:room]
            self.memory[offset : offset + len(data)] = data

    # -- ports

    def _read_port(self, offset: int, size: int) -> int:
        """Read the index or the data word; other sizes and ports float."""
        if size == 4 and not offset:
            return self._index | self._read_data() << 16
        if offset > 1 or size == 4:
            return (1 << 8 * size) - 1
        value = self._read_data() if offset else self._index
        return value & (1 << 8 * size) - 1

    def _write_port(self, offset: int, size: int, value: int) -> None:
        """Write a word: the index, or the data of the register it names."""
        if size != 2 or offset > 1:
            return
        if not offset:
            self._index = value
        elif self._index in self._writes:
            self._writes[self._index](value)
        elif self._index < REGISTERS:
            self._write_size(self._index, value)

    def _read_data(self) -> int:
        if self._index >= REGISTERS:
            return 0
        if self._index == MEMORY_64K:
            return len(self.memory) // BANK_BYTES
        if self._registers[ENABLE] & CAPABILITIES:
            most = {X_RESOLUTION: MOST_X, Y_RESOLUTION: MOST_Y, BITS: MOST_BITS}
            return most.get(self._index, self._registers[self._index])
        return self._registers[self._index]

    def _write_id(self, value: int) -> None:
        """Be the version the guest asks for, if there is one."""
        if value in VERSIONS:
            self._registers[ID] = value

    def _write_size(self, index: int, value: int) -> None:
        """Take a size or an offset; the sizes only while disabled."""
        if index in (X_RESOLUTION, Y_RESOLUTION, BITS):
            if not self.enabled:
                self._registers[index] = value or (8 if index == BITS else 0)
            return
        limit = self._registers[VIRTUAL_WIDTH if index == X_OFFSET else VIRTUAL_HEIGHT]
        shown = self._registers[X_RESOLUTION if index == X_OFFSET else Y_RESOLUTION]
        if value + shown <= limit:
            self._registers[index] = value

    def _write_bank(self, value: int) -> None:
        if value < len(self.memory) // BANK_BYTES:
            self._registers[BANK] = value

    def _write_virtual_width(self, value: int) -> None:
        """Take a line length at which the picture still fits; the height is what the memory then holds."""
        registers = self._registers
        if value < registers[X_RESOLUTION]:
            return
        height = self._lines_of(value)
        if height >= registers[Y_RESOLUTION]:
            registers[VIRTUAL_WIDTH], registers[VIRTUAL_HEIGHT] = value, height
            registers[X_OFFSET] = registers[Y_OFFSET] = 0

    def _lines_of(self, width: int) -> int:
        """Return the lines of that many pixels that the memory holds."""
        pitch = width * _pixel_bytes(self._registers[BITS])
        return min(len(self.memory) // pitch, 0xFFFF) if pitch else 0

    def _write_enable(self, value: int) -> None:
        """Enable, if the picture fits; its first line is then the memory's."""
        registers = self._registers
        if value & ENABLED and not registers[ENABLE] & ENABLED:
            x, y = registers[X_RESOLUTION], registers[Y_RESOLUTION]
            fits = 0 < x <= MOST_X and 0 < y <= MOST_Y and registers[BITS] in DEPTHS
            if not fits or self._lines_of(x) < y:
                return
            registers[VIRTUAL_WIDTH], registers[VIRTUAL_HEIGHT] = x, self._lines_of(x)
            registers[X_OFFSET] = registers[Y_OFFSET] = registers[BANK] = 0
            if not value & KEEP_MEMORY:
                self._clear()
        registers[ENABLE] = value & (ENABLED | CAPABILITIES | DAC_8_BITS | LINEAR | KEEP_MEMORY)
        self._dac.eight_bits = bool(value & DAC_8_BITS)

    def _clear(self) -> None:
        self.memory[:] = bytes(len(self.memory))


def _pixel_bytes(bits: int) -> int:
    return (bits + 7) // 8
