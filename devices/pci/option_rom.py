"""An expansion ROM behind a base register, and a PCI function that has nothing else.

The function is a card in a slot whose only part is its ROM, such as a boot ROM.

Sources:
    [PCI-2.1] PCI Local Bus Specification, revision 2.1, §6.3 (expansion ROMs).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from devices.backplane import PortDevice
from devices.pci.config import EXPANSION_ROM, Bar, ConfigSpace, FunctionIdentity, PciFunction

MoveWindow = Callable[[PortDevice, int, int | None, int | None], None]
ROM_UNIT: Final = 2048
BOOT_ROM: Final = FunctionIdentity(0x1234, 0x0B00, 0x05_8000)  # class: some other memory controller


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


class PciRomCard(PciFunction):
    """A function with an expansion ROM and no registers of its own."""

    def __init__(self, name: str, identity: FunctionIdentity, rom: OptionRom, move: MoveWindow) -> None:
        bars = [Bar(EXPANSION_ROM, rom.size, False, partial(move, rom, rom.size))]
        super().__init__(name, ConfigSpace(identity, (), bars))
