"""A card with nothing but an expansion ROM."""

from __future__ import annotations

from devices.backplane import PortDevice
from devices.pci.config import COMMAND, COMMAND_MEMORY, EXPANSION_ROM
from devices.pci.option_rom import BOOT_ROM, OptionRom, PciRomCard

ROM = bytes(range(256)) * 8 + b"more"


def card() -> tuple[PciRomCard, list[tuple[PortDevice, int, int | None, int | None]]]:
    moves: list[tuple[PortDevice, int, int | None, int | None]] = []
    made = PciRomCard("card", BOOT_ROM, OptionRom("rom", ROM), lambda *move: moves.append(move))
    return made, moves


def test_size_is_found_by_writing_ones_and_is_a_power_of_two() -> None:
    made, _ = card()
    made.config.write(EXPANSION_ROM, 4, 0xFFFF_FFFE)  # [PCI-2.1] §6.2.5.2
    assert made.config.read(EXPANSION_ROM, 4) == 0x1_0000_0000 - 4096


def test_rom_decodes_only_with_its_own_enable_and_that_of_memory() -> None:
    made, moves = card()
    made.config.write(EXPANSION_ROM, 4, 0xFE00_0001)
    assert moves == []
    made.config.write(COMMAND, 2, COMMAND_MEMORY)
    rom, size, old, new = moves[0]
    assert (size, old, new) == (4096, None, 0xFE00_0000)
    made.config.write(EXPANSION_ROM, 4, 0xFE00_0000)
    assert moves[1][2:] == (0xFE00_0000, None)
    assert rom.read(0, 4) == 0x03020100


def test_what_is_behind_the_image_reads_as_ones_and_writes_are_dropped() -> None:
    rom = OptionRom("rom", ROM)
    rom.write(0, 4, 0)
    assert (rom.read(0, 1), rom.read(2052, 2), rom.read(5000, 4)) == (0, 0xFFFF, 0xFFFF_FFFF)
