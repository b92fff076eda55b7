"""Paging by shadow tables: the guest's control registers are virtual, the processor walks the monitor's.

Real mode and unpaged protected mode run as they are. When the guest turns paging on, the processor gets
PAE or 4-level paging on the shadow tables; the guest goes on reading the CR0, CR3 and CR4 it wrote.

A task switch loads CR3 by itself, in the middle of its work. The accelerated engine tells of the next access
before it is made, and the processor stays on the shadow tables. The portable engine cannot, and is refused:
the processor would walk the guest's own tables, which may name the monitor's pages.
"""

from __future__ import annotations

import contextlib
from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.engine import Engine
from vmm.cpu.monitoring import Touch
from vmm.cpu.paging import PF_W, GuestFault
from vmm.cpu.processor import Processor
from vmm.cpu.view import EngineView
from vmm.memory import Memory
from vmm.techniques.hidden import HiddenMemory
from vmm.techniques.shadow_pager import ShadowPager

NEEDS: Final = frozenset(
    {"pf", "invlpg", "cr0-read", "cr0-write", "cr3-read", "cr3-write", "cr4-read", "cr4-write"}
)
_PF_RESERVED: Final = 1 << 3
_PAGING_BITS: Final = {
    0: r.CR0_PG | r.CR0_WP,
    4: r.CR4_PSE | r.CR4_PAE | r.CR4_PGE | r.CR4_SMEP | r.CR4_SMAP,
}


class GuestView(EngineView):
    """The real processor, but for the control registers: those are what the guest wrote."""

    def __init__(self, engine: Engine, memory: Memory, paging: ShadowPaging) -> None:
        super().__init__(engine, engine.view.state, memory)
        self._paging = paging
        self.real_cr = self.state.cr
        self.cr = [0] * 5

    def write_cr(self, index: int, value: int) -> None:
        """Write a control register of the guest's, and of the real ones what must follow."""
        old, self.cr[index] = self.cr[index], value
        if index == 2:
            self.real_cr[2] = value
        else:
            self._paging.follow(index, old, value)


class ShadowPaging:
    """One guest's shadow paging. `view` stands in place of the engine's own."""

    needs = NEEDS

    def __init__(self, processor: Processor, memory: Memory, hidden: HiddenMemory) -> None:
        self._engine = engine = processor.live
        self.view = GuestView(engine, memory, self)
        self._pagers = {
            levels: ShadowPager(hidden, self.view, engine, levels=levels, wraps=False) for levels in (3, 4)
        }
        self.pager = self._pagers[3]
        engine.view = self.view
        processor.on_invlpg = self._invlpg

    def start(self) -> None:
        """Take the control registers as a reset, or a loader, left them; paging is off."""
        view = self.view
        state = self._engine.fetch().state
        for index in (0, 2, 3, 4):
            view.cr[index] = state.cr[index]
        self._engine.guard_root(0)
        if view.cr[0] & r.CR0_PG:
            self._turn_on(view.cr[0])
        self._engine.commit()

    # -- control registers

    def follow(self, index: int, old: int, new: int) -> None:
        """Have the real control registers be what a write of the guest's asks for."""
        engine = self._engine
        paged = self.view.cr[0] & r.CR0_PG
        if index == 0 and (old ^ new) & r.CR0_PG:
            if paged:
                self._turn_on(new)
            else:
                self._turn_off(new)
            return
        if index == 3:
            if paged:
                self.pager.new_address_space()
            else:
                engine.write_cr(3, new)
            return
        engine.write_cr(index, self._real(index, new) if paged else new)
        if paged and (old ^ new) & _PAGING_BITS[index]:
            self.pager.drop_all()

    def follow_task(self) -> None:
        """A task switch has set CR0.TS by itself: the guest is to read it."""
        view = self.view
        view.cr[0] = view.cr[0] & ~r.CR0_TS | view.real_cr[0] & r.CR0_TS

    @staticmethod
    def _real(index: int, value: int) -> int:
        """Bit 0 of the tables' rules: CR0.WP always, so that read-only entries hold; CR4.PAE always."""
        return value | r.CR0_WP if index == 0 else value | r.CR4_PAE

    def _turn_on(self, cr0: int) -> None:
        engine, view = self._engine, self.view
        self.pager = self._pagers[4 if view.efer & r.EFER_LME else 3]
        self.drop_all()
        engine.write_cr(4, self._real(4, view.cr[4]))
        engine.write_cr(3, self.pager.root)
        engine.write_cr(0, self._real(0, cr0))
        engine.guard_root(self.pager.root)

    def _turn_off(self, cr0: int) -> None:
        engine, view = self._engine, self.view
        engine.guard_root(0)
        engine.write_cr(0, cr0)
        engine.write_cr(3, view.cr[3])
        engine.write_cr(4, view.cr[4])

    def drop_all(self) -> None:
        """Forget every entry of both pagers, which share the monitor's pages."""
        for pager in self._pagers.values():
            pager.drop_all()

    def _invlpg(self, linear: int) -> None:
        if self.view.cr[0] & r.CR0_PG:
            self.pager.invalidate_page(linear)

    # -- page faults

    def fill(self, linear: int, error_code: int) -> None:
        """Make the entry that a page fault asks for.

        Raises:
            GuestFault: the guest's own tables deny the access.
        """
        if error_code & _PF_RESERVED:  # EFER.NXE was cleared: no entry has been reserved before
            self.pager.drop_all()
        self.pager.fill(linear, error_code)

    def touch(self, touch: Touch) -> None:
        """Map ahead what a task switch will touch; what the guest's tables deny faults by itself."""
        if touch.cr3:
            self.view.write_cr(3, touch.cr3)
        if self.view.cr[0] & r.CR0_PG:
            with contextlib.suppress(GuestFault):
                self.pager.fill(touch.linear, PF_W if touch.write else 0)
