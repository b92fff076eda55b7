"""Binary translation by patching: a one-byte trap in place of each sensitive instruction, found just in time.

A block is scanned after the engine has translated it and before it runs. The page it lies in gets a copy
from which instructions are fetched, with HLT where a sensitive instruction begins; data reads, the
guest's own and those of devices, go on seeing the page itself, which is never changed. Jumps into the
middle of an instruction find what they would have found, since one byte is replaced and blocks that
begin there are scanned on their own.

A write to such a page, whoever writes, drops the copy; the page is scanned again when it next runs.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu.accelerated import AcceleratedEngine
from vmm.cpu.paging import PAGE_MASK, PAGE_SIZE, probe
from vmm.cpu.processor import Processor
from vmm.cpu.segmentation import code_bits
from vmm.errors import ConfigError
from vmm.memory import MONITOR_BASE, Memory
from vmm.techniques.hidden import OutOfPagesError
from vmm.techniques.sites import find_sites
from vmm.techniques.translation.common import Translation

_HLT: Final = 0xF4
SCANNED: Final = ("scan",)


class _Copy:
    """The instruction view of one page: where it lies, and which of its bytes are traps."""

    __slots__ = ("page", "sites")

    def __init__(self, page: int) -> None:
        self.page = page
        self.sites: set[int] = set()


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
        self._scan = self.exits.row("scan.block", SCANNED)
        self.patched_sites = 0

    def hand_back(self) -> None:
        """Real mode runs the guest's own code."""
        for number in list(self._copies):
            self._drop(number << 12)
        super().hand_back()

    def on_block(self, code: bytes) -> None:
        """Put traps where the block has sensitive instructions."""
        self._scan.count += 1
        real = self.vcpu.real
        for site in find_sites(code, code_bits(real)):
            if site.goes_wrong:
                self._patch(real.code_address(site.offset))

    def _patch(self, linear: int) -> None:
        physical = probe(self.vcpu, linear)
        if physical is None or not self.memory.is_ram(physical & ~PAGE_MASK, PAGE_SIZE):
            return
        number = physical >> 12
        copy = self._copies.get(number)
        if copy is None:
            copy = self._new_copy(number)
        offset = physical & PAGE_MASK
        if offset not in copy.sites:
            copy.sites.add(offset)
            self.hidden.bytes[copy.page - MONITOR_BASE + offset] = _HLT
            self.engine.invalidate_code(copy.page + offset, 1)
            self.patched_sites += 1

    def _new_copy(self, number: int) -> _Copy:
        try:
            copy = _Copy(self.hidden.allocate())
        except OutOfPagesError:
            self.pager.drop_all()
            copy = _Copy(self.hidden.allocate())
        at = copy.page - MONITOR_BASE
        self.hidden.bytes[at : at + PAGE_SIZE] = self.memory.read(number << 12, PAGE_SIZE)
        self._copies[number] = copy
        self._split.fetch_from(number, self.hidden.host_address(copy.page))
        self.pager.protect(number << 12, self._drop)
        return copy

    def _drop(self, frame: int) -> None:
        """The page is written: run it as it is, until it is scanned again."""
        copy = self._copies.pop(frame >> 12)
        self.pager.unprotect(frame, self._drop)
        self._split.fetch_from(frame >> 12, None)
        self.engine.invalidate_code(copy.page, PAGE_SIZE)
        self.hidden.free(copy.page)
