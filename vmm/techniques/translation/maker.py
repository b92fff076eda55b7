"""From what the guest has at an address to a block of the cache."""

from __future__ import annotations

from collections.abc import Callable

from vmm.cpu.paging import MASK_32, PAGE_MASK, PAGE_SIZE, GuestFault
from vmm.techniques.translation.blocks import Block, CodeCache
from vmm.techniques.translation.lengths import MAX_LENGTH
from vmm.techniques.translation.mappings import CodeMappings
from vmm.techniques.translation.source_pages import SourcePages
from vmm.techniques.translation.translate import MOST_BYTES, Context, Draft, Kind, Site
from vmm.techniques.virtual_cpu import VirtualCpu

_REPEATS = frozenset(b"\xf2\xf3")


class Maker:
    """Makes blocks. `on_full` empties the cache when it is full; the guest is not in it then."""

    def __init__(
        self, cache: CodeCache, mappings: CodeMappings, sources: SourcePages, vcpu: VirtualCpu
    ) -> None:
        self._cache, self._mappings, self._sources, self._vcpu = cache, mappings, sources, vcpu
        self._lookups: dict[int, int] = {}  # by context: where its lookup code is
        self.on_full: Callable[[], None] = cache.clear_table

    def forget_lookups(self) -> None:
        """The cache was flushed."""
        self._lookups.clear()

    def offset_in_lookup(self, at: int, context: Context) -> int | None:
        """How far into the lookup code a place is, if it is in it."""
        start = self._lookups.get(context.number)
        if start is None or not start <= at < start + len(context.emitter.lookup):
            return None
        return at - start

    def find(self, eip: int, context: Context) -> tuple[Block, bool]:
        """Return the block for what the guest has at EIP, and whether it is a new one.

        Raises:
            GuestFault: #PF of the fetch.
        """
        physical = self._mappings.physical(context.base + eip & MASK_32)
        block = self._cache.known(physical, eip, context)
        if block is not None:
            return block, False
        return self._make(eip, context), True

    def _make(self, eip: int, context: Context) -> Block:
        cache = self._cache
        draft, physical, second = self.draft(eip, context)
        if not cache.room(len(draft.out) + MOST_BYTES):
            self.on_full()
            cache.use_table(context)
        lookup = self._lookups.get(context.number)
        if lookup is None:
            code = context.emitter.lookup
            lookup = self._lookups[context.number] = cache.place(code)
            cache.sites[lookup + len(code) - 1] = Site(Kind.LOOK_UP, 0)
            cache.room(len(draft.out))
        block = cache.add(draft, physical, second, lookup)
        for page in block.pages:
            self._sources.watch(page)
        return block

    def draft(self, eip: int, context: Context, *, single: bool = False) -> tuple[Draft, int, int | None]:
        """Translate what the guest has at EIP. Returns also where that is, and where its second page is.

        Raises:
            GuestFault: #PF of the fetch.
        """
        linear = context.base + eip & MASK_32
        physical = self._mappings.physical(linear)
        read = self._vcpu.memory.read
        code = read(physical, PAGE_SIZE - (physical & PAGE_MASK))
        draft = Draft(context, eip, code, single=single)
        try:
            draft.translate()
        except IndexError:
            second = self._mappings.physical((linear | PAGE_MASK) + 1 & MASK_32)
            draft = Draft(context, eip, code + read(second, MAX_LENGTH), single=single, most=1)
            draft.translate()
            return draft, physical, second
        return draft, physical, None

    def code_at(self, linear: int) -> bytes:
        """The bytes of an instruction of the guest's, in its first page."""
        try:
            physical = self._mappings.physical(linear)
        except GuestFault:
            return b""
        return self._vcpu.memory.read(physical, min(MAX_LENGTH, PAGE_SIZE - (physical & PAGE_MASK)))

    def repeats(self, block: Block, at: int) -> bool:
        """Whether the instruction whose translation is there has a REP prefix."""
        physical = block.physical + (block.eip_at(at) - block.eip & PAGE_MASK)
        return not _REPEATS.isdisjoint(self._vcpu.memory.read(physical, 4))
