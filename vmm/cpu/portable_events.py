"""What leaves the guest on the portable engine: events by Unicorn's hooks, and interrupts between slices.

Every exception and interrupt is delivered in Python, or told of to a technique that stands between.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

import unicorn

from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.delivery import DeliveryOutcome, Event, deliver_event
from vmm.cpu.engine import (
    EVENT_BLOCK,
    EVENT_INTERRUPT,
    EVENT_NMI,
    EVENT_SYSCALL,
    EVENT_SYSENTER,
    EVENT_WINDOW,
    INTERCEPT_VECTOR,
    VMCB_EVENT_INTERRUPT,
    VMCB_EVENT_NMI,
    VMCB_EVENT_SOFTWARE,
    VMCB_EVENT_VALID,
    VMCB_EVENTINJ,
    Action,
    Engine,
    Kind,
)
from vmm.cpu.ledger import ExitLedger
from vmm.cpu.paging import GuestFault
from vmm.cpu.software_int import is_int1, software_int_bytes
from vmm.cpu.state import CpuState
from vmm.cpu.syscall_entry import ReadMsr, entry_bytes, syscall, sysenter
from vmm.cpu.view import EngineView

_SHUTDOWN: Final = 0x17F


class PortableEvents(Engine):
    """The half of the engine that handles events; `PortableEngine` is the other."""

    _ledger: ExitLedger
    _line: bool
    _nmi: bool

    def reset_events(self) -> None:
        """Nothing waits, nothing was told."""
        self._injected: Event | None = None
        self._tripled = False
        self._events_left = 0

    def set_up_events(self) -> None:
        """No technique stands between."""
        self.reset_events()
        self._decide = self.wiring.on_event  # or a technique's monitor
        self._flags: ctypes.c_uint32 | None = None  # see `set_monitored`
        self._eventinj: ctypes.c_uint64 | None = None  # of an assisted guest: see `set_assisted`
        self._interrupt_told = self._window_wanted = False
        self._watch_blocks, self._edge_hook = False, 0
        self._block: tuple[int, int] | None = None  # linear address and bytes of one that waits

    def _on_event(self, uc: Any, vector: int, data: Any) -> None:  # noqa: ANN401
        began = self._host_ns()
        view = self.fetch()
        state = view.state
        software = bool(state.exception_is_int) and vector < INTERCEPT_VECTOR
        # Unicorn never clears these itself: the next fault would arrive as #DF or at a wrong EIP
        state.old_exception, state.exception_is_int = -1, software
        if vector == _SHUTDOWN:
            self.shut_down()
            return
        kind = (
            Kind.INTERCEPT
            if vector >= INTERCEPT_VECTOR
            else Kind.SOFTWARE_INT
            if software
            else Kind.EXCEPTION
        )
        self.remember(kind, vector, state.error_code)
        monitored = self.monitored or self._eventinj is not None  # the technique counts and reports
        if self._ledger.trace is not None and not monitored:  # CS:EIP is still where it happened
            self._ledger.trace(kind, vector, state.error_code, 0, 0)
        detail = 0 if software else vector & 0xFF if kind is Kind.EXCEPTION else vector - INTERCEPT_VECTOR
        action = self._decide(vector, b"")
        state.old_exception, state.exception_is_int = -1, 0  # again: a handler may have fetched
        if action is Action.DELIVER:
            self._deliver(self._injected or self._event(vector, software))
            self._injected = None
        elif self._eventinj is not None:
            self._enter_guest()
        if not monitored:
            self._ledger.count(kind, self._host_ns() - began, detail)
        self.commit()
        self._events_left -= 1
        if self._events_left <= 0:
            self.uc.emu_stop()

    def _event(self, vector: int, software: bool) -> Event:
        view, state = self.view, self.view.state
        if software:  # Unicorn has moved RIP on; a fault met by the delivery belongs to the instruction
            following = state.rip
            state.rip -= software_int_bytes(view, vector)
            return Event(vector, software=True, next_rip=following)
        code = state.error_code if vector in r.VECTORS_WITH_ERROR_CODE else None
        return Event(vector, code, cr2=view.cr[2] if vector == r.PF_FAULT else None)

    def _deliver(self, event: Event) -> None:
        if deliver_event(self.view, event) is DeliveryOutcome.TRIPLE_FAULT:
            self.shut_down()

    def _raise(self, event: Event) -> None:
        """An exception the processor raises: a technique's, if one stands between."""
        if self._flags is None:
            self._deliver(event)
            return
        self.view.state.error_code = event.error_code or 0
        if self._decide(event.vector, b"") is Action.DELIVER:
            self._deliver(event)

    def shut_down(self) -> None:
        """Leave the slice."""
        self._tripled = True
        self.uc.emu_stop()

    def _on_invalid(self, uc: Any, data: Any) -> bool:  # noqa: ANN401
        if is_int1(self.fetch()):  # #DB behind it, [SDM2A] INT n
            self.view.rip += 1
            self.commit()
            self._on_event(uc, r.DB, data)
        else:
            self._on_event(uc, r.UD, data)
        return True

    def _on_syscall(self, uc: Any, data: Any) -> None:  # noqa: ANN401
        self._enter_kernel(Kind.SYSCALL, syscall)

    def _on_sysenter(self, uc: Any, data: Any) -> None:  # noqa: ANN401
        self._enter_kernel(Kind.SYSENTER, sysenter)

    def _enter_kernel(self, kind: Kind, entry: Callable[[EngineView, ReadMsr, int], None]) -> None:
        began = self._host_ns()
        view = self.fetch()
        length = entry_bytes(view)
        if self._flags is not None:
            self._decide(EVENT_SYSCALL if kind is Kind.SYSCALL else EVENT_SYSENTER, b"")
            view.rip -= length
            self.commit()
            return
        try:
            entry(view, self.read_msr, view.rip + length)
            self._ledger.account(kind, view.regs[r.RAX], 0, 0, began)
        except GuestFault as fault:
            self._deliver(Event(fault.vector, fault.error_code))
        view.rip -= length  # Unicorn adds it after the hook
        self.commit()

    def _take_interrupt(self) -> None:
        if self._eventinj is not None and self._assisted_window():
            return
        if not (self._line or self._nmi or self._injected):
            return
        if self._flags is not None:
            self._tell_of_interrupt(self._flags)
            return
        view = self.fetch()
        state = view.state
        if self._injected is not None:
            event, self._injected = self._injected, None
            self._deliver(event)
        elif state.hflags & s.HF_INHIBIT_IRQ:
            return
        elif self._nmi and not state.hflags2 & s.HF2_NMI_BLOCKED:
            self._nmi = False
            state.hflags2 |= s.HF2_NMI_BLOCKED
            self._interrupt(Kind.NMI, r.NMI)
        elif self._line and state.eflags & r.IF:
            self._interrupt(Kind.INTERRUPT, self.wiring.acknowledge())
        self.commit()

    def _interrupt(self, kind: Kind, vector: int) -> None:
        began = self._host_ns()
        self.remember(kind, vector, 0)
        self._ledger.account(kind, vector, 0, 0, began)
        self._deliver(Event(vector, external=True))

    # -- for a technique

    def set_monitored(self, flags: ctypes.c_uint32 | None) -> None:
        """Have events told of."""
        self._flags = flags
        self.monitored = flags is not None

    def open_ports(self, on: bool) -> None:
        """Remember it for `PortableIo`."""
        self.ports_closed = not on

    def set_assisted(self, on: bool) -> None:
        """Look at EVENTINJ wherever the guest is entered."""
        at = self.memory_map.hidden_host + VMCB_EVENTINJ
        self._eventinj = ctypes.c_uint64.from_address(at) if on else None
        self._interrupt_told = self._window_wanted = False

    def want_window(self) -> None:
        """Look for it between slices."""
        self._window_wanted = True

    def _enter_guest(self) -> bool:
        """Carry out EVENTINJ, whatever IF and the shadow say; False: there was nothing."""
        assert self._eventinj is not None
        value = self._eventinj.value
        if not value & VMCB_EVENT_VALID:
            return False
        self._eventinj.value = 0
        view, vector = self.view, value & 0xFF
        view.state.hflags &= ~s.HF_INHIBIT_IRQ
        kind = value >> 8 & 7
        if kind in (VMCB_EVENT_INTERRUPT, VMCB_EVENT_NMI):
            self._interrupt_told = False
            if kind == VMCB_EVENT_NMI:
                view.state.hflags2 |= s.HF2_NMI_BLOCKED
            self.remember(Kind.NMI if kind else Kind.INTERRUPT, vector, 0)
            self._deliver(Event(vector, external=True))
        elif kind == VMCB_EVENT_SOFTWARE:
            self._deliver(Event(vector, software=True, next_rip=view.rip))
        else:
            code = value >> 32 if vector in r.VECTORS_WITH_ERROR_CODE else None
            self._deliver(Event(vector, code))
        return True

    def _assisted_window(self) -> bool:
        """The window under hardware assistance, as the accelerator has it; True: leave all else for later."""
        if self._injected is not None:
            return False
        state = self.fetch().state
        if not self._enter_guest():
            event = self._assisted_event(state)
            if event is None:
                return True
            self._decide(event, b"")
            self._enter_guest()
        self.commit()
        return True

    def _assisted_event(self, state: CpuState) -> int | None:
        shadow = state.hflags & s.HF_INHIBIT_IRQ
        if self._nmi and not shadow and not state.hflags2 & s.HF2_NMI_BLOCKED:
            self._nmi = False
            return EVENT_NMI
        if self._line and not self._interrupt_told:
            self._interrupt_told = True
            return EVENT_INTERRUPT
        if self._line and self._window_wanted and not shadow and state.eflags & r.IF:
            self._window_wanted = False
            return EVENT_WINDOW
        return None

    def watch_blocks(self, on: bool) -> None:
        """Hook the translation of blocks."""
        if on and not self._edge_hook:
            self._edge_hook = self.uc.hook_add(unicorn.UC_HOOK_EDGE_GENERATED, self._on_edge)
        self._watch_blocks, self._block = on, None

    def flush_page(self, linear: int) -> None:
        """Drop the whole TLB: the public API has nothing smaller."""
        self.flush_tlb()

    def _on_edge(self, uc: Any, block: Any, previous: Any, data: Any) -> None:  # noqa: ANN401
        if self._watch_blocks and self.fetch().cpl != 3:
            self._block = block.pc, block.size
            uc.emu_stop()

    def _tell_of_block(self) -> None:
        waiting, self._block = self._block, None
        view = self.fetch()
        if waiting is not None and view.code_address() == waiting[0] and view.cpl != 3:
            self.block_bytes = waiting[1]
            self._decide(EVENT_BLOCK, b"")  # its pages may be hidden from the view
            self.commit()

    def _tell_of_interrupt(self, flags: ctypes.c_uint32) -> None:
        state = self.fetch().state
        if self._injected is not None:
            event, self._injected = self._injected, None
            self._raise(event)
        elif state.hflags & s.HF_INHIBIT_IRQ:
            return
        elif self._nmi and not state.hflags2 & s.HF2_NMI_BLOCKED:
            self._nmi = False
            state.hflags2 |= s.HF2_NMI_BLOCKED
            if self._decide(EVENT_NMI, b"") is Action.DELIVER:
                self._deliver(Event(r.NMI, external=True))
        elif self._line and flags.value & r.IF and self._decide(EVENT_INTERRUPT, b"") is Action.DELIVER:
            self._deliver(Event(self.wiring.acknowledge(), external=True))
        self.commit()
