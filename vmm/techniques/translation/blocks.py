"""The translation cache: where blocks lie, how they are found, linked, and dropped.

A block belongs to a place in physical memory, the EIP at which it was run and a `Context`; EIP counts too
because calls push it. What leads to a block without the monitor, jumps from other blocks and the lookup
table, is only valid while the guest's mapping of its page is. Where that may have changed the block is
put to sleep, by a trap in place of its first byte, until it is found again by its physical address. A
block whose source was written keeps that trap, and the jumps to it are led to its successor.

The code lies above 4 GiB in linear space, where CS reaches by a base that no descriptor can give: no data
access of 32-bit code comes there, so that the guest can neither read nor write it, whatever it maps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from vmm.cpu.paging import MASK_32, PAGE_MASK, PAGE_SIZE
from vmm.memory import MONITOR_BASE
from vmm.techniques.hidden import HiddenMemory
from vmm.techniques.translation.emit import TABLE_ENTRIES, TRAP, dword
from vmm.techniques.translation.translate import Context, Draft, Kind, Site

RUN_PAGES: Final = 256  # pages in a row, all that address line 20 lets there be
RUN_BYTES: Final = RUN_PAGES * PAGE_SIZE
RUNS: Final = 16
MOST_BLOCKS: Final = 1 << 17  # what they weigh here is more than their code
_SCRATCH_BYTES: Final = 1024  # at the start of the cache: one instruction that is let through
_ENTRY_BYTES: Final = 8


class Block:
    """One translated block."""

    __slots__ = (
        "alive", "asleep", "at", "context", "eip", "eips", "head", "incoming", "length", "physical", "second",
        "site", "starts",
    )  # fmt: skip

    def __init__(self, draft: Draft, at: int, physical: int, second: int | None) -> None:
        """`second` is the physical page of the bytes that lie in the next linear page."""
        self.context, self.eip, self.at = draft.context, draft.eip, at
        self.physical, self.length, self.second = physical, draft.length, second
        self.starts, self.eips = draft.starts, draft.eips
        self.incoming: list[int] = []  # displacements that lead here
        self.head = draft.out[0]
        self.site: Site | None = None  # of a block that begins with a trap, while it sleeps
        self.alive, self.asleep = True, False

    @property
    def pages(self) -> tuple[int, ...]:
        """Numbers of the physical pages it was made from."""
        return (self.physical >> 12,) if self.second is None else (self.physical >> 12, self.second >> 12)

    @property
    def linear_pages(self) -> tuple[int, ...]:
        """Numbers of the linear pages it was run at."""
        first = self.context.base + self.eip & MASK_32
        return (first >> 12,) if self.second is None else (first >> 12, (first >> 12) + 1 & 0xF_FFFF)

    def eip_at(self, at: int) -> int:
        """The guest's instruction to which a place in the cache belongs."""
        return self.eips[bisect_right(self.starts, at - self.at) - 1]

    def is_boundary(self, at: int) -> bool:
        """Whether the guest is between two instructions there."""
        index = bisect_right(self.starts, at - self.at) - 1
        return index >= 0 and self.starts[index] == at - self.at

    def covers(self, page: int, first: int, last: int) -> bool:
        """Whether it was made from bytes of a physical page between two offsets."""
        if self.second is not None:
            return True
        start = self.physical & PAGE_MASK
        return start <= last and first < start + self.length and self.physical >> 12 == page


class CodeCache:
    """All blocks of a guest. `invalidate(physical, length)` has the engine forget code that was there."""

    def __init__(self, hidden: HiddenMemory, table: int, invalidate: Callable[[int, int], None]) -> None:
        """`table` is the physical address of the lookup table, the second of the data pages."""
        self._bytes, self._invalidate = hidden.bytes, invalidate
        self._runs = [hidden.allocate_run(RUN_PAGES) for _ in range(RUNS)]
        self._table = table - MONITOR_BASE
        self.sites: dict[int, Site] = {}
        self.shadows: set[int] = set()
        self.flushes = 0
        self.translated = 0
        self._reset()

    @property
    def pages(self) -> list[int]:
        """The physical addresses of the code's pages, in the order of their linear ones."""
        return [run + offset * PAGE_SIZE for run in self._runs for offset in range(RUN_PAGES)]

    # -- room

    def _reset(self) -> None:
        self._next = _SCRATCH_BYTES
        self._single: Block | None = None
        self._single_sites: list[int] = []
        self._single_shadows: list[int] = []
        self.active: dict[tuple[int, int], Block] = {}  # by EIP and context
        self._known: dict[tuple[int, int, int], Block] = {}  # by physical address, EIP and context
        self.by_page: dict[int, set[Block]] = {}  # by physical page
        self._by_linear: dict[int, list[Block]] = {}  # active ones by linear page
        self._order: list[int] = []  # where blocks begin
        self._blocks: list[Block] = []
        self.sites.clear()
        self.shadows.clear()
        self._context: Context | None = None

    def flush(self) -> list[int]:
        """Forget everything. Returns the numbers of the physical pages that blocks came from."""
        pages = list(self.by_page)
        if self._next > _SCRATCH_BYTES:
            for number, run in enumerate(self._runs):
                if number * RUN_BYTES < self._next:
                    self._invalidate(run, RUN_BYTES)
            self.flushes += 1
        self._reset()
        return pages

    def room(self, size: int) -> bool:
        """Whether `size` more bytes fit. A block does not go over the end of a run."""
        if (self._next & RUN_BYTES - 1) + size > RUN_BYTES:
            self._next = (self._next + RUN_BYTES) & ~(RUN_BYTES - 1)
        return self._next + size <= RUNS * RUN_BYTES and len(self._blocks) < MOST_BLOCKS

    def physical(self, at: int) -> int:
        """The physical address of a place in the cache."""
        return self._runs[at // RUN_BYTES] + at % RUN_BYTES

    def _write(self, at: int, code: bytes | bytearray) -> None:
        to = self.physical(at) - MONITOR_BASE
        self._bytes[to : to + len(code)] = code

    def place(self, code: bytes) -> int:
        """Put code that is no block at the next place."""
        self.room(len(code))
        at = self._next
        self._write(at, code)
        self._next += len(code) + 15 & ~15
        return at

    # -- blocks

    def known(self, physical: int, eip: int, context: Context) -> Block | None:
        """A block that was made earlier."""
        return self._known.get((physical, eip, context.index))

    def add(self, draft: Draft, physical: int, second: int | None, lookup: int) -> Block:
        """Put a block into the cache; its lookups lead to the code at `lookup`. There is room."""
        at = self._next
        block = Block(draft, at, physical, second)
        for field, eip in draft.links:
            target = self.active.get((eip, draft.context.index))
            if target is not None:
                draft.out[field : field + 4] = dword(target.at - (at + field + 4))
                target.incoming.append(at + field)
        self._put(draft, at, lookup)
        self._next += len(draft.out) + 15 & ~15
        self._order.append(at)
        self._blocks.append(block)
        self._known[physical, draft.eip, draft.context.index] = block
        for page in block.pages:
            self.by_page.setdefault(page, set()).add(block)
        self.translated += 1
        return block

    def _put(self, draft: Draft, at: int, lookup: int) -> None:
        out = draft.out
        for field in draft.lookups:
            out[field : field + 4] = dword(lookup - (at + field + 4))
        self._write(at, out)
        for offset, site in draft.sites:
            if site.kind == Kind.CHAIN:
                self.sites[at + offset] = Site(Kind.CHAIN, site.eip, b"", at + site.detail)
            else:
                self.sites[at + offset] = site
        for offset in draft.shadows:
            self.shadows.add(at + offset)

    def add_single(self, draft: Draft, physical: int) -> Block:
        """Put one instruction into the place that is used for nothing else, and again each time."""
        for at in self._single_sites:
            self.sites.pop(at, None)
        self._single_sites = [at for at, _ in draft.sites]
        self.shadows.difference_update(self._single_shadows)
        self._single_shadows = draft.shadows
        self._put(draft, 0, 0)
        self._invalidate(self.physical(0), _SCRATCH_BYTES)
        self._single = Block(draft, 0, physical, None)
        return self._single

    def block_at(self, at: int) -> Block | None:
        """The block whose code is there."""
        if at < _SCRATCH_BYTES:
            return self._single
        index = bisect_right(self._order, at) - 1
        if index < 0:
            return None
        block = self._blocks[index]
        return block if at <= block.at + block.starts[-1] else None

    # -- what leads to blocks

    def activate(self, block: Block) -> None:
        """The guest's mapping leads to this block now: let the lookup find it, and others link to it."""
        if block.asleep:
            block.asleep = False
            del self.sites[block.at]
            if block.site is not None:
                self.sites[block.at] = block.site
            self._set_head(block, block.head)
        self.active[block.eip, block.context.index] = block
        for page in block.linear_pages:
            self._by_linear.setdefault(page, []).append(block)
        self.enter_table(block)

    def enter_table(self, block: Block) -> None:
        """Have the lookup find it."""
        at = self._table + (block.eip & TABLE_ENTRIES - 1) * _ENTRY_BYTES
        self._bytes[at : at + 8] = dword(-block.eip) + dword(block.at - block.context.base)

    def use_table(self, context: Context) -> None:
        """Make the table one of blocks of this context only."""
        if context is not self._context:
            self._context = context
            self.clear_table()

    def clear_table(self) -> None:
        """Empty the lookup table. An entry of zeros would be EIP 0's, so that its place holds another."""
        size = TABLE_ENTRIES * _ENTRY_BYTES
        self._bytes[self._table : self._table + size] = bytes(size)
        self._bytes[self._table : self._table + 4] = dword(1)

    def link(self, field: int, target: Block) -> None:
        """Have the jump whose displacement is at `field` lead to a block, in place of its trap."""
        target.incoming.append(field)
        self._write(field, dword(target.at - field - 4))
        self._invalidate(self.physical(field), 4)

    def succeed(self, dead: Block, successor: Block) -> None:
        """Lead all jumps to a block that was dropped to the one that was made in its place."""
        fields, dead.incoming = dead.incoming, []
        for field in fields:
            self.link(field, successor)

    def forget_page(self, linear_page: int) -> None:
        """The guest's mapping of a page may be another now."""
        for block in self._by_linear.pop(linear_page, ()):
            if block.second is not None:
                self.drop(block)
            else:
                self._put_to_sleep(block)

    def forget_all(self) -> None:
        """Any mapping may be another now."""
        for page in list(self._by_linear):
            self.forget_page(page)

    def _put_to_sleep(self, block: Block) -> None:
        key = block.eip, block.context.index
        if self.active.get(key) is block:
            del self.active[key]
            at = self._table + (block.eip & TABLE_ENTRIES - 1) * _ENTRY_BYTES
            if self._bytes[at : at + 4] == dword(-block.eip):
                self._bytes[at : at + 4] = dword(1 - block.eip)  # nobody's: its low half is another entry's
        if not block.asleep:
            block.asleep = True
            block.site = self.sites.get(block.at)
            self.sites[block.at] = Site(Kind.ASLEEP, block.eip)
            self._set_head(block, TRAP[0])

    def _set_head(self, block: Block, byte: int) -> None:
        physical = self.physical(block.at)
        self._bytes[physical - MONITOR_BASE] = byte
        self._invalidate(physical, 1)

    def drop(self, block: Block) -> None:
        """Its source has changed. The code stays until the next flush, since the guest may be in it."""
        if not block.alive:
            return
        block.alive = False
        self._put_to_sleep(block)
        self._known.pop((block.physical, block.eip, block.context.index), None)
        for page in block.pages:
            blocks = self.by_page.get(page)
            if blocks is not None:
                blocks.discard(block)
                if not blocks:
                    del self.by_page[page]
