"""Binary translation with a translation cache: the guest's kernel never runs itself, its translation does.

Blocks are translated when they are first reached (`translate.py`, `emit.py`), run at ring 1 from memory of
the monitor's, and are linked to each other as they are run (`blocks.py`). Writes to the code they were made
from drop them (`source_pages.py`), changes of the guest's mappings part them (`mappings.py`). Ring 3 and
virtual-8086 code run directly.

Where the code lies: above 4 GiB, fetched through a CS whose base no descriptor can hold, so that data
accesses, which are cut to 32 bits, come nowhere near it. Where the virtual flags, spilled registers and the
lookup table lie: in a hole of the guest's linear space (`hole.py`), which moves when the guest maps
something there; the cache is then flushed, since its code names the place.

A fault in translated code is brought back to the guest's instruction by the block's table of positions. An
interrupt waits for a position at which the guest is between two instructions: until then one instruction
at a time is run, as behind STI.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from typing import Final

from vmm.clock import host_ns
from vmm.cpu import registers as r
from vmm.cpu.delivery import Event
from vmm.cpu.engine import EVENT_INTERRUPT, EVENT_NMI, Action
from vmm.cpu.paging import MASK_32, PAGE_MASK, PAGE_SIZE, PF_W, GuestFault
from vmm.cpu.processor import Processor
from vmm.cpu.state import HF_INHIBIT_IRQ
from vmm.memory import Memory
from vmm.techniques.translation import emit
from vmm.techniques.translation.blocks import Block, CodeCache
from vmm.techniques.translation.common import Translation
from vmm.techniques.translation.emit import DATA_PAGES, PENDING, TABLE, TARGET, TRAP, Emitter
from vmm.techniques.translation.hole import Hole
from vmm.techniques.translation.lengths import MAX_LENGTH
from vmm.techniques.translation.mappings import CodeMappings
from vmm.techniques.translation.source_pages import SourcePages
from vmm.techniques.translation.translate import MOST_BYTES, Context, Draft, Kind, Site

CODE_LINEAR: Final = 3 << 39  # beside the monitor's tables at 2^40
_ABOVE: Final = 1 << 39  # no base of the guest's is as high
_RESUME: Final = Action.RESUME
_WINDOWS: Final = frozenset({EVENT_INTERRUPT, EVENT_NMI})
_INT1: Final = 0xF1
_INT_VECTORS: Final = {0xCC: r.BP, 0xCE: r.OF_TRAP}
_UNPLAIN: Final = r.IOPL | r.VIF | r.VIP
_MAPPING_BITS: Final = r.CR0_PG | r.CR0_WP
_MOST_CONTEXTS: Final = 256
_REPEATS: Final = frozenset(b"\xf2\xf3")
TRANSLATED: Final = ("fault-entry", "translate", "resume")
CHAINED: Final = ("fault-entry", "cache-lookup", "resume")
MISSED: Final = ("fault-entry", "cache-lookup", "resume")


class Cache(Translation):
    """The translation cache as a technique."""

    name = "translation-cache"

    def __init__(self, processor: Processor, memory: Memory) -> None:
        super().__init__(processor, memory)
        hidden = self.hidden
        first = hidden.allocate_run(DATA_PAGES)
        self._data_pages = [first + number * PAGE_SIZE for number in range(DATA_PAGES)]
        at = hidden.host_address(first)
        self.vcpu.flags = ctypes.c_uint32.from_address(at + emit.FLAGS)
        self._pending = ctypes.c_uint8.from_address(at + PENDING)
        self._target = ctypes.c_uint32.from_address(at + TARGET)
        self.cache = CodeCache(hidden, first + TABLE, self.engine.invalidate_code)
        self.pager.map_monitor(CODE_LINEAR, self.cache.pages, executable=True)
        self.mappings = CodeMappings(self.cache, self.vcpu)
        self.sources = SourcePages(self.cache, self.pager)
        self.hole = Hole(memory, self.vcpu)
        self._contexts: dict[tuple[int, ...], Context] = {}
        self._lookups: dict[int, int] = {}  # by context: where its lookup code is
        self._guarded: frozenset[int] = frozenset()
        self._suspect = True  # whether the hole has to be looked at
        self._retry = self._retry_eip = self._next_context = 0
        self._mapped_at = -1
        self._current = Context(-1, 0, 32, True, True, 0, 0, Emitter(0, 0))
        self._cs, self._ss = self.vcpu.real.segs[r.CS], self.vcpu.real.segs[r.SS]
        self._translate = self.exits.row("cache.translate", TRANSLATED)
        self._chain = self.exits.row("cache.chain", CHAINED)
        self._miss = self.exits.row("cache.indirect", MISSED)
        self._window = self.exits.row("cache.window", MISSED)
        self._source_write = self.exits.row("cache.source-write", TRANSLATED)

    def statistics(self) -> dict[str, int]:
        """What the cache has come to."""
        return {
            "blocks": self.cache.translated,
            "dropped": self.sources.dropped,
            "flushes": self.cache.flushes,
            "hole": self.hole.linear,
            "hole-moves": self.hole.moves,
        }

    # -- taking over and handing back

    def take_over(self) -> None:
        """Begin with an empty cache."""
        self._suspect = True
        super().take_over()
        self.engine.mirror_interrupt(self._pending)
        self.mappings.forget_all()
        self._flush()
        self._enter()

    def hand_back(self) -> None:
        """Real mode runs the guest's own code."""
        self._guard(frozenset())
        self._flush()
        self.engine.mirror_interrupt(None)
        super().hand_back()

    def _flush(self) -> None:
        """Empty the cache. The guest is not in it."""
        self.sources.forget(self.cache.flush())
        self._lookups.clear()
        self._retry = self.cache.place(TRAP)
        self.cache.sites[self._retry] = Site(Kind.RETRY, 0)
        self.cache.clear_table()

    # -- events

    def on_event(self, vector: int, code: bytes) -> Action:
        """An event in the cache is brought back to the guest's instruction first."""
        if self._cs.base >= _ABOVE:
            brought = self._bring_back(vector)
            if brought is None:
                return _RESUME
            vector, code = brought
        super().on_event(vector, code)
        self._enter()
        return _RESUME

    def _bring_back(self, vector: int) -> tuple[int, bytes] | None:
        """Put the guest where it believes to be, and return what has happened to it there; None: nothing."""
        state = self.vcpu.state
        at = self._cs.base + state.rip & MASK_32
        if vector == r.GP:
            site = self.cache.sites.get(at)
            if site is not None:
                return self._on_site(at, site)
        elif vector == r.PF_FAULT:
            return self._on_page_fault(at)
        elif vector in _WINDOWS:
            eip = self._boundary(at)
            if eip is None or at in self.cache.shadows:
                state.hflags |= HF_INHIBIT_IRQ
                return None
            self._leave(eip)
            return vector, b""
        elif vector == r.DB and self._boundary(at) is None:
            return None  # a step within the translation of an instruction
        self._leave(self._eip(at))
        return vector, self._guest_code()

    def _on_site(self, at: int, site: Site) -> tuple[int, bytes] | None:
        kind = site.kind
        if kind == Kind.CHAIN:
            self._on_chain(site)
            return None
        if kind == Kind.LOOK_UP:
            self._on_look_up()
            return None
        if kind == Kind.ASLEEP:
            self._on_asleep(at, site)
            return None
        self._leave(site.eip)
        if kind == Kind.EMULATE:
            self.vcpu.state.error_code = 0
            return r.GP, site.code
        if kind == Kind.INTERRUPT:
            return self._on_interrupt_site(site)
        if kind == Kind.RETRY:
            self.vcpu.rip = self._retry_eip
        elif kind == Kind.WINDOW:
            self.vcpu.state.hflags |= HF_INHIBIT_IRQ
            self._window.count += 1
        self._enter()
        return None

    def _on_chain(self, site: Site) -> None:
        began = host_ns()
        flushes = self.cache.flushes
        self._leave(site.eip)
        block = self._enter()
        if block is not None and flushes == self.cache.flushes:
            self.cache.link(site.detail, block)
        self._book(self._chain, began)

    def _on_asleep(self, at: int, site: Site) -> None:
        """A jump led to a block that may not be run as it is: run what the guest has there now."""
        began = host_ns()
        flushes = self.cache.flushes
        old = self.cache.block_at(at)
        self._leave(site.eip)
        block = self._enter()
        if old is not None and not old.alive and block is not None and flushes == self.cache.flushes:
            self.cache.succeed(old, block)
        self._book(self._chain, began)

    def _on_look_up(self) -> None:
        began = host_ns()
        self._leave(self._target.value)
        block = self._enter()
        if block is not None:
            self.cache.enter_table(block)
        self._book(self._miss, began)

    def _on_interrupt_site(self, site: Site) -> tuple[int, bytes] | None:
        """INT n, INT3, INTO or INT1; the engine leaves RIP behind them."""
        vcpu = self.vcpu
        following = site.eip + len(site.code) & MASK_32
        opcode = site.detail
        if opcode == _INT1 or (opcode == 0xCE and not vcpu.rflags & r.OF):
            vcpu.rip = following
            if opcode == _INT1:
                self._deliver(Event(r.DB))
            self._enter()
            return None
        vcpu.rip = following
        vcpu.state.exception_is_int = 1
        return _INT_VECTORS.get(opcode, site.code[-1]), b""

    def _on_page_fault(self, at: int) -> tuple[int, bytes] | None:
        began = host_ns()
        state = self.vcpu.state
        linear, error = state.cr[2], state.error_code
        if linear >= _ABOVE:  # it ran out of the cache, as only a guest that spoils its data pages does
            self._leave(state.rip)
            self._enter()
            return None
        sources = self.sources
        if error & PF_W:
            sources.writing = linear & MASK_32, self._is_string(at)
        try:
            self.pager.fill(linear & MASK_32, error)
        except GuestFault as fault:
            self._leave(self._eip(at))
            self._reflect(fault, began)
            self._enter()
            return None
        finally:
            sources.writing = None
        self._book(self._fill, began)
        if sources.hit:
            sources.hit = False
            self._let_through(self._eip(at), began)
        return None

    def _let_through(self, eip: int, began: int) -> None:
        """Run the one instruction that writes to a protected page, which is open now."""
        self._leave(eip)
        context = self._context()
        try:
            draft, physical, _ = self._draft(eip, context, single=True)
        except GuestFault as fault:
            self._reflect(fault, began)
            self._enter()
            return
        self.cache.add_single(draft, physical)
        self._go(0, context)
        self._book(self._source_write, began)

    def _is_string(self, at: int) -> bool:
        """Whether the instruction there repeats."""
        block = self.cache.block_at(at)
        if block is None:
            return False
        eip = self._eip(at)
        code = self.vcpu.memory.read(block.physical + (eip - block.eip), 4) if block.eip <= eip else b""
        return not _REPEATS.isdisjoint(code)

    # -- from the cache to the guest and back

    def _boundary(self, at: int) -> int | None:
        """Where the guest is, if it is between two instructions."""
        block = self.cache.block_at(at)
        if block is None:
            return None
        offset = at - block.at
        index = bisect_right(block.starts, offset) - 1
        return block.eips[index] if index >= 0 and block.starts[index] == offset else None

    def _eip(self, at: int) -> int:
        """The guest's instruction to which a place in the cache belongs."""
        block = self.cache.block_at(at)
        if block is None:
            return self.vcpu.rip
        return block.eips[bisect_right(block.starts, at - block.at) - 1]

    def _leave(self, eip: int) -> None:
        """Make CS:EIP the guest's."""
        cs = self._cs
        self.vcpu.state.rip = eip
        cs.base &= MASK_32
        if self._current.bits == 16:
            self.vcpu.real.load_segment(r.CS, cs.selector, cs.base, cs.limit, cs.flags & ~r.DESC_B)

    def _go(self, at: int, context: Context) -> None:
        """Make CS:EIP the cache's."""
        cs = self._cs
        if context.bits == 16:
            self.vcpu.real.load_segment(r.CS, cs.selector, cs.base, cs.limit, cs.flags | r.DESC_B)
        self._current = context
        cs.base = CODE_LINEAR + context.base
        self.vcpu.state.rip = at - context.base & MASK_32

    def _enter(self) -> Block | None:
        """If the guest is where the cache stands for it, go there."""
        state = self.vcpu.state
        if not self.running or state.hflags & 3 != 1 or state.eflags & r.VM:
            return None
        self.sources.close()
        if self._suspect:
            self._settle_hole()
        for _ in range(2):
            context = self._context()
            try:
                block = self._find(state.rip & MASK_32, context)
            except GuestFault as fault:
                self._reflect(fault, host_ns())
                if state.hflags & 3 != 1 or state.eflags & r.VM:
                    return None
                continue
            self._go(block.at, context)
            return block
        self._retry_eip = state.rip & MASK_32  # its handler cannot be fetched: let the engine breathe
        self._go(self._retry, self._context())
        return None

    def _context(self) -> Context:
        """What the guest's processor is like."""
        cs, vcpu = self._cs, self.vcpu
        key = (
            cs.base, cs.flags & r.DESC_B, self._ss.flags & r.DESC_B,
            vcpu.inner or vcpu.flags.value & _UNPLAIN, cs.selector, self._ss.selector,
        )  # fmt: skip
        context = self._contexts.get(key)
        if context is None:
            if len(self._contexts) > _MOST_CONTEXTS:
                self._contexts.clear()
                self._flush()
            context = self._contexts[key] = Context(
                self._next_context, cs.base, 32 if key[1] else 16, bool(key[2]), not key[3],
                vcpu.segs[r.CS].selector, vcpu.segs[r.SS].selector, Emitter(self.hole.linear, cs.base),
            )  # fmt: skip
            self._next_context += 1
        self.cache.use_table(context)
        return context

    # -- blocks

    def _find(self, eip: int, context: Context) -> Block:
        block = self.cache.active.get((eip, context.index))
        if block is not None:
            return block
        physical = self.mappings.physical(context.base + eip & MASK_32)
        block = self.cache.known(physical, eip, context)
        if block is None:
            block = self._make(eip, context)
        self.cache.activate(block)
        return block

    def _make(self, eip: int, context: Context) -> Block:
        began = host_ns()
        draft, physical, second = self._draft(eip, context)
        if not self.cache.room(len(draft.out) + MOST_BYTES):
            self._flush()
            self.cache.use_table(context)
        lookup = self._lookups.get(context.index)
        if lookup is None:
            code = context.emitter.lookup
            lookup = self._lookups[context.index] = self.cache.place(code)
            self.cache.sites[lookup + len(code) - 1] = Site(Kind.LOOK_UP, 0)
            self.cache.room(len(draft.out))
        block = self.cache.add(draft, physical, second, lookup)
        for page in block.pages:
            self.sources.watch(page)
        self._book(self._translate, began)
        return block

    def _draft(self, eip: int, context: Context, *, single: bool = False) -> tuple[Draft, int, int | None]:
        """Translate what the guest has at EIP. Returns also where that is, and where its second page is."""
        linear = context.base + eip & MASK_32
        physical = self.mappings.physical(linear)
        code = self.vcpu.memory.read(physical, PAGE_SIZE - (physical & PAGE_MASK))
        draft = Draft(context, eip, code, single=single)
        try:
            draft.translate()
        except IndexError:
            second = self.mappings.physical((linear | PAGE_MASK) + 1 & MASK_32)
            code += self.vcpu.memory.read(second, MAX_LENGTH)
            draft = Draft(context, eip, code, single=single, most=1)
            draft.translate()
            return draft, physical, second
        return draft, physical, None

    def _guest_code(self) -> bytes:
        """The bytes at the guest's CS:EIP, in this page."""
        linear = self._cs.base + self.vcpu.rip & MASK_32
        try:
            physical = self.mappings.physical(linear)
        except GuestFault:
            return b""
        return self.vcpu.memory.read(physical, min(MAX_LENGTH, PAGE_SIZE - (physical & PAGE_MASK)))

    # -- the guest's mappings

    def _on_cr(self, index: int, old: int, new: int) -> None:
        super()._on_cr(index, old, new)
        if index == 3:
            self.mappings.new_address_space()
        elif (old ^ new) & (_MAPPING_BITS if index == 0 else MASK_32):
            self.mappings.forget_all()
        else:
            return
        self._suspect = True

    def invlpg(self, linear: int) -> None:
        """Forget what is known of one page's code too."""
        super().invlpg(linear)
        self.mappings.invalidate_page(linear)

    def _settle_hole(self) -> None:
        """See that the data pages are where the guest has nothing. The guest is not in the cache."""
        self._suspect = False
        hole = self.hole
        before = hole.linear
        if not hole.is_free() and not hole.move():
            self.on_unsupported(
                f"{self.name} finds no place in the linear space of the guest, which is all mapped"
            )
        if hole.linear != before:
            self._contexts.clear()
            self._flush()
        if hole.linear != self._mapped_at:
            self._mapped_at = hole.linear
            self.pager.map_hole(hole.linear, self._data_pages)
        self._guard(hole.frames)

    def _guard(self, frames: frozenset[int]) -> None:
        for frame in self._guarded - frames:
            self.pager.unprotect(frame, self._on_directory)
        for frame in frames - self._guarded:
            self.pager.protect(frame, self._on_directory)
        self._guarded = frames

    def _on_directory(self, frame: int) -> None:
        """The guest writes to a page that said the hole is free."""
        self.pager.unprotect(frame, self._on_directory)
        self._guarded -= {frame}
        self._suspect = True
        if self.sources.writing is not None:
            self.sources.hit = True
