"""256 KiB of video memory in four planes, and the processor's way to it.

What an access does depends on the sequencer and the graphics controller, so `configure` picks, each
time one of their registers changes, the functions that serve accesses until the next change. Text
mode and mode 13h, in which the planes are only a way to store bytes, have functions of their own;
everything else goes byte by byte through rotation, set/reset, ALU and bit mask.

NOT modelled: the page bit of odd/even addressing (A0 of the plane address is 0), wait states.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, "Graphics Controller".
    [FreeVGA] FreeVGA project hardware reference, "Accessing the VGA Display Memory".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from devices.vga import registers as r

Bytes = bytes | bytearray

PLANES: Final = 4
PLANE_BYTES: Final = 0x1_0000
WINDOW_BYTES: Final = 0x2_0000  # A0000h-BFFFFh
_MAPS: Final = ((0x0_0000, 0x2_0000), (0x0_0000, 0x1_0000), (0x1_0000, 0x0_8000), (0x1_8000, 0x0_8000))
_FLOATING: Final = 0xFF
_TEXT_PLANES: Final = 0x03
_ALL_PLANES: Final = 0x0F
_EVEN_PLANES: Final = 0x05
_LOW_WORD: Final = 0xFFFE  # a plane address without A0
_LOW_DWORD: Final = 0xFFFC

_ALU: Final[tuple[Callable[[int, int], int], ...]] = (  # [VGA] "Data Rotate Register", function select
    lambda data, _latch: data,
    lambda data, latch: data & latch,
    lambda data, latch: data | latch,
    lambda data, latch: data ^ latch,
)


class VideoMemory:
    """The planes and the latches. `read` and `write` take offsets from A0000h."""

    def __init__(self) -> None:
        self.planes = tuple(bytearray(PLANE_BYTES) for _ in range(PLANES))
        self.latches = (0, 0, 0, 0)
        self._write_modes: tuple[Callable[[int], Sequence[int]], ...] = (
            self._write_mode_0,
            self._write_mode_1,
            self._write_mode_2,
            self._write_mode_3,
        )
        self.configure(bytes(5), bytes(9), 0)

    def reset(self) -> None:
        """Clear planes and latches."""
        self.latches = (0, 0, 0, 0)
        self.clear()

    def clear(self) -> None:
        """Clear the planes."""
        for plane in self.planes:
            plane[:] = bytes(PLANE_BYTES)

    def configure(self, sequencer: Bytes, graphics: Bytes, misc: int) -> None:
        """Take the registers that decide what an access means."""
        self._graphics = bytes(graphics)
        first, length = _MAPS[graphics[r.GC_MISC] >> r.MISC_MAP_SHIFT & 3]
        self._first = first
        self._length = length if misc & r.MISC_RAM_ENABLE else 0
        memory_mode = sequencer[r.SEQ_MEMORY_MODE]
        self._chain4 = bool(memory_mode & r.MEMORY_CHAIN4)
        self._odd_even_write = not memory_mode & r.MEMORY_SEQUENTIAL and not self._chain4
        self._odd_even_read = bool(graphics[r.GC_MODE] & r.MODE_ODD_EVEN) and not self._chain4
        self._map_mask = sequencer[r.SEQ_MAP_MASK]
        self._modify = self._write_modes[graphics[r.GC_MODE] & r.MODE_WRITE]
        self.write = self._choose_write()
        self.read = self._choose_read()

    def _choose_write(self) -> Callable[[int, int, int], None]:
        graphics = self._graphics
        plain = (
            not graphics[r.GC_MODE] & r.MODE_WRITE
            and not graphics[r.GC_ENABLE_SET_RESET]
            and not graphics[r.GC_DATA_ROTATE]
            and graphics[r.GC_BIT_MASK] == 0xFF
        )
        if plain and self._odd_even_write and self._map_mask == _TEXT_PLANES:
            return self._write_text
        if plain and self._chain4 and self._map_mask == _ALL_PLANES:
            return self._write_chain4
        return self._write_general

    def _choose_read(self) -> Callable[[int, int], int]:
        compare = self._graphics[r.GC_MODE] & r.MODE_READ_COMPARE
        if self._odd_even_read and not compare and not self._graphics[r.GC_READ_MAP] & 2:
            return self._read_text
        return self._read_general

    # Text mode: even addresses are characters in plane 0, odd ones attributes in plane 1

    def _write_text(self, offset: int, size: int, value: int) -> None:
        address = offset - self._first
        if size == 2 and not address & 1 and 0 <= address < self._length:
            at = address & _LOW_WORD
            self.planes[0][at] = value & 0xFF
            self.planes[1][at] = value >> 8
            return
        for lane in range(size):
            at = address + lane
            if 0 <= at < self._length:
                self.planes[at & 1][at & _LOW_WORD] = value >> 8 * lane & 0xFF

    def _read_text(self, offset: int, size: int) -> int:
        address = offset - self._first
        if not 0 <= address <= self._length - size:
            return self._read_general(offset, size)
        if size == 2 and not address & 1:
            at = address & _LOW_WORD
            first, second, third, fourth = self.planes
            self.latches = (first[at], second[at], third[at], fourth[at])
            return first[at] | second[at] << 8
        value = 0
        for lane in range(size):
            at = address + lane
            value |= self.planes[at & 1][at & _LOW_WORD] << 8 * lane
        self._latch(address + size - 1 & _LOW_WORD)
        return value

    # Mode 13h: the two low address bits choose the plane

    def _write_chain4(self, offset: int, size: int, value: int) -> None:
        address = offset - self._first
        for lane in range(size):
            at = address + lane
            if 0 <= at < self._length:
                self.planes[at & 3][at & _LOW_DWORD] = value >> 8 * lane & 0xFF

    # Everything else

    def _write_general(self, offset: int, size: int, value: int) -> None:
        for lane in range(size):
            address = offset - self._first + lane
            if 0 <= address < self._length:
                self._write_byte(address, value >> 8 * lane & 0xFF)

    def _write_byte(self, address: int, value: int) -> None:
        mask = self._map_mask
        if self._chain4:
            mask &= 1 << (address & 3)
            address &= _LOW_DWORD
        elif self._odd_even_write:
            mask &= _EVEN_PLANES << (address & 1)
            address &= _LOW_WORD
        address &= PLANE_BYTES - 1
        for number, byte in enumerate(self._modify(value)):
            if mask >> number & 1:
                self.planes[number][address] = byte

    def _read_general(self, offset: int, size: int) -> int:
        value = 0
        for lane in range(size):
            address = offset - self._first + lane
            inside = 0 <= address < self._length
            value |= (self._read_byte(address) if inside else _FLOATING) << 8 * lane
        return value

    def _read_byte(self, address: int) -> int:
        plane = self._graphics[r.GC_READ_MAP]
        if self._chain4:
            plane, address = address & 3, address & _LOW_DWORD
        elif self._odd_even_read:
            plane, address = plane & 2 | address & 1, address & _LOW_WORD
        self._latch(address & PLANE_BYTES - 1)
        if self._graphics[r.GC_MODE] & r.MODE_READ_COMPARE:
            return self._compare()
        return self.latches[plane]

    def _latch(self, at: int) -> None:
        first, second, third, fourth = self.planes
        self.latches = (first[at], second[at], third[at], fourth[at])

    def _compare(self) -> int:
        """Return ones where the latched pixel has the colour asked for, [VGA] "Read Mode 1"."""
        colour, care = self._graphics[r.GC_COLOUR_COMPARE], self._graphics[r.GC_COLOUR_DONT_CARE]
        differing = 0
        for number, latch in enumerate(self.latches):
            if care >> number & 1:
                differing |= latch ^ _spread(colour, number)
        return ~differing & 0xFF

    # Write modes, [VGA] "Graphics Mode Register": the four bytes that a byte of the processor becomes

    def _write_mode_0(self, value: int) -> list[int]:
        rotated = self._rotate(value)
        enable, colour = self._graphics[r.GC_ENABLE_SET_RESET], self._graphics[r.GC_SET_RESET]
        data = [_spread(colour, number) if enable >> number & 1 else rotated for number in range(PLANES)]
        return self._mix(data, self._graphics[r.GC_BIT_MASK])

    def _write_mode_1(self, value: int) -> Sequence[int]:
        return self.latches

    def _write_mode_2(self, value: int) -> list[int]:
        return self._mix([_spread(value, number) for number in range(PLANES)], self._graphics[r.GC_BIT_MASK])

    def _write_mode_3(self, value: int) -> list[int]:
        colour = self._graphics[r.GC_SET_RESET]
        mask = self._rotate(value) & self._graphics[r.GC_BIT_MASK]
        return self._mix([_spread(colour, number) for number in range(PLANES)], mask)

    def _rotate(self, value: int) -> int:
        places = self._graphics[r.GC_DATA_ROTATE] & 7
        return (value >> places | value << 8 - places) & 0xFF

    def _mix(self, data: list[int], mask: int) -> list[int]:
        """Combine data and latches by ALU, then take latched bits where `mask` is 0."""
        alu = _ALU[self._graphics[r.GC_DATA_ROTATE] >> 3 & 3]
        return [
            alu(byte, latch) & mask | latch & ~mask for byte, latch in zip(data, self.latches, strict=True)
        ]


def _spread(colour: int, number: int) -> int:
    """Return eight copies of bit `number`."""
    return 0xFF if colour >> number & 1 else 0
