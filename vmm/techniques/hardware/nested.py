"""Nested page tables: guest-physical to physical, filled when the guest first comes to an address.

The map is the identity over all that a guest can name, RAM, windows and holes alike: a device answers
at its window, a hole reads FFh, as on the bare machine. RAM and holes come in 2-MiB entries where a
whole one fits, the rest in pages of 4 KiB. The monitor's own memory, in which these tables lie too, is
never mapped: its addresses lead into a hole.

Before the first page of a window is mapped all RAM is. An instruction that reads a device and stores to
memory would otherwise, if the store faults, start again and read the device twice; as one that moves from
window to window still does at the first page of the second.

Sources: [AMD-V] AMD64 Architecture Programmer's Manual, volume 2, §15.25.
"""

from __future__ import annotations

from typing import Final

from vmm.memory import MIB, MONITOR_BASE, Memory
from vmm.techniques.hidden import HiddenMemory, OutOfPagesError

PAGE: Final = 4096
LARGE: Final = 2 * MIB
_ALL: Final = 0x67  # P, W, U, A, D: the guest's own tables say what it may, [AMD-V] §15.25.5
_LARGE_BIT: Final = 0x80
_ADDRESS: Final = 0x000F_FFFF_FFFF_F000
_TOP_SHIFT: Final = 39
_HOLE: Final = 1 << 38  # nothing is there; it stands in for the monitor's memory


class NestedTables:
    """One tree of four levels. `root` is N_CR3. When the pages are used up it starts over, empty."""

    def __init__(self, memory: Memory, hidden: HiddenMemory) -> None:
        self._memory, self._hidden, self._words = memory, hidden, hidden.words
        blocks = [block for block in memory.blocks() if block.address < MONITOR_BASE]
        self._occupied = [(block.address, block.address + block.length) for block in blocks]
        self._windows = [(w.address, w.address + w.length) for w in memory.windows]
        self._occupied += self._windows
        self._tables: list[int] = []
        self._has_all_ram = False
        self.fills = self.drops = 0
        self.root = hidden.allocate()

    def clear(self) -> None:
        """Forget every entry; the caller flushes the TLB."""
        for page in self._tables:
            self._hidden.free(page)
        self._tables.clear()
        self._has_all_ram = False
        at = self._index(self.root, 0)
        for index in range(512):
            self._words[at + index] = 0
        self.drops += 1

    def fill(self, address: int) -> bool:
        """Map the page of a guest-physical address; True if the tree started over: flush the TLB."""
        self.fills += 1
        try:
            if not self._has_all_ram and any(first <= address < last for first, last in self._windows):
                self._map_ram()
            self._map(address)
        except OutOfPagesError:
            self.clear()
            self._map(address)
            return True
        return False

    def _map(self, address: int) -> int:
        """Map one page, large where it can be; return its size."""
        size = LARGE if self._is_uniform(address & -LARGE) else PAGE
        at = self._place(address, size)
        self._words[at] = self._physical(address & -size) | _ALL | (_LARGE_BIT if size == LARGE else 0)
        return size

    def _map_ram(self) -> None:
        """Map every page of RAM."""
        address, self._has_all_ram = 0, True
        while address < self._memory.ram_bytes:
            address += self._map(address)

    def lookup(self, address: int) -> int | None:
        """Return where a guest-physical address is mapped, or None."""
        table, shift = self.root, _TOP_SHIFT
        while True:
            entry = self._words[self._index(table, address >> shift)]
            if not entry & 1:
                return None
            if shift == 12 or entry & _LARGE_BIT:
                offset = (1 << shift) - 1
                return int(entry & _ADDRESS & ~offset | address & offset)
            table, shift = entry & _ADDRESS, shift - 9

    def _is_uniform(self, block: int) -> bool:
        """Whether 2 MiB are all RAM, or all a hole."""
        end = block + LARGE
        if end <= self._memory.ram_bytes:
            return block >= LARGE  # below are the video window and the shadow segments
        return not any(first < end and block < last for first, last in self._occupied)

    def _physical(self, address: int) -> int:
        monitor = self._memory.monitor
        assert monitor is not None
        if MONITOR_BASE <= address < MONITOR_BASE + len(monitor):
            return _HOLE
        return address

    @staticmethod
    def _index(table: int, number: int) -> int:
        """The index in the monitor's words of entry `number & 511` of a table."""
        return (table - MONITOR_BASE >> 3) + (number & 511)

    def _place(self, address: int, size: int) -> int:
        """Return the index of the entry for a page of `size`, making the tables above it."""
        table, shift = self.root, _TOP_SHIFT
        while 1 << shift > size:
            at = self._index(table, address >> shift)
            entry = self._words[at]
            if not entry:
                page = self._hidden.allocate()
                self._tables.append(page)
                entry = self._words[at] = page | _ALL
            table, shift = entry & _ADDRESS, shift - 9
        return self._index(table, address >> shift)
