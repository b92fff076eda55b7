"""Paging by nested tables: the guest's own walk, each of its addresses through the monitor's tables."""

from __future__ import annotations

from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.engine import Engine
from vmm.cpu.monitoring import Touch
from vmm.cpu.paging import MASK_32, PF_W, GuestFault, Trail, walk
from vmm.memory import Memory
from vmm.techniques.hardware.nested import NestedTables
from vmm.techniques.hidden import HiddenMemory


class NestedPaging:
    """Arms the engine's nested walk and fills its tables. The guest's unpaged modes go through them too."""

    needs: frozenset[str] = frozenset()

    def __init__(self, engine: Engine, memory: Memory, hidden: HiddenMemory) -> None:
        self._engine = engine
        self.tables = NestedTables(memory, hidden)

    def start(self) -> None:
        """Point the processor at the tables, emptied."""
        engine = self._engine
        self.tables.clear()
        state = engine.fetch().state
        state.nested_cr3, state.nested_mode = self.tables.root, s.NESTED_4_LEVELS
        state.hflags2 |= s.HF2_NPT
        engine.commit()
        engine.flush_tlb()

    def touch(self, touch: Touch) -> None:
        """Map ahead what a task switch will touch, the guest's page tables too."""
        view = self._engine.view
        physical = touch.linear & MASK_32
        trail: Trail = ()
        if view.cr[0] & r.CR0_PG:
            try:
                physical, trail = walk(view, touch.linear, PF_W if touch.write else 0)
            except GuestFault:  # the processor will find out by itself
                return
        for address in (*(at for at, _ in trail), physical):
            if self.tables.lookup(address) is None:
                self.fill(address)

    def fill(self, address: int) -> None:
        """Map what a nested page fault asks for."""
        if self.tables.fill(address):
            self._engine.flush_tlb()
