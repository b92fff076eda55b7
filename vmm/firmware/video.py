"""The register values of VGA text mode 3, and the sixteen colours of the DAC.

Sources: [VGA] IBM Video Subsystem Technical Reference, "Video Graphics Array", mode 3+ (720x400).
"""

from __future__ import annotations

from typing import Final

from vmm.bus import PortBus

ATTRIBUTE: Final = 0x3C0
MISC_OUTPUT: Final = 0x3C2
SEQUENCER: Final = 0x3C4
PEL_MASK: Final = 0x3C6
DAC_WRITE_INDEX: Final = 0x3C8
DAC_DATA: Final = 0x3C9
GRAPHICS: Final = 0x3CE
CRTC: Final = 0x3D4
INPUT_STATUS: Final = 0x3DA

# [VGA] mode 3+
MODE3_MISC: Final = 0x67
MODE3_SEQUENCER: Final = bytes.fromhex("0300030002")
MODE3_CRTC: Final = bytes.fromhex("5f4f50825581bf1f004f0d0e000000009c8e8f281f96b9a3ff")
MODE3_GRAPHICS: Final = bytes.fromhex("0000000000100e0fff")
MODE3_ATTRIBUTE: Final = bytes.fromhex("000102030405140738393a3b3c3d3e3f0c000f0800")
CRTC_PROTECT_REGISTER: Final = 0x11  # bit 7 locks registers 0-7
VIDEO_ENABLE: Final = 0x20  # of the attribute index: the palette feeds the screen
DAC_COLOURS: Final = 64


def ega_colour(code: int) -> bytes:
    """Return the 6-bit red, green and blue of a 6-bit EGA code (rgbRGB: high letters weigh two thirds)."""
    return bytes(
        (0x2A if code >> strong & 1 else 0) + (0x15 if code >> weak & 1 else 0)
        for strong, weak in ((2, 5), (1, 4), (0, 3))
    )


def program_text_mode(bus: PortBus) -> None:
    """Write every VGA register for mode 3; memory and font are the caller's."""
    bus.write(MISC_OUTPUT, 1, MODE3_MISC)
    _indexed(bus, SEQUENCER, MODE3_SEQUENCER)
    _write(bus, CRTC, CRTC_PROTECT_REGISTER, MODE3_CRTC[CRTC_PROTECT_REGISTER] & 0x7F)
    _indexed(bus, CRTC, MODE3_CRTC)
    _indexed(bus, GRAPHICS, MODE3_GRAPHICS)
    bus.read(INPUT_STATUS, 1)  # the attribute controller expects an index next
    for index, value in enumerate(MODE3_ATTRIBUTE):
        bus.write(ATTRIBUTE, 1, index)
        bus.write(ATTRIBUTE, 1, value)
    bus.write(PEL_MASK, 1, 0xFF)
    bus.write(DAC_WRITE_INDEX, 1, 0)
    for code in range(DAC_COLOURS):
        for component in ega_colour(code):
            bus.write(DAC_DATA, 1, component)
    bus.read(INPUT_STATUS, 1)
    bus.write(ATTRIBUTE, 1, VIDEO_ENABLE)


def _write(bus: PortBus, port: int, index: int, value: int) -> None:
    bus.write(port, 1, index)
    bus.write(port + 1, 1, value)


def _indexed(bus: PortBus, port: int, values: bytes) -> None:
    for index, value in enumerate(values):
        _write(bus, port, index, value)
