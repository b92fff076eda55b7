"""INT 10h, AH=12h, 1Bh and 1Ch: switches of the display, what it can do, its state saved and restored.

The image of a saved state is ours: registers, then the data area's fields, then the DAC, as CX asks.
The number of lines that 12h asks of text modes is noted; they have 400 all the same.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 10h", functions 12h, 1Bh, 1Ch.
"""

from __future__ import annotations

import struct
from typing import Final

from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware.caller import Caller
from vmm.firmware.int10_fonts import ROM_SEGMENT
from vmm.firmware.rom_fonts import STATIC_TABLE
from vmm.firmware.screen import GREY_COLOURS, KEEP_COLOURS, NO_SCALING, VGA_COLOUR, Screen
from vmm.firmware.vga_ports import DAC_MASK, GRAPHICS, MISC_READ, MISC_WRITE, SEQUENCER, VgaPorts

DONE: Final = 0x12
INFORMATION: Final = 0x10
LINES: Final = 0x30
VIDEO_ENABLE: Final = 0x32
REFRESH: Final = 0x36
# Switches: field and bit of the data area, and the AL that sets it; the other of 0 and 1 clears it
SWITCHES: Final = {
    0x31: (b.VGA_FLAGS, KEEP_COLOURS, 1),
    0x33: (b.VGA_FLAGS, GREY_COLOURS, 0),
    0x34: (b.VIDEO_OPTIONS, NO_SCALING, 1),
}
LINES_OF: Final = {0: 0x80, 1: 0x00, 2: 0x10}  # by AL: 200, 350, 400, as 40:89 has it
LINE_BITS: Final = 0x90
SWITCHES_200: Final = 0x08  # 40:88: what an EGA's switches say for 200 lines, and for 350
SWITCHES_350: Final = 0x09
RAM_ENABLE: Final = 0x02
CLOCKING_MODE: Final = 1
SCREEN_OFF: Final = 0x20
STATE_BYTES: Final = 64
HARDWARE, DATA_AREA, COLOURS = 1, 2, 4
BLOCK: Final = 64
SEQUENCER_REGISTERS: Final = 5
CRTC_REGISTERS: Final = 0x19
GRAPHICS_REGISTERS: Final = 9
ATTRIBUTE_REGISTERS: Final = 0x15
RETRACE_END: Final = 0x11
SAVED_FIELDS: Final = ((b.VIDEO_MODE, 0x1E), (b.LAST_ROW, 7))  # offset and length in the data area


class DisplayState:
    """The functions about the display as a whole."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._ports = VgaPorts(screen.host.bus)

    def alternate_select(self, caller: Caller) -> None:
        """Serve AH=12h; AL = 12h says that a switch was set."""
        if caller.bl == INFORMATION:  # colour, 256 KiB, no feature bits, the switches of a VGA
            caller.bx, caller.cx = 0x0003, 0x0009
        elif caller.bl == LINES and caller.al in LINES_OF:
            self._note_lines(caller)
        elif caller.bl in SWITCHES and caller.al <= 1:
            field, bit, setting = SWITCHES[caller.bl]
            value = self._screen.data.byte(field)
            self._screen.data.set_byte(field, value | bit if caller.al == setting else value & ~bit)
            caller.al = DONE
        elif caller.bl == VIDEO_ENABLE and caller.al <= 1:
            misc = self._ports.read_port(MISC_READ)
            self._ports.write_port(MISC_WRITE, misc & ~RAM_ENABLE if caller.al else misc | RAM_ENABLE)
            caller.al = DONE
        elif caller.bl == REFRESH:
            clocking = self._ports.read(SEQUENCER, CLOCKING_MODE)
            off = clocking | SCREEN_OFF if caller.al & 1 else clocking & ~SCREEN_OFF
            self._ports.write(SEQUENCER, CLOCKING_MODE, off)
            caller.al = DONE

    def _note_lines(self, caller: Caller) -> None:
        data = self._screen.data
        data.set_byte(b.VGA_FLAGS, data.byte(b.VGA_FLAGS) & ~LINE_BITS | LINES_OF[caller.al])
        switches = SWITCHES_350 if caller.al else SWITCHES_200
        data.set_byte(b.VIDEO_SWITCHES, data.byte(b.VIDEO_SWITCHES) & 0xF0 | switches)
        caller.al = DONE

    def report(self, caller: Caller) -> None:
        """Serve AH=1Bh: 64 bytes at ES:DI."""
        if caller.bx != 0:
            return
        data, screen = self._screen.data, self._screen
        area = screen.host.memory.read(b.BASE + b.VIDEO_MODE, 0x1E)
        lines = {8: 0, 14: 1}.get(screen.cell_lines, 2)
        mode = screen.mode
        report = struct.pack("<HH", STATIC_TABLE, ROM_SEGMENT) + area
        report += bytes((screen.rows, screen.cell_lines, 0, VGA_COLOUR, 0))
        report += struct.pack("<HBB", mode.colours, mode.pages, lines)
        report += bytes((0, 0, data.byte(b.VGA_FLAGS) & 0x0F, 0, 0, 0, 3))
        caller.write(caller.address(r.ES, caller.di), report.ljust(STATE_BYTES, b"\0"))
        caller.al = 0x1B

    # -- saving and restoring

    def save_restore(self, caller: Caller) -> None:
        """Serve AH=1Ch: AL = 0 tells the size, 1 saves to ES:BX, 2 restores from there."""
        wanted = caller.cx & (HARDWARE | DATA_AREA | COLOURS)
        if not wanted or caller.al > 2:
            return
        if caller.al == 0:
            caller.bx = -(-len(self._save(wanted)) // BLOCK)
        elif caller.al == 1:
            caller.write(caller.address(r.ES, caller.bx), self._save(wanted))
        else:
            length = len(self._save(wanted))
            self._restore(wanted, caller.read(caller.address(r.ES, caller.bx), length))
        caller.al = 0x1C

    def _save(self, wanted: int) -> bytes:
        ports, memory = self._ports, self._screen.host.memory
        saved = b""
        if wanted & HARDWARE:
            saved += bytes((ports.read_port(MISC_READ) & 0xFF,))
            for port, count in self._indexed():
                saved += bytes(ports.read(port, index) & 0xFF for index in range(count))
            saved += bytes(ports.read_attribute(index) & 0xFF for index in range(ATTRIBUTE_REGISTERS))
        if wanted & DATA_AREA:
            saved += b"".join(memory.read(b.BASE + first, length) for first, length in SAVED_FIELDS)
        if wanted & COLOURS:
            saved += bytes((ports.read_port(DAC_MASK) & 0xFF,)) + ports.read_colours(0, 256)
        return saved

    def _indexed(self) -> tuple[tuple[int, int], ...]:
        return (
            (SEQUENCER, SEQUENCER_REGISTERS),
            (GRAPHICS, GRAPHICS_REGISTERS),
            (self._ports.crtc, CRTC_REGISTERS),
        )

    def _restore(self, wanted: int, saved: bytes) -> None:
        ports, memory = self._ports, self._screen.host.memory
        at = 0

        def take(count: int) -> bytes:
            nonlocal at
            at += count
            return saved[at - count : at]

        if wanted & HARDWARE:
            ports.write_port(MISC_WRITE, take(1)[0])
            ports.write(ports.crtc, RETRACE_END, 0)  # registers 0-7 are protected by its bit 7
            for port, count in self._indexed():
                for index, value in enumerate(take(count)):
                    ports.write(port, index, value)
            for index, value in enumerate(take(ATTRIBUTE_REGISTERS)):
                ports.write_attribute(index, value)
        if wanted & DATA_AREA:
            for first, length in SAVED_FIELDS:
                memory.write(b.BASE + first, take(length))
        if wanted & COLOURS:
            ports.write_port(DAC_MASK, take(1)[0])
            ports.write_colours(0, take(3 * 256))
