"""Pixels in graphics modes, as INT 10h draws them: eight at a time, in the memory the VGA's own ROM sees.

A *cell row* is one line of a character cell: eight pixels, in as many bytes as the mode gives them. The
same bytes carry a character, a single dot and a scrolled line, so each mode says only how it stores them.

Sources: [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, memory organization of
the modes; [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 10h".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from devices.vga.mode_table import Kind, Mode

CELL_PIXELS: Final = 8
XOR: Final = 0x80  # of a colour: draw it over what is there
PLANE_MASK: Final = 0xFFFF
CGA_ODD_LINES: Final = 0x2000
CGA_LINE_BYTES: Final = 80

Buffer = bytearray | memoryview


class Run(NamedTuple):
    """Cell rows side by side: every `step`th byte of a buffer from `start`, `length` of them."""

    buffer: Buffer
    start: int
    step: int
    length: int

    @property
    def place(self) -> slice:
        """The bytes, as a slice."""
        return slice(self.start, self.start + self.length * self.step, self.step)


class Canvas(Protocol):
    """How one mode stores pixels."""

    cell_bytes: int  # of a cell row

    def runs(self, page: int, line: int, column: int, cells: int) -> list[Run]:
        """Return where `cells` cell rows are; byte n of a cell row is in run n modulo their number."""

    def encode(self, bits: int, colour: int) -> bytes:
        """Return a cell row with `colour` where a bit is set (bit 7 is the leftmost), else 0."""

    def decode(self, row: bytes, pixel: int) -> int:
        """Return the colour of one pixel of a cell row."""


def read_cells(canvas: Canvas, page: int, line: int, column: int, cells: int = 1) -> bytes:
    """Return cell rows, one after the other."""
    runs = canvas.runs(page, line, column, cells)
    data = bytearray(cells * canvas.cell_bytes)
    for number, run in enumerate(runs):
        found = bytes(run.buffer[run.place])
        data[number :: len(runs)] = found.ljust(run.length, b"\0")
    return bytes(data)


def write_cells(canvas: Canvas, page: int, line: int, column: int, data: bytes) -> None:
    """Store cell rows."""
    runs = canvas.runs(page, line, column, len(data) // canvas.cell_bytes)
    for number, run in enumerate(runs):
        part = data[number :: len(runs)]
        if run.start + (run.length - 1) * run.step < len(run.buffer):
            run.buffer[run.place] = part


def draw(canvas: Canvas, page: int, place: tuple[int, int], bits: int, colour: int) -> None:
    """Draw a cell row at (line, column): by exclusive or, or with 0 where no bit is set."""
    line, column = place
    row = canvas.encode(bits, colour & ~XOR if colour < 256 else colour)
    if colour & XOR and colour < 256:
        row = _xor(row, read_cells(canvas, page, line, column))
    write_cells(canvas, page, line, column, row)


def set_pixel(canvas: Canvas, page: int, x: int, y: int, colour: int, *, xor: bool) -> None:
    """Draw one dot."""
    bit = 0x80 >> (x & 7)
    old = read_cells(canvas, page, y, x // CELL_PIXELS)
    row = canvas.encode(bit, colour)
    if xor:
        row = _xor(row, old)
    else:
        covered = canvas.encode(bit, ~0)
        row = bytes(a & ~mask & 0xFF | b for a, mask, b in zip(old, covered, row, strict=True))
    write_cells(canvas, page, y, x // CELL_PIXELS, row)


def get_pixel(canvas: Canvas, page: int, x: int, y: int) -> int:
    """Return the colour of one dot."""
    return canvas.decode(read_cells(canvas, page, y, x // CELL_PIXELS), x & 7)


def _xor(first: bytes, second: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(first, second, strict=True))


class PlanesCanvas:
    """A bit of each of four planes for a pixel."""

    cell_bytes = 4

    def __init__(self, planes: Sequence[bytearray], columns: int, page_bytes: int) -> None:
        self._planes, self._columns, self._page_bytes = planes, columns, page_bytes

    def runs(self, page: int, line: int, column: int, cells: int) -> list[Run]:
        """Return a run in each plane."""
        start = page * self._page_bytes + line * self._columns + column & PLANE_MASK
        return [Run(plane, start, 1, cells) for plane in self._planes]

    def encode(self, bits: int, colour: int) -> bytes:
        """Return a byte a plane."""
        return bytes(bits if colour >> number & 1 else 0 for number in range(4))

    def decode(self, row: bytes, pixel: int) -> int:
        """Collect the bits of the planes."""
        return sum((byte << pixel >> 7 & 1) << number for number, byte in enumerate(row))


class CgaCanvas:
    """One or two bits a pixel; odd lines are 8 KiB behind the even ones."""

    def __init__(self, planes: Sequence[bytearray], bits: int) -> None:
        self._planes, self._bits = planes, bits
        self.cell_bytes = bits

    def runs(self, page: int, line: int, column: int, cells: int) -> list[Run]:  # noqa: ARG002 - one page
        """Return the runs: with two bits, even bytes are in plane 0 and odd ones in plane 1."""
        start = (line & 1) * CGA_ODD_LINES + (line >> 1) * CGA_LINE_BYTES + column * self._bits & PLANE_MASK
        return [Run(plane, start, self._bits, cells) for plane in self._planes[: self._bits]]

    def encode(self, bits: int, colour: int) -> bytes:
        """Return one or two bytes, the leftmost pixel in the highest bits."""
        value = 0
        for pixel in range(CELL_PIXELS):
            value = value << self._bits | (colour & (1 << self._bits) - 1 if bits << pixel & 0x80 else 0)
        return value.to_bytes(self._bits, "big")

    def decode(self, row: bytes, pixel: int) -> int:
        """Take the pixel's bits."""
        shift = (CELL_PIXELS - 1 - pixel) * self._bits
        return int.from_bytes(row, "big") >> shift & (1 << self._bits) - 1


class BytesCanvas:
    """Mode 13h: a byte a pixel, each fourth in the same plane."""

    cell_bytes = 8
    line_bytes = 320

    def __init__(self, planes: Sequence[bytearray]) -> None:
        self._planes = planes

    def runs(self, page: int, line: int, column: int, cells: int) -> list[Run]:  # noqa: ARG002 - one page
        """Return a run in each plane, four addresses apart."""
        start = line * self.line_bytes + column * CELL_PIXELS & PLANE_MASK & ~3
        return [Run(plane, start, 4, cells * 2) for plane in self._planes]

    def encode(self, bits: int, colour: int) -> bytes:
        """Return a byte a pixel."""
        return bytes(colour & 0xFF if bits << pixel & 0x80 else 0 for pixel in range(CELL_PIXELS))

    def decode(self, row: bytes, pixel: int) -> int:
        """Take the byte."""
        return row[pixel]


class LinearCanvas:
    """A linear frame buffer, one to four bytes a pixel; `inks` are the pixels of the 16 text colours."""

    def __init__(self, memory: Buffer, start: int, pitch: int, pixel_bytes: int, inks: Sequence[int]) -> None:
        self._memory, self._start, self._pitch = memory, start, pitch
        self._pixel_bytes, self._inks = pixel_bytes, inks
        self.cell_bytes = CELL_PIXELS * pixel_bytes

    def runs(self, page: int, line: int, column: int, cells: int) -> list[Run]:  # noqa: ARG002 - one page
        """Return the one run."""
        start = self._start + line * self._pitch + column * self.cell_bytes
        return [Run(self._memory, start, 1, cells * self.cell_bytes)]

    def encode(self, bits: int, colour: int) -> bytes:
        """Return the pixels, the lowest byte of each first."""
        colour = self._inks[colour] if 0 <= colour < len(self._inks) else colour
        one = (colour & (1 << 8 * self._pixel_bytes) - 1).to_bytes(self._pixel_bytes, "little")
        none = bytes(self._pixel_bytes)
        return b"".join(one if bits << pixel & 0x80 else none for pixel in range(CELL_PIXELS))

    def decode(self, row: bytes, pixel: int) -> int:
        """Take the pixel's bytes."""
        at = pixel * self._pixel_bytes
        return int.from_bytes(row[at : at + self._pixel_bytes], "little")


def canvas_of(mode: Mode, planes: Sequence[bytearray]) -> Canvas | None:
    """Return how a mode of the VGA stores pixels; None in a text mode."""
    if mode.kind is Kind.PLANES:
        return PlanesCanvas(planes, mode.columns, mode.page_bytes)
    if mode.kind is Kind.BYTES:
        return BytesCanvas(planes)
    if mode.kind is Kind.TEXT:
        return None
    return CgaCanvas(planes, 2 if mode.kind is Kind.CGA_4 else 1)
