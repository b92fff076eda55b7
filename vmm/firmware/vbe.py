"""INT 10h, AH=4Fh: VESA BIOS extensions over the Bochs display interface, and DDC.

Every mode has a linear frame buffer and, through the window at A0000h, banks of 64 KiB. The number of
the mode in force is in the data area at 40:BA, so that RAM is all that is remembered.

Not modelled: refresh rates (CRTC information is not looked at), the protected mode interface (4F0Ah),
stereo, triple buffering; 4F04h keeps the registers of the interface only.

Sources: [VBE3] VESA BIOS Extension core functions 3.0, 1998; [DDC] VESA BIOS Extensions/Display Data
Channel standard 1.1, 1999.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from devices.vga import dispi as d
from devices.vga.mode_table import MODES, Kind, palette
from devices.vga.mode_table import Palette as PaletteKind
from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware.caller import Caller
from vmm.firmware.canvas import LinearCanvas
from vmm.firmware.edid import BLOCK_BYTES, edid
from vmm.firmware.screen import LINEAR_MODE, Screen
from vmm.firmware.vga_ports import VgaPorts

INDEX_PORT: Final = 0x1CE
DATA_PORT: Final = 0x1CF
SUPPORTED, OK, FAILED = 0x4F, 0x00, 0x01
MODE_FIELD: Final = 0xBA  # in the BIOS data area
CAPABILITIES: Final = 0x0001  # the DAC can have 8 bits
VERSION: Final = 0x0300
INFO_BYTES: Final = 512
OLD_INFO_BYTES: Final = 256
MODE_LIST: Final = 0x22  # offsets within the information block
STRINGS: Final = 0x100
OEM: Final = b"Trapline VBE\0"
VENDOR: Final = b"Trapline\0"
END_OF_LIST: Final = 0xFFFF
MODE_INFO_BYTES: Final = 256
ATTRIBUTES: Final = 0x00BF  # supported, extended information, TTY, colour, graphics, linear buffer
WINDOW: Final = (0x07, 0x00, 64, 64, 0xA000, 0x0000)
PACKED, DIRECT = 4, 6
LINEAR_FLAG: Final = 0x4000
KEEP_FLAG: Final = 0x8000
NUMBER_FIELD: Final = 0x01FF
CURRENT_MODE: Final = 0x81FF  # keeps what is there: not offered
FRAME_BUFFER_BAR: Final = 0x8000_1010  # configuration address of the display function's BAR 0
CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC
STATE_BLOCKS: Final = 1
STATE_BYTES: Final = 64
CELL: Final = (8, 16)
UNKNOWN: Final = 0x101  # what the mode is taken for where the data area holds nonsense


class LinearMode(NamedTuple):
    """A mode with a linear frame buffer."""

    width: int
    height: int
    bits: int

    @property
    def pixel_bytes(self) -> int:
        """Bytes a pixel."""
        return (self.bits + 7) // 8

    @property
    def masks(self) -> tuple[int, ...]:
        """Size and position of red, green, blue and the rest."""
        return {
            15: (5, 10, 5, 5, 5, 0, 1, 15), 16: (5, 11, 6, 5, 5, 0, 0, 0),
            24: (8, 16, 8, 8, 8, 0, 0, 0), 32: (8, 16, 8, 8, 8, 0, 8, 24),
        }.get(self.bits, (0,) * 8)  # fmt: skip

    def pixel(self, colour: bytes) -> int:
        """Return the pixel of a colour of 6 bits a component."""
        pixel = 0
        for component, size, position in zip(colour, self.masks[0:6:2], self.masks[1:6:2], strict=True):
            pixel |= component * ((1 << size) - 1) // 63 << position
        return pixel


_CGA: Final = palette(PaletteKind.VGA)
TEXT_COLOURS: Final = tuple(_CGA[3 * number : 3 * number + 3] for number in range(16))
LINEAR_MODES: Final = {
    0x100: LinearMode(640, 400, 8), 0x101: LinearMode(640, 480, 8), 0x103: LinearMode(800, 600, 8),
    0x105: LinearMode(1024, 768, 8), 0x107: LinearMode(1280, 1024, 8),
    0x10D: LinearMode(320, 200, 15), 0x10E: LinearMode(320, 200, 16), 0x10F: LinearMode(320, 200, 24),
    0x110: LinearMode(640, 480, 15), 0x111: LinearMode(640, 480, 16), 0x112: LinearMode(640, 480, 24),
    0x113: LinearMode(800, 600, 15), 0x114: LinearMode(800, 600, 16), 0x115: LinearMode(800, 600, 24),
    0x116: LinearMode(1024, 768, 15), 0x117: LinearMode(1024, 768, 16), 0x118: LinearMode(1024, 768, 24),
    0x119: LinearMode(1280, 1024, 15), 0x11A: LinearMode(1280, 1024, 16), 0x11B: LinearMode(1280, 1024, 24),
    0x11C: LinearMode(1600, 1200, 8), 0x11D: LinearMode(1600, 1200, 15), 0x11E: LinearMode(1600, 1200, 16),
    0x11F: LinearMode(1600, 1200, 24), 0x140: LinearMode(320, 200, 32), 0x141: LinearMode(640, 400, 32),
    0x142: LinearMode(640, 480, 32), 0x143: LinearMode(800, 600, 32), 0x144: LinearMode(1024, 768, 32),
    0x145: LinearMode(1280, 1024, 32), 0x146: LinearMode(320, 200, 8), 0x147: LinearMode(1600, 1200, 32),
}  # fmt: skip


class Vbe:
    """The functions. Each returns whether it succeeded."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._data = screen.data
        self._bus = screen.host.bus
        self._ports = VgaPorts(screen.host.bus)
        self._functions: dict[int, Callable[[Caller], bool]] = {
            0x00: self._information, 0x01: self._mode_information, 0x02: self._set_mode,
            0x03: self._get_mode, 0x04: self._save_restore, 0x05: self._window, 0x06: self._line_length,
            0x07: self._start, 0x08: self._dac_width, 0x09: self._colours, 0x15: self._ddc,
        }  # fmt: skip

    def call(self, caller: Caller) -> None:
        """Serve AH=4Fh."""
        function = self._functions.get(caller.al)
        if function is None or self._screen.host.display is None:
            return
        done = function(caller)
        caller.al = SUPPORTED
        caller.ah = OK if done else FAILED

    def refresh(self) -> None:
        """Tell the screen where characters and dots go, if a linear mode is in force."""
        display = self._screen.host.display
        if self._screen.number == LINEAR_MODE and display is not None:
            mode = self._mode or LINEAR_MODES[UNKNOWN]
            start = self._get(d.Y_OFFSET) * self._pitch + self._get(d.X_OFFSET) * mode.pixel_bytes
            inks = () if mode.bits == 8 else [mode.pixel(colour) for colour in TEXT_COLOURS]
            self._screen.linear = LinearCanvas(
                display.frame_buffer, start, self._pitch, mode.pixel_bytes, inks
            )

    def _get(self, index: int) -> int:
        self._bus.write(INDEX_PORT, 2, index)
        return self._bus.read(DATA_PORT, 2)

    def _set(self, index: int, value: int) -> None:
        self._bus.write(INDEX_PORT, 2, index)
        self._bus.write(DATA_PORT, 2, value & 0xFFFF)

    @property
    def _mode(self) -> LinearMode | None:
        """The linear mode in force."""
        if self._screen.number != LINEAR_MODE:
            return None
        return LINEAR_MODES.get(self._data.word(MODE_FIELD) & NUMBER_FIELD)

    @property
    def _pitch(self) -> int:
        mode = self._mode
        return self._get(d.VIRTUAL_WIDTH) * (mode.pixel_bytes if mode is not None else 1)

    def _memory_bytes(self) -> int:
        return self._get(d.MEMORY_64K) << 16

    def _fits(self, mode: LinearMode) -> bool:
        return mode.width * mode.height * mode.pixel_bytes <= self._memory_bytes()

    # -- what there is

    def _information(self, caller: Caller) -> bool:
        """4F00h: the block at ES:DI, of 512 bytes if it asks for VBE 2."""
        address = caller.address(r.ES, caller.di)
        extended = caller.read(address, 4) == b"VBE2"
        segment = caller.view.segs[r.ES].base >> 4 & 0xFFFF
        modes = [number for number, mode in LINEAR_MODES.items() if self._fits(mode)]
        units = self._get(d.MEMORY_64K)

        def pointer(offset: int) -> bytes:
            return struct.pack("<HH", caller.di + offset & 0xFFFF, segment)

        strings = STRINGS if extended else MODE_LIST + 2 * (len(modes) + 1)
        block = b"VESA" + struct.pack("<H", VERSION) + pointer(strings) + struct.pack("<I", CAPABILITIES)
        block += pointer(MODE_LIST) + struct.pack("<HH", units, VERSION)
        vendor = strings + len(OEM)
        block += pointer(vendor) + pointer(vendor) + pointer(vendor + len(VENDOR) - 1)
        block = block.ljust(MODE_LIST, b"\0") + struct.pack(f"<{len(modes) + 1}H", *modes, END_OF_LIST)
        block = block.ljust(strings, b"\0") + OEM + VENDOR
        caller.write(address, block.ljust(INFO_BYTES if extended else OLD_INFO_BYTES, b"\0"))
        return True

    def _mode_information(self, caller: Caller) -> bool:
        """4F01h: the block of mode CX at ES:DI."""
        mode = LINEAR_MODES.get(caller.cx & NUMBER_FIELD)
        if mode is None or not self._fits(mode):
            return False
        pitch = mode.width * mode.pixel_bytes
        pages = self._memory_bytes() // (pitch * mode.height) - 1
        model = PACKED if mode.bits == 8 else DIRECT
        info = struct.pack("<HBBHHHHI", ATTRIBUTES, *WINDOW[:2], *WINDOW[2:], 0)
        info += struct.pack("<HHH", pitch, mode.width, mode.height)
        info += bytes((*CELL, 1, mode.bits, 1, model, 0, min(pages, 255), 1, mode.masks[0]))
        info += bytes(mode.masks[1:]) + bytes((0,))
        info += struct.pack("<IIH", self._frame_buffer(), 0, 0)
        info += struct.pack("<HBB8BI", pitch, min(pages, 255), min(pages, 255), *mode.masks, 0)
        caller.write(caller.address(r.ES, caller.di), info.ljust(MODE_INFO_BYTES, b"\0"))
        return True

    def _frame_buffer(self) -> int:
        """Return where the PCI function's base register has put the buffer."""
        self._bus.write(CONFIG_ADDRESS, 4, FRAME_BUFFER_BAR)
        return self._bus.read(CONFIG_DATA, 4) & ~0xF

    # -- the mode

    def _set_mode(self, caller: Caller) -> bool:
        """4F02h: mode BX, its bit 15 keeps the memory, bit 14 chooses the linear buffer."""
        number, keep = caller.bx & NUMBER_FIELD, bool(caller.bx & KEEP_FLAG)
        if number < 0x100:
            if number not in MODES:
                return False
            self._screen.set_mode(number, clear=not keep)
            return True
        mode = LINEAR_MODES.get(number)
        display = self._screen.host.display
        if mode is None or display is None or not self._fits(mode):
            return False
        display.set_mode(0x13, clear=False)
        flags = (d.LINEAR if caller.bx & LINEAR_FLAG else 0) | (d.KEEP_MEMORY if keep else 0)
        sizes = ((d.X_RESOLUTION, mode.width), (d.Y_RESOLUTION, mode.height), (d.BITS, mode.bits))
        for index, value in ((d.ENABLE, 0), *sizes, (d.ENABLE, d.ENABLED | flags)):
            self._set(index, value)
        text = MODES[0x12]._replace(
            kind=Kind.BYTES, columns=mode.width // CELL[0], rows=mode.height // CELL[1], pages=1
        )
        self._screen.describe(text, LINEAR_MODE | (0x80 if keep else 0))
        self._data.set_word(MODE_FIELD, caller.bx)
        return True

    def _get_mode(self, caller: Caller) -> bool:
        """4F03h: the mode in BX."""
        linear = self._screen.number == LINEAR_MODE
        caller.bx = self._data.word(MODE_FIELD) if linear else self._screen.number
        return True

    def _save_restore(self, caller: Caller) -> bool:
        """4F04h: DL = 0 tells the blocks of 64 bytes needed, 1 saves to ES:BX, 2 restores from there."""
        if caller.dl == 0:
            caller.bx = STATE_BLOCKS
        elif caller.dl == 1:
            registers = [self._get(index) for index in range(d.REGISTERS)]
            state = struct.pack(
                f"<HB{d.REGISTERS}H", self._data.word(MODE_FIELD), self._screen.number, *registers
            )
            caller.write(caller.address(r.ES, caller.bx), state.ljust(STATE_BYTES, b"\0"))
        elif caller.dl == 2:
            state = caller.read(caller.address(r.ES, caller.bx), 3 + 2 * d.REGISTERS)
            field, number, *registers = struct.unpack(f"<HB{d.REGISTERS}H", state)
            self._data.set_word(MODE_FIELD, field)
            self._data.set_byte(b.VIDEO_MODE, number)
            self._set(d.ENABLE, 0)
            for index in (d.X_RESOLUTION, d.Y_RESOLUTION, d.BITS):
                self._set(index, registers[index])
            self._set(d.ENABLE, registers[d.ENABLE] | d.KEEP_MEMORY)
            for index in (d.VIRTUAL_WIDTH, d.X_OFFSET, d.Y_OFFSET, d.BANK):
                self._set(index, registers[index])
        else:
            return False
        return True

    # -- the picture in the memory

    def _window(self, caller: Caller) -> bool:
        """4F05h: BH = 0 moves window A to position DX, 1 tells it."""
        if self._mode is None or caller.bl != 0:
            return False
        if caller.bh == 1:
            caller.dx = self._get(d.BANK)
            return True
        self._set(d.BANK, caller.dx)
        return caller.bh == 0 and self._get(d.BANK) == caller.dx

    def _line_length(self, caller: Caller) -> bool:
        """4F06h: BL = 0 sets the line in pixels CX, 2 in bytes, 1 tells it, 3 tells the longest."""
        mode = self._mode
        if mode is None or caller.bl > 3:
            return False
        done = True
        if caller.bl == 3:
            longest = min(self._memory_bytes() // mode.height // mode.pixel_bytes, 0xFFFF // mode.pixel_bytes)
            caller.bx, caller.cx = longest * mode.pixel_bytes, longest
            caller.dx = mode.height
            return True
        if caller.bl in (0, 2):
            pixels = caller.cx if caller.bl == 0 else -(-caller.cx // mode.pixel_bytes)
            self._set(d.VIRTUAL_WIDTH, pixels)
            done = self._get(d.VIRTUAL_WIDTH) == pixels
        caller.bx, caller.cx = self._pitch & 0xFFFF, self._get(d.VIRTUAL_WIDTH)
        caller.dx = self._get(d.VIRTUAL_HEIGHT)
        return done

    def _start(self, caller: Caller) -> bool:
        """4F07h: BL = 0 or 80h shows the picture from pixel CX of line DX, 1 tells them."""
        if self._mode is None or caller.bl not in (0x00, 0x01, 0x80):
            return False
        if caller.bl == 1:
            caller.bh, caller.cx, caller.dx = 0, self._get(d.X_OFFSET), self._get(d.Y_OFFSET)
            return True
        self._set(d.X_OFFSET, caller.cx)
        self._set(d.Y_OFFSET, caller.dx)
        return (self._get(d.X_OFFSET), self._get(d.Y_OFFSET)) == (caller.cx, caller.dx)

    def _dac_width(self, caller: Caller) -> bool:
        """4F08h: BL = 0 sets the bits of a colour's component to BH, 1 tells them."""
        enable = self._get(d.ENABLE)
        if self._mode is None or caller.bl > 1:
            return False
        if caller.bl == 0:
            enable = enable | d.DAC_8_BITS if caller.bh >= 8 else enable & ~d.DAC_8_BITS
            self._set(d.ENABLE, enable)
        caller.bh = 8 if enable & d.DAC_8_BITS else 6
        return True

    def _colours(self, caller: Caller) -> bool:
        """4F09h: BL = 0 or 80h sets CX colours from DX to those at ES:DI (blue, green, red, 0); 1 tells."""
        count, first = min(caller.cx, 256), caller.dx
        address = caller.address(r.ES, caller.di)
        if first + count > 256 or caller.bl not in (0x00, 0x01, 0x80):
            return False
        if caller.bl == 1:
            colours = self._ports.read_colours(first, count)
            entries = zip(colours[::3], colours[1::3], colours[2::3], strict=True)
            caller.write(address, b"".join(bytes((blue, green, red, 0)) for red, green, blue in entries))
        else:
            data = caller.read(address, 4 * count)
            entries = zip(data[::4], data[1::4], data[2::4], strict=True)
            self._ports.write_colours(
                first, b"".join(bytes((red, green, blue)) for blue, green, red in entries)
            )
        return True

    # -- the monitor

    def _ddc(self, caller: Caller) -> bool:
        """4F15h: BL = 0 tells that DDC2 is there, 1 reads block DX of the EDID to ES:DI."""
        if caller.bl == 0:
            caller.bx = 0x0102  # a second a block, DDC2
        elif caller.bl == 1 and caller.dx == 0:
            caller.write(caller.address(r.ES, caller.di), edid()[:BLOCK_BYTES])
        else:
            return False
        return True
