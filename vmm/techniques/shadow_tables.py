"""Last-level shadow tables, and those of the address spaces that are not the present one.

MOV to CR3 is a flush: what the guest has changed in its tables must be seen afterwards. It need not be
forgotten what has not changed. A table is parked when its address space is left; when that comes again,
each entry is held against the guest's, which it was made from, and only what differs is dropped.

Sources: [SDM3] §4.10.4 (what invalidates translations), volume 3C §32.3.5 (caching of address spaces).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.paging import PAGE_MASK, PTE_A, PTE_D, PTE_P, PTE_W, Trail
from vmm.cpu.state import CpuView
from vmm.memory import MONITOR_BASE

ENTRIES: Final = 512
ADDRESS: Final = ((1 << 52) - 1) & ~PAGE_MASK
# What a guest can make us look at in one MOV to CR3, and keep
_MOST_TABLES: Final = 64
_MOST_SPACES: Final = 64


class ShadowTable:
    """A last-level table: 512 entries for 2 MiB.

    `local` has the entries that are not global, by index: the guest's own last-level entry, marked as the
    walk has left it. `above` is what that walk met above, the lowest level first; `leaves` is where the
    guest's entries for these 2 MiB begin, `size` bytes each.
    """

    __slots__ = ("above", "any_global", "large", "leaves", "local", "page", "parkable", "size", "words")

    def __init__(self, page: int) -> None:
        self.page = page
        self.words = (page - MONITOR_BASE) >> 3
        self.local: dict[int, int] = {}
        self.any_global = self.large = self.parkable = False
        self.above: Trail = ()
        self.leaves = self.size = 0

    def note(self, index: int, trail: Trail, size: int, *, dirty: bool) -> None:
        """Remember the walk that an entry was made by. Those of one table differ in the last level only."""
        at, leaf = trail[0]
        above = [(address, entry | PTE_A) for address, entry in trail[1:]]
        leaves = at - index * size
        if not self.local:
            self.above, self.leaves, self.size = above, leaves, size
            self.parkable = bool(above)
        elif self.above != above or self.leaves != leaves:
            self.parkable = False  # the guest has changed them, and has not flushed since
        self.local[index] = leaf | (PTE_A | PTE_D if dirty else PTE_A)


class ParkedTables:
    """The tables of address spaces that were left, by what CR3 was. `free` takes the page of one dropped."""

    def __init__(self, words: memoryview[int], view: CpuView, free: Callable[[int], None]) -> None:
        self._words, self._view, self._free = words, view, free
        self._spaces: dict[int, dict[int, ShadowTable]] = {}

    def park(self, space: int, region: int, table: ShadowTable) -> None:
        """Keep the table of 2 MiB, or drop it."""
        if not table.parkable or table.large:
            self._free(table.page)
            return
        tables = self._spaces.get(space)
        if tables is None:
            if len(self._spaces) >= _MOST_SPACES:
                self._drop(next(iter(self._spaces)))
            tables = self._spaces[space] = {}
        if len(tables) >= _MOST_TABLES:
            self._free(table.page)
        else:
            tables[region] = table

    def take(self, space: int, protected: Container[int]) -> Iterator[tuple[int, ShadowTable]]:
        """Yield region and table of what is still right of an address space that comes again.

        Entries of `protected` pages, by number, are made read-only.
        """
        for region, table in self._spaces.pop(space, {}).items():
            if self._leads_there(region, table) and self._sift(table, protected):
                yield region, table
            else:
                self._free(table.page)

    def clear(self) -> None:
        """Drop all."""
        for space in list(self._spaces):
            self._drop(space)

    def _drop(self, space: int) -> None:
        for table in self._spaces.pop(space).values():
            self._free(table.page)

    def _leads_there(self, region: int, table: ShadowTable) -> bool:
        """Whether the guest's upper tables are as they were."""
        view = self._view
        read = view.memory.read
        if table.size == 8 and not view.efer & r.EFER_LMA:  # the walk tells nothing of the PDPTE
            at = (view.cr[3] & ~0x1F) + (region >> 9) * 8
            pdpte = int.from_bytes(read(at, 8), "little")
            if not pdpte & PTE_P or (pdpte & ADDRESS) + (region & 511) * 8 != table.above[0][0]:
                return False
        return all(int.from_bytes(read(at, table.size), "little") == entry for at, entry in table.above)

    def _sift(self, table: ShadowTable, protected: Container[int]) -> bool:
        """Drop the entries whose origin has changed; whether any is left."""
        words, first = self._words, table.words
        raw = memoryview(self._view.memory.read(table.leaves, ENTRIES * table.size))
        now = raw.cast("I" if table.size == 4 else "Q")
        for index, leaf in list(table.local.items()):
            entry = words[first + index]
            if not entry or now[index] != leaf:
                words[first + index] = 0
                del table.local[index]
            elif entry & PTE_W and (entry & ADDRESS) >> 12 in protected:
                words[first + index] = entry & ~PTE_W
        return bool(table.local)
