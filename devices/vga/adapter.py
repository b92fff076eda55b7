"""The VGA as the machine plugs it in: three banks of ports and a window onto video memory.

`common` is for 3C0h-3CFh, `mono` for 3B0h-3BBh, `colour` for 3D0h-3DFh; of the last two only one
answers, by bit 0 of the miscellaneous output register. `read` and `write` are the memory window,
offsets from A0000h. `dispi` is the linear frame buffer, which takes the screen and the window when enabled.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, S42G-2193, 1992.
"""

from __future__ import annotations

from typing import Final

import msgspec

from devices.backplane import Clock, DeviceState
from devices.vga import registers as r
from devices.vga import text
from devices.vga.dac import Dac, DacState
from devices.vga.dispi import Dispi, DispiState, FrameBuffer, LinearScreen
from devices.vga.fonts import font
from devices.vga.graphics import GraphicsScreen, read_graphics
from devices.vga.memory import PLANE_BYTES, VideoMemory
from devices.vga.mode_table import MODES, Kind, palette
from devices.vga.ports import RegisterFile, RegisterState

GLYPHS: Final = 256
GLYPH_BYTES: Final = 32  # a glyph has room for 32 lines in plane 2, whatever it uses
FONT_BYTES: Final = GLYPHS * GLYPH_BYTES
TEXT_BLANK: Final = (0x20, 0x07)  # light grey on black


class VgaState(DeviceState, frozen=True, kw_only=True):
    """All registers and the contents of the four planes."""

    registers: RegisterState
    dac: DacState
    latches: tuple[int, int, int, int]
    planes: tuple[bytes, bytes, bytes, bytes]
    dispi: DispiState


class Vga:
    """A VGA with 256 KiB of memory and a linear frame buffer; no interrupt; it forgets all at a reset."""

    def __init__(self, clock: Clock, name: str = "vga", frame_buffer: FrameBuffer | None = None) -> None:
        self.name = name
        self.memory = VideoMemory()
        self.dac = Dac()
        self.dispi = Dispi(self.dac, frame_buffer, f"{name} dispi")
        self.registers = RegisterFile(clock, self.dac, name, self._configure)
        self.common = self.registers.common
        self.mono = self.registers.mono
        self.colour = self.registers.colour
        self.reset()

    def reset(self) -> None:
        """Power-on: registers and memory zero, the screen dark until firmware sets a mode."""
        self.registers.reset()
        self.dac.reset()
        self.memory.reset()
        self.dispi.reset()

    # The memory window

    def read(self, offset: int, size: int) -> int:
        """Guest read at A0000h + `offset`."""
        return (self.dispi.read_window if self.dispi.enabled else self.memory.read)(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest write at A0000h + `offset`."""
        (self.dispi.write_window if self.dispi.enabled else self.memory.write)(offset, size, value)

    # What the host sees

    @property
    def is_graphics(self) -> bool:
        """Whether the screen shows pixels rather than characters."""
        return self.dispi.enabled or bool(self.registers.graphics[r.GC_MISC] & r.MISC_GRAPHICS)

    @property
    def is_dark(self) -> bool:
        """Whether nothing is shown: no palette on the screen, or the screen switched off."""
        off = self.registers.sequencer[r.SEQ_CLOCKING_MODE] & r.CLOCKING_SCREEN_OFF
        if self.dispi.enabled:
            return False
        return bool(off) or not self.registers.attribute_index & r.ATTR_DISPLAY_ON

    def text_screen(self) -> text.TextScreen:
        """Return what a text mode shows; 0 x 0 in a graphics mode or on a dark screen."""
        if self.is_graphics or self.is_dark:
            return text.NOTHING
        return text.read_screen(self.registers.crtc, self.registers.attributes, self.memory.planes)

    def graphics_screen(self) -> GraphicsScreen | LinearScreen | None:
        """Return what a graphics mode shows; None in a text mode or on a dark screen."""
        if self.dispi.enabled:
            return self.dispi.screen()
        if not self.is_graphics or self.is_dark:
            return None
        registers = self.registers
        parts = (registers.sequencer, registers.graphics, registers.crtc, registers.attributes)
        return read_graphics(parts, self.memory.planes, self.dac)

    def text_look(self) -> text.TextLook:
        """Return the font and the colours that turn a `TextScreen` into dots."""
        registers = self.registers
        return text.read_look(registers.sequencer, registers.attributes, self.memory.planes[2], self.dac)

    # What only the VGA's own ROM would do, for a firmware that has none

    @property
    def planes(self) -> tuple[bytearray, ...]:
        """The four planes."""
        return self.memory.planes

    @property
    def frame_buffer(self) -> FrameBuffer:
        """The linear frame buffer."""
        return self.dispi.memory

    def set_mode(self, number: int, *, clear: bool = True) -> None:
        """Become what a VGA BIOS leaves after setting a mode of `mode_table.MODES`.

        In a text mode the font is loaded; without `clear` the rest of the memory stays as it is.
        """
        mode = MODES[number]
        self.dispi.disable()
        self.registers.replace(mode.registers)
        self.dac.palette[:] = palette(mode.palette)
        self.dac.mask = 0xFF
        if clear:
            self.memory.clear()
            if mode.kind is Kind.TEXT:
                for plane, blank in zip(self.memory.planes, TEXT_BLANK, strict=False):
                    plane[0::2] = bytes((blank,)) * (PLANE_BYTES // 2)
        if mode.kind is Kind.TEXT:
            self.load_glyphs(0, 0, mode.cell_lines, font(mode.cell_lines))

    def set_text_mode_3(self) -> None:
        """Set 80 x 25 characters in colour, on a blank screen."""
        self.set_mode(3)

    def load_glyphs(self, block: int, first: int, lines: int, glyphs: bytes) -> None:
        """Put glyphs of so many lines into font `block`, from character `first` on."""
        start = ((block & 3) * 2 + (block >> 2 & 1)) * FONT_BYTES
        plane = self.memory.planes[2]
        for number in range(min(len(glyphs) // lines, GLYPHS - first)):
            at = start + (first + number) * GLYPH_BYTES
            plane[at : at + lines] = glyphs[number * lines : (number + 1) * lines]

    # State

    def save(self) -> VgaState:
        """Return the state."""
        first, second, third, fourth = (bytes(plane) for plane in self.memory.planes)
        return VgaState(
            registers=self.registers.save(),
            dac=self.dac.save(),
            latches=self.memory.latches,
            planes=(first, second, third, fourth),
            dispi=self.dispi.save(),
        )

    def load(self, state: DeviceState) -> None:
        """Become `state`."""
        saved = msgspec.convert(state, VgaState)
        self.registers.replace(saved.registers)
        self.dac.load(saved.dac)
        self.dispi.load(saved.dispi)
        self.memory.latches = saved.latches
        for plane, contents in zip(self.memory.planes, saved.planes, strict=True):
            plane[:] = contents.ljust(PLANE_BYTES, b"\0")[:PLANE_BYTES]

    def _configure(self) -> None:
        registers = self.registers
        self.memory.configure(registers.sequencer, registers.graphics, registers.misc)
