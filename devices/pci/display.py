"""A VGA-compatible PCI display function: the linear frame buffer, and the expansion ROM a BIOS looks for.

The registers and memory of the VGA itself are at their fixed legacy addresses (`devices/vga`).
Not modelled: the interface's registers in a second BAR, which only some drivers look for.

Sources:
    [PCI-2.1] PCI Local Bus Specification, revision 2.1, §6.3 (expansion ROMs).
"""

from __future__ import annotations

from functools import partial
from typing import Final

from devices.pci.config import BAR0, EXPANSION_ROM, Bar, ConfigSpace, FunctionIdentity, MoveBar, PciFunction
from devices.pci.option_rom import MoveWindow, OptionRom

IDENTITY: Final = FunctionIdentity(0x1234, 0x1111, 0x03_0000, revision=2)


class PciDisplay(PciFunction):
    """The display function, with its video BIOS where one was given."""

    def __init__(
        self, name: str, frame_buffer_bytes: int, on_move: MoveBar, rom: OptionRom | None, move: MoveWindow
    ) -> None:
        bars = [Bar(BAR0, frame_buffer_bytes, False, on_move)]
        if rom is not None:
            bars.append(Bar(EXPANSION_ROM, rom.size, False, partial(move, rom, rom.size)))
        super().__init__(name, ConfigSpace(IDENTITY, (), bars))
