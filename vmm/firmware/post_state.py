"""What a BIOS has left behind for whoever is loaded next: the memory map, and the screen's mode."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from vmm.firmware.e820 import EBDA, HIGH, RAM, Region, memory_map

FIRST_HARD_DISK: Final = 0x80
BIOS_DATA_END: Final = 0x500  # vectors and data area below it


class VideoWish(NamedTuple):
    """The screen that a kernel asks for. In graphics 0 stands for no preference."""

    text: bool
    width: int = 0
    height: int = 0
    depth: int = 0


class VbeMode(NamedTuple):
    """The graphics mode in force: its number, and the VBE's information blocks."""

    number: int
    controller: bytes
    mode: bytes


class PostState(msgspec.Struct, frozen=True):
    """The machine as a boot loader finds it.

    `regions` is the memory map of INT 15h E820h, `low_end` the end of conventional memory,
    `boot_drive` what a boot sector finds in DL. `vbe` is None in a text mode.
    """

    regions: list[Region]
    low_end: int = EBDA
    boot_drive: int = 0
    vbe: VbeMode | None = None

    @classmethod
    def expected(cls, ram_bytes: int) -> PostState:
        """Return what our own firmware leaves."""
        return cls(memory_map(ram_bytes))

    def ram(self) -> list[tuple[int, int]]:
        """Return the runs (first, end) of RAM, joined and by address, without what the BIOS uses."""
        runs: list[tuple[int, int]] = []
        for region in sorted(self.regions):
            if region.kind != RAM or not region.length:
                continue
            first, end = region.address, min(region.address + region.length, 1 << 32)
            if first < HIGH:
                first, end = max(first, BIOS_DATA_END), min(end, self.low_end)
            if runs and first <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
            elif first < end:
                runs.append((first, end))
        return runs

    @property
    def high_end(self) -> int:
        """The end of the RAM that begins at 1 MiB; 1 MiB where there is none."""
        return next((end for first, end in self.ram() if first <= HIGH < end), HIGH)
