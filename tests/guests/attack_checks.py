"""What must hold of the monitor's own memory after an attack, whatever the guest made of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from vmm.cpu import registers as r
from vmm.cpu.paging import MASK_32, PTE_P, PTE_U
from vmm.memory import MONITOR_BASE
from vmm.techniques.base import Technique
from vmm.techniques.deprivileged import Deprivileged
from vmm.techniques.hardware.technique import Hardware
from vmm.techniques.hidden import HiddenMemory
from vmm.techniques.shadow_pager import ShadowPager
from vmm.techniques.translation.cache import Cache
from vmm.techniques.translation.hole import HOLE_BYTES

SENTINEL: Final = bytes(range(1, 256)) * 16
MOST_SENTINELS: Final = 500
EACH: Final = 16  # pages between two
TABLE_DWORDS: Final = 2 * (64 << 10) // 4  # GDT and LDT, one behind the other
REACH: Final = 8 << 30  # where 32-bit code in compatibility mode can lead, with room to spare
FRAME: Final = (1 << 52) - 1 & ~0xFFF


class Sentinels:
    """Pages of the monitor's that nobody may change: one before each `EACH` that it takes."""

    def __init__(self, hidden: HiddenMemory) -> None:
        self._hidden, self._allocate = hidden, hidden.allocate
        self._pages: list[int] = []
        self._taken = 0
        self._put()
        hidden.allocate = self._instead  # type: ignore[method-assign]

    def _put(self) -> None:
        at = self._allocate() - MONITOR_BASE
        self._hidden.bytes[at : at + len(SENTINEL)] = SENTINEL
        self._pages.append(at)

    def _instead(self) -> int:
        self._taken += 1
        if self._taken % EACH == 0 and len(self._pages) < MOST_SENTINELS:
            self._put()
        return self._allocate()

    def check(self) -> None:
        """They are as they were, and what was never taken is empty."""
        own = self._hidden
        for at in self._pages:
            assert bytes(own.bytes[at : at + len(SENTINEL)]) == SENTINEL
        assert not np.frombuffer(own.bytes[own._next - MONITOR_BASE :], dtype=np.uint64).any()


def hidden_of(technique: Technique) -> HiddenMemory | None:
    """The memory that is the technique's own."""
    if isinstance(technique, Hardware):
        tables = technique.nested.tables if technique.nested else pagers_of(technique)[0]
        return tables._hidden
    return technique.hidden if isinstance(technique, Deprivileged) else None


def pagers_of(technique: Technique) -> list[ShadowPager]:
    """Those whose tables the guest runs on."""
    if isinstance(technique, Hardware):
        return list(technique.shadow._pagers.values()) if technique.shadow else []
    return [technique.pager] if isinstance(technique, Deprivileged) else []


def own_pages(pager: ShadowPager) -> Iterator[tuple[int, int]]:
    """The leaf entries within a guest's reach that lead to pages of the monitor's, with their addresses."""
    words = pager._hidden.words

    def walk(table: int, linear: int, shift: int) -> Iterator[tuple[int, int]]:
        at = table - MONITOR_BASE >> 3
        for index, entry in enumerate(words[at : at + 512]):
            here = linear + (index << shift)
            if here >= REACH:
                return
            if entry & PTE_P and shift > 12:
                yield from walk(entry & FRAME, here, shift - 9)
            elif entry & PTE_P and entry & FRAME >= MONITOR_BASE:
                yield here & MASK_32, entry

    yield from walk(pager.root, 0, 39 if pager._levels == 4 else 30)


def check(technique: Technique) -> None:
    """The guest has none of the monitor's pages but the cache's data, and no descriptor of ring 0."""
    for pager in pagers_of(technique):
        for linear, entry in own_pages(pager):
            assert isinstance(technique, Cache), hex(linear)
            assert linear & ~(HOLE_BYTES - 1) == technique.hole.linear
            assert entry & FRAME in technique._data.pages
            assert not entry & PTE_U
    if isinstance(technique, Deprivileged):
        tables = np.frombuffer(
            technique.hidden.bytes, dtype="<u4", count=TABLE_DWORDS, offset=technique.descriptors._at
        )
        high = tables[1::2]
        used = high[high != 0]
        assert (used & r.DESC_S).all()
        assert not (used[(used & r.DESC_CODE) != 0] & r.DESC_L).any()
        if technique.running and not technique.vcpu.inner:
            assert (used[(used & r.DESC_P) != 0] >> r.DESC_DPL_SHIFT & 3).all()
