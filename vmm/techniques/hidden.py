"""The monitor's own pages of physical memory: shadow page tables, shadow descriptor tables, translated code.

They lie above 4 GiB, where no 32-bit guest can name them, and below the 2^40 at which QEMU's page walk
takes an address for reserved. Address line 20 stays low in all of them, so that the guest may gate it.
"""

from __future__ import annotations

import ctypes
from typing import Final

from vmm.cpu.paging import PAGE_SIZE
from vmm.memory import MONITOR_BASE, Memory

BYTES: Final = 128 << 20  # of address space; the host commits what is used
_A20: Final = 1 << 20
_ZERO: Final = bytes(PAGE_SIZE)


class OutOfPagesError(Exception):
    """All of the monitor's pages are in use."""


class HiddenMemory:
    """An allocator of pages, and 64-bit words in them by physical address."""

    def __init__(self, memory: Memory) -> None:
        assert memory.monitor is not None
        self.bytes = memoryview(memory.monitor)
        self.words = self.bytes.cast("Q")
        self.host = ctypes.addressof(ctypes.c_char.from_buffer(memory.monitor))
        self._next = MONITOR_BASE
        self._end = MONITOR_BASE + len(self.bytes)
        self._free: list[int] = []

    def allocate(self) -> int:
        """Return the physical address of a page of zeros.

        Raises:
            OutOfPagesError: there is none left.
        """
        if self._free:
            page = self._free.pop()
            self.clear(page)
            return page
        page = self._next
        if page & _A20:
            page += _A20
        if page >= self._end:
            raise OutOfPagesError
        self._next = page + PAGE_SIZE
        return page

    def allocate_run(self, pages: int) -> int:
        """Return the address of the first of several pages in a row, at most 256."""
        if (self._next & ~(_A20 - 1)) != (self._next + pages * PAGE_SIZE - 1 & ~(_A20 - 1)):
            self._next = (self._next + _A20) & ~(_A20 - 1)
        first = self.allocate_fresh()
        self._next = first + pages * PAGE_SIZE
        return first

    def allocate_fresh(self) -> int:
        """Return a page that was never used: what follows it is free too."""
        kept, self._free = self._free, []
        try:
            return self.allocate()
        finally:
            self._free = kept

    def clear(self, page: int) -> None:
        """Fill a page with zeros."""
        at = page - MONITOR_BASE
        self.bytes[at : at + PAGE_SIZE] = _ZERO

    def free(self, page: int) -> None:
        """Give a page back."""
        self._free.append(page)

    def host_address(self, physical: int) -> int:
        """Return where a page lies in the monitor's own address space."""
        return self.host + physical - MONITOR_BASE
