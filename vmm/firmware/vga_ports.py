"""The VGA's indexed registers, as programs reach them.

Source: [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem.
"""

from __future__ import annotations

from typing import Final

from vmm.bus import PortBus

ATTRIBUTE: Final = 0x3C0
ATTRIBUTE_READ: Final = 0x3C1
MISC_WRITE: Final = 0x3C2
SEQUENCER: Final = 0x3C4
DAC_MASK: Final = 0x3C6
DAC_READ_INDEX: Final = 0x3C7
DAC_WRITE_INDEX: Final = 0x3C8
DAC_DATA: Final = 0x3C9
MISC_READ: Final = 0x3CC
GRAPHICS: Final = 0x3CE
CRTC_MONO: Final = 0x3B4
CRTC_COLOUR: Final = 0x3D4
STATUS_1: Final = 6  # from the CRTC's index port
PALETTE_ON: Final = 0x20
COLOUR: Final = 0x01


class VgaPorts:
    """Reads and writes registers by their index."""

    def __init__(self, bus: PortBus) -> None:
        self._bus = bus

    @property
    def crtc(self) -> int:
        """The CRTC's index port, which the miscellaneous output register chooses."""
        return CRTC_COLOUR if self._bus.read(MISC_READ, 1) & COLOUR else CRTC_MONO

    def read(self, port: int, index: int) -> int:
        """Return a register of the sequencer, the graphics controller or the CRTC."""
        self._bus.write(port, 1, index)
        return self._bus.read(port + 1, 1)

    def write(self, port: int, index: int, value: int) -> None:
        """Store one."""
        self._bus.write(port, 1, index)
        self._bus.write(port + 1, 1, value)

    def read_port(self, port: int) -> int:
        """Return a register that has a port of its own."""
        return self._bus.read(port, 1)

    def write_port(self, port: int, value: int) -> None:
        """Store one."""
        self._bus.write(port, 1, value)

    def read_attribute(self, index: int) -> int:
        """Return a register of the attribute controller; the screen stays on."""
        self._bus.read(self.crtc + STATUS_1, 1)
        self._bus.write(ATTRIBUTE, 1, index)
        value = self._bus.read(ATTRIBUTE_READ, 1)
        self.show()
        return value

    def write_attribute(self, index: int, value: int) -> None:
        """Store one; the screen stays on."""
        self._bus.read(self.crtc + STATUS_1, 1)
        self._bus.write(ATTRIBUTE, 1, index)
        self._bus.write(ATTRIBUTE, 1, value & 0xFF)
        self.show()

    def show(self, on: bool = True) -> None:
        """Let the palette feed the screen, or not."""
        self._bus.read(self.crtc + STATUS_1, 1)
        self._bus.write(ATTRIBUTE, 1, PALETTE_ON if on else 0)
        self._bus.read(self.crtc + STATUS_1, 1)

    def read_colours(self, first: int, count: int) -> bytes:
        """Return DAC entries, three bytes each."""
        self._bus.write(DAC_READ_INDEX, 1, first & 0xFF)
        return bytes(self._bus.read(DAC_DATA, 1) & 0xFF for _ in range(3 * count))

    def write_colours(self, first: int, colours: bytes) -> None:
        """Store DAC entries."""
        self._bus.write(DAC_WRITE_INDEX, 1, first & 0xFF)
        for component in colours:
            self._bus.write(DAC_DATA, 1, component)
