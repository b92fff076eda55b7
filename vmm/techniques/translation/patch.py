"""Binary translation by patching: a one-byte trap in place of each sensitive instruction, found just in time.

A block is scanned after the engine has translated it and before it runs. The page it lies in gets a copy
from which instructions are fetched, with HLT where a sensitive instruction begins; data reads, the
guest's own and those of devices, go on seeing the page itself, which is never changed. One byte is
replaced, and it stays replaced only while no other block has it inside an instruction: code that jumps
into the middle of its own instructions finds what it would have found.

A write to such a page, whoever writes, drops the copy; the page is scanned again when it next runs.
Code that writes to its own page would be stopped at each try by that, so there the copy is kept, the
instruction is stepped over, and the copy then made to follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vmm.clock import host_ns
from vmm.cpu import registers as r
from vmm.cpu.accelerated import AcceleratedEngine
from vmm.cpu.decode import decode
from vmm.cpu.encoding import MAX_LENGTH
from vmm.cpu.engine import EVENT_BLOCK, Action
from vmm.cpu.paging import MASK_32, PAGE_MASK, PAGE_SIZE, GuestFault, probe
from vmm.cpu.processor import Processor
from vmm.cpu.segmentation import code_bits
from vmm.cpu.software_int import read_code
from vmm.errors import ConfigError
from vmm.memory import MONITOR_BASE, Memory
from vmm.techniques.exits import Finding
from vmm.techniques.sites import Site, find_sites
from vmm.techniques.translation.common import Translation

_HLT: Final = 0xF4
_MOST_COPIES: Final = 8192  # of the monitor's pages; the shadow tables want some too
SCANNED: Final = ("scan",)
STEPPED: Final = ("fault-entry", "shadow-update", "resume")
_MOST_SITES: Final = 1 << 20  # that a hostile guest can make us remember


class _Copy:
    """The instruction view of one page: where it lies, what it is a copy of, which bytes are traps."""

    __slots__ = ("original", "page", "sites")

    def __init__(self, page: int, original: bytes) -> None:
        self.page, self.original = page, original
        self.sites: set[int] = set()

    @property
    def at(self) -> int:
        """Its first byte in the hidden memory."""
        return self.page - MONITOR_BASE


class Patch(Translation):
    """Patching in a split instruction view."""

    name = "translation-patch"
    watches_blocks = True

    def __init__(self, processor: Processor, memory: Memory) -> None:
        super().__init__(processor, memory)
        engine = processor.live
        if not isinstance(engine, AcceleratedEngine):
            raise ConfigError(
                "translation by patching needs the accelerated engine, which can show instructions and data"
                " differently; on the portable one use --translation cache"
            )
        self._split = engine
        self._copies: dict[int, _Copy] = {}  # by physical page number
        self._filling = False  # a store of the guest's own is being served
        self._stepping = False  # an instruction that stores into its own page is stepped over
        self._stepped: set[int] = set()  # the pages it may write
        self._before = (0, 0)  # the guest's TF and DR6 then
        self._scan = self.exits.row("scan.block", SCANNED)
        self._steps = self.exits.row("patched.store", STEPPED)
        self._sites: set[int] = set()
        self.blocks_by_ring = [0, 0, 0, 0]
        """Blocks scanned, by the ring they were translated for; ring 3 is not scanned."""

    @property
    def patched_sites(self) -> int:
        """How many places of memory had a trap; one that is patched again counts once."""
        return len(self._sites)

    def start(self) -> None:
        """Forget the code that ran before the reset."""
        self._stepping = False
        self._drop_all()
        super().start()

    def hand_back(self) -> None:
        """Real mode runs the guest's own code."""
        self._drop_all()
        super().hand_back()

    def a20_changed(self) -> None:
        """Copies belong to physical pages."""
        super().a20_changed()
        self._drop_all()

    # -- blocks

    def on_block(self, code: bytes) -> None:
        """Put traps where the block has sensitive instructions."""
        self._scan.count += 1
        real = self.vcpu.real
        self.blocks_by_ring[real.cpl] += 1
        bits = code_bits(real)
        self._clear_middles(real.code_address(), code, bits)
        for site in find_sites(code, bits):
            if site.goes_wrong or site.name == "RET":  # RETF to the guest's own ring 1 would not fault
                self._patch(real.code_address(site.offset), site)

    def _clear_middles(self, linear: int, code: bytes, bits: int) -> None:
        """Take back the traps that would be in the middle of this block's instructions."""
        last = linear + len(code) + MAX_LENGTH
        for page in {linear & ~PAGE_MASK, last & ~PAGE_MASK}:
            physical = probe(self.vcpu, page & MASK_32)
            copy = None if physical is None else self._copies.get(physical >> 12)
            if copy is None:
                continue
            inside = {page + offset for offset in copy.sites if linear < page + offset < last}
            if inside:
                for found in inside - set(self._boundaries(linear, code, bits)):
                    if found < linear + len(code):
                        self._restore(copy, found & PAGE_MASK, (found & PAGE_MASK) + 1)

    def _boundaries(self, linear: int, code: bytes, bits: int) -> Iterator[int]:
        """Where the instructions of a block begin; it may be cut off where a trap stood in one's middle."""
        at = 0
        whole = code + read_code(self.vcpu, linear + len(code), MAX_LENGTH)
        while at < len(code):
            yield linear + at
            at += max(decode(whole[at : at + MAX_LENGTH], bits, 0).length, 1)

    def _patch(self, linear: int, site: Site) -> None:
        physical = probe(self.vcpu, linear)
        if physical is None:
            return
        number = physical >> 12
        if physical >= self.memory.ram_bytes or self.memory.is_window(physical):
            found = Finding(linear, site.text, site.name, "was not replaced: it lies in no RAM")
            if found not in self.findings and len(self.findings) < _MOST_SITES:
                self.found(found)
            return
        copy = self._copies.get(number)
        if copy is None:
            copy = self._new_copy(number)
        offset = physical & PAGE_MASK
        if offset not in copy.sites:
            copy.sites.add(offset)
            self.hidden.bytes[copy.at + offset] = _HLT
            self.engine.invalidate_code(copy.page + offset, 1)
            if len(self._sites) < _MOST_SITES:
                self._sites.add(physical)

    def _restore(self, copy: _Copy, first: int, end: int) -> None:
        """Make bytes of a copy what they are a copy of, without traps."""
        first = max(first, 0)
        copy.sites.difference_update(range(first, end))
        self.hidden.bytes[copy.at + first : copy.at + end] = copy.original[first:end]
        self.engine.invalidate_code(copy.page + first, end - first)

    def _new_copy(self, number: int) -> _Copy:
        if len(self._copies) >= _MOST_COPIES:
            self._drop_all()
        page = self.hidden.allocate()
        copy = _Copy(page, self.memory.read(number << 12, PAGE_SIZE))
        self.hidden.bytes[copy.at : copy.at + PAGE_SIZE] = copy.original
        self._copies[number] = copy
        self._split.fetch_from(number, self.hidden.host_address(page))
        self.pager.protect(number << 12, self._on_store)
        return copy

    # -- stores into code

    def _on_store(self, frame: int) -> None:
        """A page with traps is written."""
        if self._filling and self._in_reach(frame):
            state = self.vcpu.state
            if not self._stepping:
                self._stepping = True
                self._before = state.eflags & r.TF, self.services.read_dr(6)
            self._stepped.add(frame)
            self.pager.unprotect(frame, self._on_store)
            state.eflags |= r.TF
        else:
            self._drop(frame)

    def _in_reach(self, frame: int) -> bool:
        """Whether the block that begins at RIP may have traps in this page."""
        linear = self.vcpu.real.code_address()
        return any(
            probe(self.vcpu, page & MASK_32) == frame
            for page in (linear & ~PAGE_MASK, (linear & ~PAGE_MASK) + PAGE_SIZE)
        )

    def _drop(self, frame: int) -> None:
        """Run the page as it is, until it is scanned again."""
        self._stepped.discard(frame)
        copy = self._copies.pop(frame >> 12)
        self.pager.unprotect(frame, self._on_store)
        self._split.fetch_from(frame >> 12, None)
        self.engine.invalidate_code(copy.page, PAGE_SIZE)
        self.hidden.free(copy.page)

    def _drop_all(self) -> None:
        for number in list(self._copies):
            self._drop(number << 12)

    def on_event(self, vector: int, code: bytes) -> Action:
        """The instruction stepped over is done, or something came between: the copies follow."""
        if self._stepping and vector not in (r.PF_FAULT, EVENT_BLOCK):
            began = host_ns()
            guests = self._end_step()
            if vector == r.DB and not guests and not self.vcpu.state.exception_is_int:
                self.book(self._steps, began)
                return Action.RESUME
        return super().on_event(vector, code)

    def on_page_fault(self, linear: int, error_code: int, began: int) -> None:
        """As ever, but for a store into the page of the instruction itself."""
        self._filling = True
        try:
            super().on_page_fault(linear, error_code, began)
        except GuestFault:
            if self._stepping:
                self._end_step()
            raise
        finally:
            self._filling = False

    def _end_step(self) -> bool:
        """Let the copies follow what was written; say whether the guest steps too."""
        for frame in self._stepped:
            copy = self._copies[frame >> 12]
            now = self.memory.read(frame, PAGE_SIZE)
            changed = int.from_bytes(now, "little") ^ int.from_bytes(copy.original, "little")
            if changed:
                first, last = (changed & -changed).bit_length() - 1 >> 3, changed.bit_length() - 1 >> 3
                copy.original = now
                self._restore(copy, first - MAX_LENGTH + 1, last + 1)
            self.pager.protect(frame, self._on_store)
        self._stepped.clear()
        self._stepping = False
        stepping, dr6 = self._before
        if not stepping:
            self.vcpu.state.eflags &= ~r.TF
            self.services.write_dr(6, dr6)
        return bool(stepping)
