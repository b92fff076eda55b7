"""Shadow page tables: what the processor walks while the guest believes in tables of its own.

The tables are a virtual TLB. An entry is made when the processor faults and the guest's own tables,
walked then, allow the access; it is dropped when the guest says so, as a TLB's would be: INVLPG, MOV
to CR3 (global pages stay where CR4.PGE is set), changes of CR0 and CR4. The guest's tables are never
write-protected, since not-present to present needs no flush and all else must be flushed by the guest.
A page that is clean in the guest's tables is mapped read-only, so that its first write sets the D bit.

Entries have the 64-bit format of PAE and 4-level paging; frames are the guest's own physical addresses,
which are the machine's. A frame outside what the machine has is mapped to a hole.

Other parts of the monitor may `protect` a page of the guest's memory: the first write to it then comes
to them, whether by the guest, a bus master or the monitor's own emulation.

Sources: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, §4.10 (caching
of translations), volume 3C §32.3 (virtualizing page tables).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.engine import Engine
from vmm.cpu.paging import (
    MASK_32,
    PAGE_MASK,
    PAGE_SIZE,
    PF_I,
    PF_U,
    PF_W,
    PTE_A,
    PTE_D,
    PTE_NX,
    PTE_P,
    PTE_PS,
    PTE_U,
    PTE_W,
    walk,
)
from vmm.cpu.state import CpuView
from vmm.memory import MONITOR_BASE
from vmm.techniques.hidden import HiddenMemory, OutOfPagesError
from vmm.techniques.shadow_tables import ADDRESS, ParkedTables, ShadowTable

_G: Final = 1 << 8
_TABLE: Final = PTE_P | PTE_W | PTE_U | PTE_A
_ACCESS: Final = PF_W | PF_U | PF_I
_HOLE: Final = 1 << 38  # nothing is there: reads FFh
_SMXP: Final = r.CR4_SMEP | r.CR4_SMAP
_PHYSICAL_END: Final = 1 << 32
_REVERSE_MOST: Final = 1 << 18  # linear pages remembered by physical page, and then all is dropped

_ALIASES_MOST: Final = 256  # linear pages of one frame that are dropped one by one

OnWrite = Callable[[int], None]  # the page's physical address


class ShadowPager:
    """One guest's shadow tables. `view` is the processor as the guest believes it to be.

    `levels` is 4 for IA-32e mode, 3 where a 32-bit guest runs on PAE tables. `wraps`: 32-bit code runs
    in compatibility mode, where an access that runs over 4 GiB reaches linear addresses above it;
    those are made to be the ones from 0 on, as the guest expects.
    """

    def __init__(
        self, hidden: HiddenMemory, view: CpuView, engine: Engine, *, levels: int = 4, wraps: bool = True
    ) -> None:
        self._hidden, self._view, self._engine = hidden, view, engine
        self._state = engine.view.state
        self._words = hidden.words
        self._levels, self._wraps = levels, wraps
        self._folds = wraps or levels == 3  # whether linear addresses end at 4 GiB
        self._tables: dict[int, ShadowTable] = {}  # by linear address >> 21
        self._upper: dict[tuple[int, int], int] = {}  # tables above, by (level, linear address >> shift)
        self._fixed: dict[int, int] = {}  # entries of the root that are the monitor's own
        self._protected: dict[int, tuple[OnWrite, ...]] = {}  # by physical page number
        self._hole: tuple[int, int] | None = None  # a region of 2 MiB that is the monitor's, and its table
        self._mapped: dict[int, set[int]] = {}  # linear page numbers by physical page number
        self._linked = 0  # how often one was noted there
        self.root = hidden.allocate()
        self.fills = self.drops = 0
        self._parked = ParkedTables(self._words, view, hidden.free)
        self._space = 0  # CR3 as the present tables were made by
        self.drop_all()

    # -- filling

    def fill(self, linear: int, error_code: int) -> None:
        """Make the entry that a page fault asks for.

        Raises:
            GuestFault: the guest's own tables do not allow the access, with the guest's error code.
        """
        view = self._view
        access = error_code & _ACCESS
        if self._folds:
            linear &= MASK_32
        if not view.cr[0] & r.CR0_PG:
            self._enter(linear, linear & MASK_32 & ~PAGE_MASK, PTE_W | PTE_U, access)
            return
        physical, trail = walk(view, linear, access)
        leaf = trail[0][1]
        rights, nx = PTE_W | PTE_U, 0
        for _, entry in trail:
            rights &= entry
            nx |= entry
        if access & PF_W:
            if not rights & PTE_W:  # CR0.WP is clear and ring 0 may: ring 3 must still fault
                rights = PTE_W
        elif not leaf & PTE_D:
            rights &= ~PTE_W
        if nx & PTE_NX and view.efer & r.EFER_NXE:
            rights |= PTE_NX
        table = self._enter(linear, physical & ~PAGE_MASK, rights, access)
        if leaf & PTE_PS and len(trail) < self._guest_levels():
            table.large = True
        if leaf & _G and view.cr[4] & r.CR4_PGE:
            table.any_global = True
            table.local.pop(linear >> 12 & 511, None)
        else:
            size = 8 if view.cr[4] & r.CR4_PAE else 4
            table.note(linear >> 12 & 511, trail, size, dirty=bool(access & PF_W))

    def _guest_levels(self) -> int:
        view = self._view
        return 4 if view.efer & r.EFER_LMA else 2

    def _enter(self, linear: int, frame: int, rights: int, access: int) -> ShadowTable:
        frame &= self._state.a20_mask
        number = frame >> 12
        if self._linked >= _REVERSE_MOST:
            self.drop_all()
        if number in self._protected:
            if access & PF_W:
                self._tell(number)
            if number in self._protected:
                rights &= ~PTE_W
        if frame >= _PHYSICAL_END:
            frame = _HOLE
        try:
            table = self._tables.get(linear >> 21) or self._new_table(linear)
        except OutOfPagesError:
            self.drop_all()
            table = self._new_table(linear)
        index = linear >> 12 & 511
        at = table.words + index
        old = self._words[at]
        self._words[at] = frame | rights | (PTE_P | PTE_A | PTE_D)
        if old:
            self._flush(linear)
        self._mapped.setdefault(number, set()).add(linear >> 12)
        self._linked += 1
        self.fills += 1
        return table

    def _new_table(self, linear: int) -> ShadowTable:
        above = self._directory(linear)
        table = ShadowTable(self._hidden.allocate())
        self._words[above] = table.page | _TABLE
        self._tables[linear >> 21] = table
        return table

    def _directory(self, linear: int) -> int:
        """Return the index in `words` of the entry that holds a last-level table."""
        table = self.root
        shift = 39 if self._levels == 4 else 30
        while shift > 21:
            at = (table - MONITOR_BASE >> 3) + (linear >> shift & 511)
            entry = self._words[at]
            if not entry:
                page = self._hidden.allocate()
                # A PDPTE of PAE paging has no rights, and faults where they would be, [SDM3] table 4-8
                entry = page | (PTE_P if shift == 30 and self._levels == 3 else _TABLE)
                self._words[at] = entry
                self._upper[shift, linear >> shift] = page
                if self._wraps and shift == 30 and linear >> 30 == 0:
                    self._words[(table - MONITOR_BASE >> 3) + 4] = entry
            table = entry & ADDRESS
            shift -= 9
        return (table - MONITOR_BASE >> 3) + (linear >> 21 & 511)

    def lookup(self, linear: int, write: bool, user: bool, fetch: bool) -> int | None:
        """Translate by the shadow tables, as the processor's TLB would; None where it would walk or fault."""
        table = self._tables.get(linear >> 21)
        if table is None:
            return None
        entry = self._words[table.words + (linear >> 12 & 511)]
        wanted = PTE_P | (PTE_W if write else 0) | (PTE_U if user else 0)
        if entry & wanted != wanted or (fetch and entry & PTE_NX) or self._view.cr[4] & _SMXP:
            return None
        return entry & ADDRESS | linear & PAGE_MASK

    # -- dropping

    def invalidate_page(self, linear: int) -> bool:
        """INVLPG; True if a large page was, or may have been, dropped."""
        if self._folds:
            linear &= MASK_32
        table = self._tables.get(linear >> 21)
        if table is not None:
            if table.large:
                self._drop_large(linear)
                return True
            self._words[table.words + (linear >> 12 & 511)] = 0
        self._flush(linear)
        return False

    def _flush(self, linear: int) -> None:
        """Drop a page of the processor's TLB; the first page is also the one beyond the last."""
        self._engine.flush_page(linear)
        if self._folds and linear < PAGE_SIZE:
            self._engine.flush_page(linear | 1 << 32)

    def invalidate_frame(self, frame: int) -> None:
        """Drop every entry that leads to a page of memory."""
        pages = self._mapped.pop(frame >> 12, ())
        if len(pages) > _ALIASES_MOST:
            self.drop_all()
            return
        for page in pages:
            self.invalidate_page(page << 12)

    def _drop_large(self, linear: int) -> None:
        """Drop all that a page of 2 or 4 MiB may have become."""
        first = linear >> 21 & ~1
        for region in (first, first + 1):
            table = self._tables.pop(region, None)
            if table is not None:
                self._unlink(region, table)
        self._engine.flush_tlb()

    def _unlink(self, region: int, table: ShadowTable) -> None:
        self._words[self._directory(region << 21)] = 0
        self._hidden.free(table.page)

    def new_address_space(self) -> None:
        """MOV to CR3: all goes but global pages, and what is still right of the space that comes again."""
        self.drops += 1
        words = self._words
        gone = []
        for region, table in self._tables.items():
            if not table.any_global:
                gone.append(region)
            elif table.local:
                for index in table.local:
                    words[table.words + index] = 0
                table.local.clear()
        for region in gone:
            words[self._directory(region << 21)] = 0
            self._parked.park(self._space, region, self._tables.pop(region))
        self._space = self._view.cr[3]
        for region, table in self._parked.take(self._space, self._protected):
            self._show(region, table)
        self._engine.flush_tlb()

    def _show(self, region: int, table: ShadowTable) -> None:
        """Put a table that was parked where it was, unless something is there now."""
        if region in self._tables or (self._hole is not None and self._hole[0] == region):
            self._hidden.free(table.page)
            return
        try:
            above = self._directory(region << 21)
        except OutOfPagesError:
            self._hidden.free(table.page)
            return
        self._words[above] = table.page | _TABLE
        self._tables[region] = table

    def drop_all(self) -> None:
        """Forget everything but what is the monitor's own."""
        self.drops += 1
        for table in self._tables.values():
            self._hidden.free(table.page)
        for page in self._upper.values():
            self._hidden.free(page)
        self._tables.clear()
        self._upper.clear()
        self._mapped.clear()
        self._parked.clear()
        self._space = self._view.cr[3]
        self._linked = 0
        self._hidden.clear(self.root)
        for index, entry in self._fixed.items():
            self._words[(self.root - MONITOR_BASE >> 3) + index] = entry
        self._show_hole()
        self._engine.flush_tlb()

    # -- the monitor's own

    def map_monitor(
        self, linear: int, pages: list[int], *, writable: bool = False, executable: bool = False
    ) -> None:
        """Map the monitor's pages for ring 1 and below, in linear space that no data access can reach.

        At a multiple of 2^39 that nothing else is mapped from, and once more 4 GiB above it.
        """
        assert self._levels == 4
        words = self._words
        pointers, directory = self._hidden.allocate(), self._hidden.allocate()
        for gib in (0, 4):
            words[(pointers - MONITOR_BASE >> 3) + gib] = directory | _TABLE
        rights = PTE_P | PTE_A | PTE_D | (PTE_W if writable else 0) | (0 if executable else PTE_NX)
        for first in range(0, len(pages), 512):
            table = self._hidden.allocate()
            words[(directory - MONITOR_BASE >> 3) + first // 512] = table | _TABLE
            at = table - MONITOR_BASE >> 3
            for offset, page in enumerate(pages[first : first + 512]):
                words[at + offset] = page | rights
        self._fixed[linear >> 39 & 511] = pointers | _TABLE
        words[(self.root - MONITOR_BASE >> 3) + (linear >> 39 & 511)] = pointers | _TABLE

    def map_hole(self, linear: int, pages: list[int]) -> None:
        """Map the monitor's pages at `linear`, writable for ring 1, in 2 MiB where the guest has nothing."""
        words = self._words
        if self._hole is None:
            page = self._hidden.allocate()
        else:
            region, page = self._hole
            words[self._directory(region << 21)] = 0
            stray = self._tables.pop(region, None)  # ring 3 has mapped something there
            if stray is not None:
                self._hidden.free(stray.page)
        for index, data in enumerate(pages):
            words[(page - MONITOR_BASE >> 3) + index] = data | PTE_P | PTE_A | PTE_D | PTE_W | PTE_NX
        old = self._tables.pop(linear >> 21, None)
        if old is not None:
            self._hidden.free(old.page)
        self._hole = linear >> 21, page
        self._show_hole()
        self._engine.flush_tlb()

    def _show_hole(self) -> None:
        if self._hole is not None:
            region, page = self._hole
            self._words[self._directory(region << 21)] = page | _TABLE

    def protect(self, frame: int, on_write: OnWrite) -> None:
        """Have the next write to a page told to `on_write`, which is to call `unprotect`."""
        number = frame >> 12
        protectors = self._protected.get(number, ())
        if on_write in protectors:
            return
        self._protected[number] = (*protectors, on_write)
        if protectors:
            return
        words = self._words
        for page in self._mapped.get(number, ()):
            table = self._tables.get(page >> 9)
            if table is None:
                continue
            at = table.words + (page & 511)
            entry = words[at]
            if entry & PTE_W and entry & ADDRESS == frame:
                words[at] = entry & ~PTE_W
                self._flush(page << 12)

    def unprotect(self, frame: int, on_write: OnWrite) -> None:
        """Tell `on_write` no more. Once nobody is told, the next fault makes it writable."""
        left = tuple(call for call in self._protected.get(frame >> 12, ()) if call != on_write)
        if left:
            self._protected[frame >> 12] = left
        else:
            self._protected.pop(frame >> 12, None)

    def _tell(self, number: int) -> None:
        for on_write in self._protected.get(number, ()):
            on_write(number << 12)

    def is_protected(self, frame: int) -> bool:
        """Whether a page is protected."""
        return frame >> 12 in self._protected

    def written(self, address: int, length: int) -> None:
        """A bus master or the monitor wrote there: tell the protectors."""
        protected, first, last = self._protected, address >> 12, address + length - 1 >> 12
        if first != last:
            for number in range(first, last + 1):
                self._tell(number)
        elif first in protected:
            self._tell(first)
