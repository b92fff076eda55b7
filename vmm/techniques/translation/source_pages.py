"""Pages of the guest's memory that translations were made from, and what a write to one brings about.

Such a page is protected. A write by translated code has the blocks dropped that it may have touched; then
this one instruction is let through with the page open, and the page is protected again, so that a page
of both code and data costs two exits a write, and code that rewrites itself runs what it has written.
A write by anybody else drops all blocks of the page.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu.paging import PAGE_SIZE
from vmm.techniques.shadow_pager import ShadowPager
from vmm.techniques.translation.blocks import CodeCache

# Around the address that faulted: what one instruction may write there, downwards ENTER, upwards XSAVE
_BELOW: Final = 256
_ABOVE: Final = 1024
_PATIENCE: Final = 64  # openings of a page from which nothing new was translated, then it is data


class SourcePages:
    """The protected pages of one cache."""

    def __init__(self, cache: CodeCache, pager: ShadowPager) -> None:
        self._cache, self._pager = cache, pager
        self._watched: set[int] = set()  # page numbers
        self._openings: dict[int, int] = {}
        self._open: list[int] = []
        self.writing: tuple[int, bool] | None = None
        """While a fault of translated code is looked at: its linear address, whether it is a string's."""
        self.hit = False
        """Whether that fault was a write to a source page."""
        self.dropped = 0

    def watch(self, page: int) -> None:
        """A block was made from this page (number)."""
        self._openings[page] = 0
        if page in self._watched:
            return
        self._watched.add(page)
        self._pager.protect(page << 12, self._on_write)

    def forget(self, pages: list[int]) -> None:
        """The cache was flushed."""
        for page in self._watched.union(pages):
            self._pager.unprotect(page << 12, self._on_write)
        self._openings.clear()
        self._watched.clear()
        self._open.clear()

    def close(self) -> None:
        """The one instruction is over: protect what it was let write to."""
        if not self._open:
            return
        for page in self._open:
            if page in self._cache.by_page and page not in self._watched:
                self._watched.add(page)
                self._pager.protect(page << 12, self._on_write)
        self._open.clear()

    def _on_write(self, frame: int) -> None:
        page = frame >> 12
        self._watched.discard(page)
        self._pager.unprotect(frame, self._on_write)
        first, last = 0, PAGE_SIZE - 1
        if self.writing is not None:
            self.hit = True
            linear, is_string = self.writing
            openings = self._openings[page] = self._openings.get(page, 0) + 1
            if not is_string and openings <= _PATIENCE:
                offset = linear & PAGE_SIZE - 1
                first, last = offset - _BELOW, offset + _ABOVE
            self._open.append(page)
        for block in list(self._cache.by_page.get(page, ())):
            if block.covers(page, first, last):
                self._cache.drop(block)
                self.dropped += 1
