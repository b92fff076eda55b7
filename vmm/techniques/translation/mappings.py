"""Where the guest's code pages are: the translations that fetches use, kept as a TLB would."""

from __future__ import annotations

from vmm.cpu import registers as r
from vmm.cpu.paging import MASK_32, PAGE_MASK, PF_I, PTE_PS, GuestFault, walk
from vmm.techniques.translation.blocks import CodeCache
from vmm.techniques.virtual_cpu import VirtualCpu

_G = 1 << 8
_MOST_CHECKED = 256  # pages looked at in a new address space; beyond, to forget is cheaper
_MOST_PAGES = 1 << 14  # a processor's TLB has less


class CodeMappings:
    """Linear pages that blocks were run from. What drops a TLB's entry puts the blocks of a page to sleep."""

    def __init__(self, cache: CodeCache, view: VirtualCpu) -> None:
        self._cache, self._view = cache, view
        self._pages: dict[int, tuple[int, bool]] = {}  # linear page: physical page's address, global
        self._large: set[int] = set()  # regions of 4 MiB with large pages in them

    def physical(self, linear: int) -> int:
        """The physical address that a fetch of ring 0 at `linear` reaches.

        Raises:
            GuestFault: #PF.
        """
        page = linear >> 12
        known = self._pages.get(page)
        if known is None:
            if len(self._pages) >= _MOST_PAGES:
                self.forget_all()
            known = self._pages[page] = self._walk(linear)
        return known[0] | linear & PAGE_MASK

    def _walk(self, linear: int) -> tuple[int, bool]:
        view = self._view
        if not view.cr[0] & r.CR0_PG:
            return linear & MASK_32 & ~PAGE_MASK & view.state.a20_mask, False
        physical, trail = walk(view, linear, PF_I)
        leaf = trail[0][1]
        if len(trail) == 1 or (leaf & PTE_PS and len(trail) < 3 and view.cr[4] & r.CR4_PAE):
            self._large.add(linear >> 22)
        return physical & ~PAGE_MASK & view.state.a20_mask, bool(leaf & _G and view.cr[4] & r.CR4_PGE)

    def invalidate_page(self, linear: int) -> None:
        """INVLPG."""
        page = (linear & MASK_32) >> 12
        if page >> 10 in self._large:
            self._large.discard(page >> 10)
            for other in [other for other in self._pages if other >> 10 == page >> 10]:
                self._forget(other)
        elif page in self._pages:
            self._forget(page)

    def new_address_space(self) -> None:
        """MOV to CR3: global pages stay, and so do those that the new tables have in the same place."""
        keeps_global = self._view.cr[4] & r.CR4_PGE
        local = [page for page, known in self._pages.items() if not (known[1] and keeps_global)]
        for count, page in enumerate(local):
            if count >= _MOST_CHECKED or not self._is_still(page, self._pages[page]):
                self._forget(page)

    def _is_still(self, page: int, known: tuple[int, bool]) -> bool:
        try:
            return self._walk(page << 12) == known
        except GuestFault:
            return False

    def look_again(self) -> None:
        """A change of mode, or a flush of all: what is still where it was stays."""
        for count, (page, known) in enumerate(list(self._pages.items())):
            try:
                now = self._walk(page << 12) if count < _MOST_PAGES >> 2 else None
            except GuestFault:
                now = None
            if now is None or now[0] != known[0]:
                self._forget(page)
            else:
                self._pages[page] = now

    def forget_all(self) -> None:
        """Begin anew."""
        self._pages.clear()
        self._large.clear()
        self._cache.forget_all()

    def _forget(self, page: int) -> None:
        del self._pages[page]
        self._cache.forget_page(page)
