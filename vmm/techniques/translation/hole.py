"""The hole in the guest's linear space where the data pages of translated code lie.

Two MiB that the guest's page directory says are not present; with paging off, where the machine has
nothing. The page of the directory that says so is protected: after a write to it, and in each new address
space, `Hole.settle` looks again, and moves the hole if it must.

With paging on, an access of the guest's ring 0 to the hole finds the monitor's data in place of a page
fault; with paging off, in place of FFh. Ring 3 has no access.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.paging import MASK_32, PTE_P
from vmm.cpu.state import CpuView
from vmm.memory import Memory
from vmm.techniques.shadow_pager import ShadowPager

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
    """Where the data pages are, and the guard that they are in nobody's way."""

    def __init__(self, memory: Memory, view: CpuView, pager: ShadowPager, data_pages: list[int]) -> None:
        self._memory, self._view, self._pager, self._data_pages = memory, view, pager, data_pages
        self.linear = _FIRST
        self.moves = 0
        self.suspect = True
        """Whether the guest may have something there by now."""
        self.on_touch: Callable[[], None] = lambda: None
        """Told of a write to a page that is guarded, before it happens."""
        self._mapped = -1
        self._guarded: frozenset[int] = frozenset()

    def settle(self) -> bool | None:
        """See that the guest has nothing there. True: it has moved; None: the guest has left no place."""
        self.suspect = False
        before = self.linear
        frames = self._free(before)
        if frames is None:
            frames = self._move()
            if frames is None:
                return None
        if self.linear != self._mapped:
            self._mapped = self.linear
            self._pager.map_hole(self.linear, self._data_pages)
        self.guard(frames)
        return self.linear != before

    def _free(self, linear: int) -> frozenset[int] | None:
        """The pages that say the guest has nothing there, or None."""
        if self._view.cr[0] & r.CR0_PG:
            return directory_frames(self._view, linear)
        return frozenset() if is_nowhere(self._memory, linear) else None

    def _move(self) -> frozenset[int] | None:
        for step in range(0, _SPACE, HOLE_BYTES):
            linear = _FIRST + step & MASK_32
            frames = self._free(linear)
            if frames is not None:
                self.linear = linear
                self.moves += 1
                return frames
        return None

    def guard(self, frames: frozenset[int]) -> None:
        """Protect these pages, and no others."""
        for frame in self._guarded - frames:
            self._pager.unprotect(frame, self._on_write)
        for frame in frames - self._guarded:
            self._pager.protect(frame, self._on_write)
        self._guarded = frames

    def _on_write(self, frame: int) -> None:
        self._pager.unprotect(frame, self._on_write)
        self._guarded -= {frame}
        self.suspect = True
        self.on_touch()
