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

from typing import Final

from vmm.clock import host_ns
from vmm.cpu import registers as r
from vmm.cpu.delivery import Event
from vmm.cpu.engine import EVENT_INTERRUPT, EVENT_NMI, Action
from vmm.cpu.paging import MASK_32, PF_W, GuestFault
from vmm.cpu.processor import Processor
from vmm.cpu.state import HF_INHIBIT_IRQ
from vmm.memory import Memory
from vmm.techniques.base import Place
from vmm.techniques.shadow_descriptors import MONITOR_END, MONITOR_LINEAR
from vmm.techniques.translation.blocks import Block, CodeCache
from vmm.techniques.translation.common import DONE, Translation
from vmm.techniques.translation.contexts import Contexts
from vmm.techniques.translation.data_pages import DataPages
from vmm.techniques.translation.emit import TABLE, TRAP, Emitter
from vmm.techniques.translation.hole import Hole
from vmm.techniques.translation.maker import Maker
from vmm.techniques.translation.mappings import CodeMappings
from vmm.techniques.translation.source_pages import SourcePages
from vmm.techniques.translation.translate import Context, Kind, Site
from vmm.trace.events import Mode

CODE_LINEAR: Final = 3 << 39  # beside the monitor's tables at 2^40
_ABOVE: Final = 1 << 39  # no base of the guest's is as high
_RESUME: Final = Action.RESUME
_WINDOWS: Final = frozenset({EVENT_INTERRUPT, EVENT_NMI})
_INT1: Final = 0xF1
_INT_VECTORS: Final = {0xCC: r.BP, 0xCE: r.OF_TRAP}
_DR6_BS: Final = 1 << 14
_MAPPING_BITS: Final = r.CR0_PG | r.CR0_WP
TRANSLATED: Final = ("fault-entry", "translate", "resume")
LOOKED_UP: Final = ("fault-entry", "cache-lookup", "resume")


class Cache(Translation):
    """The translation cache as a technique."""

    name = "translation-cache"

    def __init__(self, processor: Processor, memory: Memory) -> None:
        super().__init__(processor, memory)
        data = self._data = DataPages(self.hidden)
        self.engine.never_code(data.first, data.length)
        self.vcpu.flags = data.flags
        self.cache = CodeCache(self.hidden, data.first + TABLE, self.engine.invalidate_code)
        self.pager.map_monitor(CODE_LINEAR, self.cache.pages, executable=True)
        self.mappings = CodeMappings(self.cache, self.vcpu)
        self.sources = SourcePages(self.cache, self.pager)
        self.hole = Hole(memory, self.vcpu, self.pager, data.pages)
        self.hole.on_touch = self._on_directory
        self._contexts = Contexts(self.vcpu)
        self._maker = Maker(self.cache, self.mappings, self.sources, self.vcpu)
        self._maker.on_full = self._flush
        self._retry = self._retry_eip = self._left_at = 0
        self._current = Context(-1, 0, 32, True, True, 0, 0, Emitter(0, 0))
        self._cs = self.vcpu.real.segs[r.CS]
        self._translate = self.exits.row("cache.translate", TRANSLATED)
        self._chain = self.exits.row("cache.chain", LOOKED_UP)
        self._miss = self.exits.row("cache.indirect", LOOKED_UP)
        self._window = self.exits.row("cache.window", LOOKED_UP)
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
        self.hole.suspect = True
        super().take_over()
        self.engine.mirror_interrupt(self._data.pending)
        self.mappings.forget_all()
        self._flush()
        self._enter()

    def hand_back(self) -> None:
        """Real mode runs the guest's own code."""
        self.hole.guard(frozenset())
        self._flush()
        self.engine.mirror_interrupt(None)
        super().hand_back()

    def _flush(self) -> None:
        """Empty the cache. The guest is not in it."""
        self.sources.forget(self.cache.flush())
        self._maker.forget_lookups()
        self._retry = self.cache.place(TRAP)
        self.cache.sites[self._retry] = Site(Kind.RETRY, 0)
        self.cache.clear_table()

    # -- events

    def on_event(self, vector: int, code: bytes) -> Action:
        """An event in the cache is brought back to the guest's instruction first."""
        if self._cs.base >= _ABOVE:
            began = host_ns()
            self.last = None
            self._left_at = 0
            brought = self._bring_back(vector)
            if brought is None:
                self._tell(began)
                return _RESUME
            vector, code = brought
        super().on_event(vector, code)
        self._enter()
        return _RESUME

    def _tell(self, began: int) -> None:
        """Have an exit reported that was over before the guest was brought back to its own code."""
        if self.report is not None and self.last is not None:
            vcpu, eip = self.vcpu, self._left_at
            code = self._maker.code_at(self._current.base + eip & MASK_32)
            mode: Mode = "prot32" if self._current.bits == 32 else "prot16"
            place = Place(vcpu.segs[r.CS].selector, eip, vcpu.cpl, mode, code)
            self.report(self.last.reason, place, DONE.get(self.last.reason, self._done()), host_ns() - began)

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
            offset = self._maker.offset_in_lookup(at, self._current)
            if offset is not None:
                self._cut_lookup_short(offset)
                return vector, b""
            if at in self.cache.shadows or not self._between(at):
                state.hflags |= HF_INHIBIT_IRQ
                return None
        elif vector == r.DB and not self._between(at):
            return None  # a step within the translation of an instruction
        self._leave(self._eip(at))
        code = b"" if vector in _WINDOWS else self._maker.code_at(self._cs.base + self.vcpu.rip & MASK_32)
        return vector, code

    def _cut_lookup_short(self, offset: int) -> None:
        """Finish a branch whose lookup is under way: nothing of the guest's is left to change."""
        if offset >= self._current.emitter.lookup_saved:
            regs = self.vcpu.regs
            regs[r.RAX], regs[r.RCX] = self._data.eax.value, self._data.ecx.value
        self._leave(self._data.target.value)

    def _between(self, at: int) -> bool:
        block = self.cache.block_at(at)
        return block is not None and block.is_boundary(at)

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
        self.book(self._chain, began)

    def _on_asleep(self, at: int, site: Site) -> None:
        """A jump led to a block that may not be run as it is: run what the guest has there now."""
        began = host_ns()
        flushes = self.cache.flushes
        old = self.cache.block_at(at)
        self._leave(site.eip)
        block = self._enter()
        if old is not None and not old.alive and block is not None and flushes == self.cache.flushes:
            self.cache.succeed(old, block)
        self.book(self._chain, began)

    def _on_look_up(self) -> None:
        began = host_ns()
        self._leave(self._data.target.value)
        if self.vcpu.state.eflags & r.TF:  # the branch is over, and no step within it was told of
            self.services.write_dr(6, self.services.read_dr(6) | _DR6_BS)
            self._deliver(Event(r.DB))
        block = self._enter()
        if block is not None:
            self.cache.enter_table(block)
        self.book(self._miss, began)

    def _on_interrupt_site(self, site: Site) -> tuple[int, bytes] | None:
        """INT n, INT3, INTO or INT1; the engine leaves RIP behind them."""
        vcpu = self.vcpu
        following = site.eip + len(site.code) & MASK_32
        opcode = site.detail
        vcpu.rip = following
        if opcode == _INT1 or (opcode == 0xCE and not vcpu.rflags & r.OF):
            if opcode == _INT1:
                self._deliver(Event(r.DB))
            self._enter()
            return None
        vcpu.state.exception_is_int = 1
        return _INT_VECTORS.get(opcode, site.code[-1]), b""

    def _on_page_fault(self, at: int) -> tuple[int, bytes] | None:
        began = host_ns()
        state = self.vcpu.state
        linear, error = state.cr[2], state.error_code
        if MONITOR_LINEAR <= linear < MONITOR_END:  # an instruction marks a segment accessed
            self._leave(self._eip(at))
            return r.PF_FAULT, b""
        if linear >= _ABOVE:  # it ran out of the cache, as only a guest that spoils its data pages does
            self._leave(state.rip)
            self._enter()
            return None
        sources = self.sources
        if error & PF_W:
            block = self.cache.block_at(at)
            sources.writing = linear & MASK_32, block is not None and self._maker.repeats(block, at)
        try:
            self.pager.fill(linear & MASK_32, error)
        except GuestFault as fault:
            self._leave(self._eip(at))
            self._reflect(fault, began)
            self._enter()
            return None
        finally:
            sources.writing = None
        self.book(self._fill, began)
        if sources.hit:
            sources.hit = False
            self._let_through(self._eip(at), began)
        return None

    def _let_through(self, eip: int, began: int) -> None:
        """Run the one instruction that writes to a protected page, which is open now."""
        self._leave(eip)
        context = self._context()
        try:
            draft, physical, _ = self._maker.draft(eip, context, single=True)
        except GuestFault as fault:
            self._reflect(fault, began)
            self._enter()
            return
        self.cache.add_single(draft, physical)
        self._go(0, context)
        self.book(self._source_write, began)

    # -- from the cache to the guest and back

    def _eip(self, at: int) -> int:
        """The guest's instruction to which a place in the cache belongs."""
        block = self.cache.block_at(at)
        return self.vcpu.rip if block is None else block.eip_at(at)

    def _leave(self, eip: int) -> None:
        """Make CS:EIP the guest's."""
        cs = self._cs
        self._left_at = self.vcpu.state.rip = eip
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
        if self.hole.suspect:
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
        """What the guest's processor is like. The guest is not in the cache."""
        if self._contexts.are_many:
            self._contexts.clear()
            self._flush()
        context = self._contexts.current(self.hole.linear)
        self.cache.use_table(context)
        return context

    def _find(self, eip: int, context: Context) -> Block:
        block = self.cache.active.get((eip, context.number))
        if block is not None:
            return block
        began = host_ns()
        block, is_new = self._maker.find(eip, context)
        self.cache.activate(block)
        if is_new:
            self.book(self._translate, began)
        return block

    # -- the guest's mappings

    def _on_cr(self, index: int, old: int, new: int) -> None:
        super()._on_cr(index, old, new)
        if index == 3:
            self.mappings.new_address_space()
        elif (old ^ new) & (_MAPPING_BITS if index == 0 else MASK_32):
            self.mappings.look_again()
        else:
            return
        self.hole.suspect = True

    def mappings_changed(self) -> None:
        """What was translated from pages that are elsewhere now is not to be run."""
        super().mappings_changed()
        self.mappings.look_again()
        self.hole.suspect = True

    def invlpg(self, linear: int) -> None:
        """Forget what is known of one page's code too."""
        super().invlpg(linear)
        self.mappings.invalidate_page(linear)

    def _settle_hole(self) -> None:
        """See that the data pages are where the guest has nothing. The guest is not in the cache."""
        moved = self.hole.settle()
        if moved is None:
            self.on_unsupported(f"{self.name} finds no place in the guest's linear space: all is mapped")
        elif moved:
            self._contexts.clear()
            self._flush()

    def _on_directory(self) -> None:
        """A page directory is written: look at the hole after that instruction."""
        if self.sources.writing is not None:
            self.sources.hit = True
