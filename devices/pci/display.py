"""A VGA-compatible PCI display function: the class code and the expansion ROM that a BIOS looks for.

The registers and memory of the VGA itself are at their fixed legacy addresses (`devices/vga`).
Not modelled: a linear framebuffer BAR.

Sources:
    [PCI-2.1] PCI Local Bus Specification, revision 2.1, §6.3 (expansion ROMs).
"""

from __future__ import annotations

from typing import Final

from devices.pci.config import EXPANSION_ROM, Bar, ConfigSpace, FunctionIdentity, MoveBar, PciFunction

IDENTITY: Final = FunctionIdentity(0x1234, 0x1111, 0x03_0000, revision=2)
ROM_UNIT: Final = 2048


def ignore_move(old: int | None, new: int | None) -> None:
    """Stand in for the listener of a function without BARs."""


class OptionRom:
    """A read-only memory of a power-of-two size behind an expansion ROM BAR."""

    def __init__(self, name: str, image: bytes) -> None:
        self.name = name
        self.size = max(ROM_UNIT, 1 << (len(image) - 1).bit_length())
        self._image = image.ljust(self.size, b"\xff")

    def read(self, offset: int, size: int) -> int:
        """Guest read."""
        return int.from_bytes(self._image[offset : offset + size].ljust(size, b"\xff"), "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest write: dropped."""


class PciDisplay(PciFunction):
    """The display function, with its video BIOS where one was given."""

    def __init__(self, name: str, rom: OptionRom | None, on_move: MoveBar) -> None:
        bars = [] if rom is None else [Bar(EXPANSION_ROM, rom.size, False, on_move)]
        super().__init__(name, ConfigSpace(IDENTITY, (), bars))
