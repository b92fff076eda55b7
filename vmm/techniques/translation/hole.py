"""The hole in the guest's linear space where the data pages of translated code lie.

Two MiB that the guest's page directory says are not present; with paging off, where the machine has
nothing. The page of the directory that says so is protected: after a write to it, and in each new address
space, `Hole.is_free` asks again, and the technique moves the hole if it is not.

With paging on, an access of the guest's ring 0 to the hole finds the monitor's data in place of a page
fault; with paging off, in place of FFh. Ring 3 has no access.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.paging import MASK_32, PTE_P
from vmm.cpu.state import CpuView
from vmm.memory import Memory

HOLE_BYTES: Final = 2 << 20
_FIRST: Final = 0x6000_0000  # where kernels keep nothing and programs little
_SPACE: Final = 1 << 32
_PAGE: Final = ~0xFFF


def directory_frames(view: CpuView, linear: int) -> frozenset[int] | None:
    """The physical pages whose entries say that nothing is at `linear`; None: something may be."""
    cr3 = view.cr[3] & MASK_32
    if not view.cr[4] & r.CR4_PAE:
        entry = (cr3 & _PAGE) + (linear >> 22) * 4
        return None if _read(view, entry) & PTE_P else frozenset((entry & _PAGE,))
    pointer = (cr3 & ~0x1F) + (linear >> 30) * 8
    found = _read(view, pointer)
    if not found & PTE_P:
        return frozenset((pointer & _PAGE,))
    entry = (found & _PAGE) + (linear >> 21 & 511) * 8
    return None if _read(view, entry) & PTE_P else frozenset((pointer & _PAGE, entry & _PAGE))


def _read(view: CpuView, address: int) -> int:
    return int.from_bytes(view.memory.read(address, 4), "little")


def is_nowhere(memory: Memory, linear: int) -> bool:
    """Whether the machine has neither memory nor devices at this physical address."""
    end = linear + HOLE_BYTES
    taken = [(block.address, block.length) for block in memory.blocks()]
    taken += [(window.address, window.length) for window in memory.windows]
    taken += [(aperture.address, aperture.length) for aperture in memory.apertures]
    return all(address >= end or address + length <= linear for address, length in taken)


class Hole:
    """Where the data pages are."""

    def __init__(self, memory: Memory, view: CpuView) -> None:
        self._memory, self._view = memory, view
        self.linear = _FIRST
        self.moves = 0
        self.frames: frozenset[int] = frozenset()
        """Physical pages to be protected."""

    def is_free(self, linear: int | None = None) -> bool:
        """Whether the guest has nothing there, as far as its tables say now."""
        at = self.linear if linear is None else linear
        frames: frozenset[int] | None = frozenset()
        if self._view.cr[0] & r.CR0_PG:
            frames = directory_frames(self._view, at)
        elif not is_nowhere(self._memory, at):
            frames = None
        if frames is None:
            return False
        self.frames = frames
        return True

    def move(self) -> bool:
        """Go to another place; False: the guest has left none."""
        for step in range(0, _SPACE, HOLE_BYTES):
            linear = _FIRST + step & MASK_32
            if self.is_free(linear):
                self.moves += linear != self.linear
                self.linear = linear
                return True
        return False

    def covers(self, linear: int) -> bool:
        """Whether an address is in the hole."""
        return self.linear <= linear < self.linear + HOLE_BYTES
