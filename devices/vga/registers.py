"""Names of the VGA's registers and of the bits the model acts upon; no behaviour.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, S42G-2193, 1992.
    [FreeVGA] FreeVGA project hardware reference, release of 2003.
"""

from __future__ import annotations

from typing import Final

# Miscellaneous output register, [VGA] "General Registers"
MISC_COLOUR: Final = 0x01  # CRTC at 3Dxh rather than 3Bxh
MISC_RAM_ENABLE: Final = 0x02
MISC_CLOCK: Final = 0x0C
CLOCK_HZ: Final = (25_175_000, 28_322_000, 25_175_000, 25_175_000)

# Input status register 1
STATUS1_DISPLAY_DISABLED: Final = 0x01
STATUS1_VERTICAL_RETRACE: Final = 0x08

# Sequencer, [VGA] "Sequencer Registers"
SEQ_RESET: Final = 0
SEQ_CLOCKING_MODE: Final = 1
SEQ_MAP_MASK: Final = 2
SEQ_CHARACTER_MAP: Final = 3
SEQ_MEMORY_MODE: Final = 4
SEQ_WRITABLE: Final = bytes((0x03, 0x3D, 0x0F, 0x3F, 0x0E))
CLOCKING_8_DOTS: Final = 0x01
CLOCKING_HALF: Final = 0x08
CLOCKING_SCREEN_OFF: Final = 0x20
MEMORY_SEQUENTIAL: Final = 0x04  # clear: odd addresses to odd planes
MEMORY_CHAIN4: Final = 0x08

# Graphics controller, [VGA] "Graphics Controller Registers"
GC_SET_RESET: Final = 0
GC_ENABLE_SET_RESET: Final = 1
GC_COLOUR_COMPARE: Final = 2
GC_DATA_ROTATE: Final = 3
GC_READ_MAP: Final = 4
GC_MODE: Final = 5
GC_MISC: Final = 6
GC_COLOUR_DONT_CARE: Final = 7
GC_BIT_MASK: Final = 8
GC_WRITABLE: Final = bytes((0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF))
MODE_WRITE: Final = 0x03
MODE_READ_COMPARE: Final = 0x08
MODE_ODD_EVEN: Final = 0x10
MODE_PAIRS: Final = 0x20
MODE_256_COLOURS: Final = 0x40
MISC_GRAPHICS: Final = 0x01
MISC_MAP_SHIFT: Final = 2

# CRT controller, [VGA] "CRT Controller Registers"
CRTC_HORIZONTAL_TOTAL: Final = 0x00
CRTC_HORIZONTAL_END: Final = 0x01
CRTC_VERTICAL_TOTAL: Final = 0x06
CRTC_OVERFLOW: Final = 0x07
CRTC_PRESET_ROW: Final = 0x08
CRTC_MAXIMUM_SCAN_LINE: Final = 0x09
CRTC_CURSOR_START: Final = 0x0A
CRTC_CURSOR_END: Final = 0x0B
CRTC_START_HIGH: Final = 0x0C
CRTC_START_LOW: Final = 0x0D
CRTC_CURSOR_HIGH: Final = 0x0E
CRTC_CURSOR_LOW: Final = 0x0F
CRTC_RETRACE_START: Final = 0x10
CRTC_RETRACE_END: Final = 0x11
CRTC_VERTICAL_END: Final = 0x12
CRTC_OFFSET: Final = 0x13
CRTC_UNDERLINE: Final = 0x14
CRTC_MODE_CONTROL: Final = 0x17
CRTC_LINE_COMPARE: Final = 0x18
CRTC_REGISTERS: Final = 0x19
CRTC_PROTECTED: Final = 8  # registers below it, while RETRACE_END has PROTECT
RETRACE_END_PROTECT: Final = 0x80
OVERFLOW_LINE_COMPARE: Final = 0x10  # the one bit of OVERFLOW that is never protected
CURSOR_OFF: Final = 0x20
DOUBLE_SCAN: Final = 0x80
BYTE_PAN_SHIFT: Final = 5
DOUBLE_WORDS: Final = 0x40
BYTE_ADDRESSES: Final = 0x40
WRAP_AT_64K: Final = 0x20
KEEP_BIT_13: Final = 0x01  # clear: the scan line's bit 0 instead, as CGA has it
KEEP_BIT_14: Final = 0x02

# Attribute controller, [VGA] "Attribute Controller Registers"
ATTR_MODE: Final = 0x10
ATTR_OVERSCAN: Final = 0x11
ATTR_PLANE_ENABLE: Final = 0x12
ATTR_PANNING: Final = 0x13
ATTR_COLOUR_SELECT: Final = 0x14
ATTR_WRITABLE: Final = bytes((0x3F,) * 16 + (0xEF, 0xFF, 0x3F, 0x0F, 0x0F))
ATTR_DISPLAY_ON: Final = 0x20  # in the index: the palette feeds the screen
MODE_LINE_GRAPHICS: Final = 0x04
MODE_BLINK: Final = 0x08
MODE_NO_PAN_BELOW: Final = 0x20  # the line compare
MODE_PALETTE_54: Final = 0x80
