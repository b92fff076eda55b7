"""The portable engine: Unicorn's public API and the proved overlay, no compiler needed.

Every exception and interrupt is delivered in Python (`delivery.py`). The guest runs in slices of
a number of instructions, the only stop of the public API that never lands inside one; interrupts
are taken between slices, HLT arrives as an intercept. An interrupt, NMI or stop that an OUT brings
about ends the slice behind that OUT (no other callback may: INS and MMIO stop within instructions).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

import unicorn
from unicorn import x86_const as x86

from devices.backplane import PortRange
from vmm.cpu import engine, layout
from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.count_hook import drop_count_hook
from vmm.cpu.cpuid import CpuModel
from vmm.cpu.delivery import DeliveryOutcome, Event, deliver_event
from vmm.cpu.engine import (
    EVENT_BLOCK,
    EVENT_INTERRUPT,
    EVENT_NMI,
    EVENT_SYSCALL,
    EVENT_SYSENTER,
    EVENT_WINDOW,
    FETCH_ERRORS,
    INTERCEPT_VECTOR,
    VMCB_EVENT_INTERRUPT,
    VMCB_EVENT_NMI,
    VMCB_EVENT_SOFTWARE,
    VMCB_EVENT_VALID,
    VMCB_EVENTINJ,
    Action,
    Closed,
    Count,
    Engine,
    Kind,
    StopReason,
    TraceCall,
    Wiring,
)
from vmm.cpu.ledger import ExitLedger
from vmm.cpu.paging import GuestFault
from vmm.cpu.portable_io import PortableIo
from vmm.cpu.reset import CR0_AFTER_RESET, write_reset_state
from vmm.cpu.software_int import is_int1, read_code, software_int_bytes
from vmm.cpu.state import CpuState
from vmm.cpu.syscall_entry import ReadMsr, entry_bytes, syscall, sysenter
from vmm.cpu.view import EngineView
from vmm.errors import EngineError

SLICE: Final = 10_000  # instructions, when nothing is pending
WINDOW_STEPS: Final = 32  # single steps when an interrupt begins to wait for IF
WINDOW_SLICE: Final = 64  # then slices of 64 to 127, ever changing: a loop of one length, whose window
WINDOW_SCATTER: Final = 40503  # is an instruction or two, would always be looked at in the same place
VIRTUAL_SLICE: Final = 1_000  # under the virtual clock: the step in which time moves
NS_PER_INSTRUCTION: Final = 3
_CR_REGISTERS: Final = {0: x86.UC_X86_REG_CR0, 3: x86.UC_X86_REG_CR3, 4: x86.UC_X86_REG_CR4}
_SHUTDOWN: Final = 0x17F
SLICE_EVENTS: Final = 100  # a slice ends after so many, too: a guest may fault for ever, running nothing


class PortableEngine(Engine):
    """Correct wherever the layout proves out; at most about 100 million instructions a second."""

    name = "portable"
    needs = frozenset({"hlt", "rdtsc"})

    def __init__(self, wiring: Wiring, cpu: CpuModel, *, virtual_clock: bool = False) -> None:
        super().__init__(wiring, cpu)
        layout.prove_state()
        self.uc.ctl_exits_enabled(True)
        self._context = self.uc.context_save()
        pointer = ctypes.cast(self._context._context, ctypes.c_void_p).value
        assert pointer is not None
        self.view = EngineView(self, CpuState.from_address(pointer + layout.CONTEXT_DATA), wiring.memory)
        self._ledger = ExitLedger()
        self._io = PortableIo(self, wiring, self._ledger)
        self._virtual = virtual_clock
        self._deadline_ns = 0
        self._line = self._nmi = self._halted = self._stopping = self._tripled = False
        self._events_left = 0
        self._renew_at_ns = self._host_ns() + engine.HOOK_AGE_NS
        self._waited = 0  # slices since one that ran with nothing waiting to be taken
        self._injected: Event | None = None
        self._flags: ctypes.c_uint32 | None = None  # of a technique: see `set_monitored`
        self._eventinj: ctypes.c_uint64 | None = None  # of an assisted guest: see `set_assisted`
        self._interrupt_told = self._window_wanted = False
        self._watch_blocks, self._edge_hook = False, 0
        self._block: tuple[int, int] | None = None  # linear address and bytes of one that waits
        self.map_memory()
        self._install_hooks()
        self.reset()

    def _install_hooks(self) -> None:
        hook: Callable[..., int] = self.uc.hook_add
        hook(unicorn.UC_HOOK_INTR, self._on_event)
        hook(unicorn.UC_HOOK_INSN_INVALID, self._on_invalid)
        hook(unicorn.UC_HOOK_MEM_WRITE_PROT, lambda *_: True)
        for callback, instruction in (
            (self._io.on_in, x86.UC_X86_INS_IN),
            (self._io.on_out, x86.UC_X86_INS_OUT),
            (self._io.on_cpuid, x86.UC_X86_INS_CPUID),
            (self._on_syscall, x86.UC_X86_INS_SYSCALL),
            (self._on_sysenter, x86.UC_X86_INS_SYSENTER),
        ):
            hook(unicorn.UC_HOOK_INSN, callback, None, 1, 0, instruction)

    # -- state

    def fetch(self) -> EngineView:
        """Copy the processor's state into the overlay."""
        self.uc.context_update(self._context)
        return self.view

    def commit(self) -> None:
        """Copy the overlay back."""
        self.uc.context_restore(self._context)

    def read_rflags(self) -> int:
        """Work the flags out through the public API; the overlay must agree with the processor."""
        state = self.view.state
        if state.cc_op == s.CC_OP_EFLAGS:
            return (
                (state.eflags & ~(r.ARITHMETIC_FLAGS | r.DF))
                | state.cc_src
                | (r.DF if state.df == -1 else 0)
                | 2
            )
        return int(self.uc.reg_read(x86.UC_X86_REG_EFLAGS))

    def write_cr(self, index: int, value: int) -> None:
        """Write through the public API, which knows the side effects."""
        self.commit()
        self.uc.reg_write(_CR_REGISTERS[index], value)
        self.fetch()

    def flush_tlb(self) -> None:
        """Drop the whole TLB."""
        self.uc.ctl(unicorn.UC_CTL_TLB_FLUSH, unicorn.UC_CTL_IO_WRITE)

    # -- what leaves the guest

    def counts(self) -> dict[tuple[Kind, int], Count]:
        """Return the exits counted so far."""
        return self._ledger.counts

    def set_trace(self, trace: TraceCall | None) -> None:
        """Have each exit reported."""
        self._ledger.trace = trace

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
        action = self.wiring.on_event(vector, b"")
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
        if self.wiring.on_event(event.vector, b"") is Action.DELIVER:
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

    def _map_window(self, address: int, length: int, read: Any, write: Any) -> None:  # noqa: ANN401
        self._io.map_window(address, length, read, write)

    def map_ports(self, ports: PortRange) -> None:
        """Nothing to do: the bus is asked at each access."""

    def _on_syscall(self, uc: Any, data: Any) -> None:  # noqa: ANN401
        self._enter_kernel(Kind.SYSCALL, syscall)

    def _on_sysenter(self, uc: Any, data: Any) -> None:  # noqa: ANN401
        self._enter_kernel(Kind.SYSENTER, sysenter)

    def _enter_kernel(self, kind: Kind, entry: Callable[[EngineView, ReadMsr, int], None]) -> None:
        began = self._host_ns()
        view = self.fetch()
        length = entry_bytes(view)
        if self._flags is not None:
            self.wiring.on_event(EVENT_SYSCALL if kind is Kind.SYSCALL else EVENT_SYSENTER, b"")
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

    # -- control

    def reset(self) -> None:
        """Bring back the state after power-on."""
        if self._power_on is None:
            self.uc.reg_write(x86.UC_X86_REG_CR0, CR0_AFTER_RESET)
            write_reset_state(self.fetch(), self.cpu.leaves[1][0])
            self.commit()
            self._power_on = self.uc.context_save()
        self.uc.context_restore(self._power_on)
        self.fetch()
        self._injected, self._nmi, self._halted = None, False, False
        self.set_up_hidden_page()
        self._arm_after_reset()
        self.commit()
        self.flush_tlb()

    def run(self, deadline_ns: int) -> StopReason:
        """Run slices until the deadline, a stop, HLT or a triple fault, or until the host's patience ends."""
        self.begin_run()
        if self._host_ns() >= self._renew_at_ns:
            drop_count_hook(self)
            self._renew_at_ns = self._host_ns() + engine.HOOK_AGE_NS
        impatient_ns = self._host_ns() + engine.PATIENCE_NS
        self._deadline_ns = deadline_ns
        while True:
            self._take_interrupt()
            if self._tripled:
                self._tripled = False
                return StopReason.TRIPLE_FAULT
            if self._stopping:
                self._stopping = False
                return StopReason.STOPPED
            if self._now() >= self._deadline_ns:
                return StopReason.DEADLINE
            self._run_slice(self._slice())
            if self._halted:
                self._halted = False
                return StopReason.HALTED
            if self._host_ns() >= impatient_ns and not self._tripled:
                return StopReason.DEADLINE

    def _now(self) -> int:
        return self.wiring.now_ns()

    def _slice(self) -> int:
        if self._line or self._nmi:
            self._waited += 1
            if self._waited < WINDOW_STEPS or self.view.state.hflags & s.HF_INHIBIT_IRQ:
                return 1
            return WINDOW_SLICE + (self._waited * WINDOW_SCATTER >> 10 & WINDOW_SLICE - 1)
        self._waited = 0  # here only: a timer that is never served asks anew at each tick
        if self._virtual:
            left = (self._deadline_ns - self._ledger.virtual_ns) // NS_PER_INSTRUCTION
            return max(2, min(VIRTUAL_SLICE, left + 1))
        return SLICE

    def _run_slice(self, instructions: int) -> None:
        state = self.fetch().state
        if state.old_exception != -1:  # of a fault that a stop cut off: it will come again
            state.old_exception = -1
            self.commit()
        self._events_left = SLICE_EVENTS
        try:
            self.uc.emu_start(state.rip, 0, count=instructions)
        except unicorn.UcError as error:
            self.fetch()
            if error.errno not in FETCH_ERRORS:
                raise EngineError(
                    f"the engine failed at {state.segs[r.CS].selector:04x}:{state.rip:x}: {error}"
                ) from error
            if self._needs_the_hole():
                self._raise(Event(r.UD))
            self.commit()
        if self._io.error is not None:
            kept, self._io.error = self._io.error, None
            raise kept
        if self._io.fault is not None:  # the view still is what it was at the instruction
            fault, self._io.fault = self._io.fault, None
            self._raise(fault)
            self.commit()
        if self._block is not None:
            self._tell_of_block()
        self._ledger.virtual_ns += instructions * NS_PER_INSTRUCTION

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
        """The window under hardware assistance, as accel.c has it; True: leave all else for later."""
        if self._injected is not None:
            return False
        state = self.fetch().state
        if not self._enter_guest():
            event = self._assisted_event(state)
            if event is None:
                return True
            self.wiring.on_event(event, b"")
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
            self.wiring.on_event(EVENT_BLOCK, read_code(view, *waiting))
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
            if self.wiring.on_event(EVENT_NMI, b"") is Action.DELIVER:
                self._deliver(Event(r.NMI, external=True))
        elif (
            self._line and flags.value & r.IF and self.wiring.on_event(EVENT_INTERRUPT, b"") is Action.DELIVER
        ):
            self._deliver(Event(self.wiring.acknowledge(), external=True))
        self.commit()

    def stop(self) -> None:
        """Return after the current slice, or after the OUT that is under way."""
        self._stopping = True
        self._end_slice()

    def _end_slice(self) -> None:
        if self._io.within_out:
            self.uc.emu_stop()

    def halt(self) -> None:
        """HLT was emulated: leave the slice; the intercept is an instruction boundary."""
        self._halted = True
        self.uc.emu_stop()

    def deadline_moved(self, deadline_ns: int) -> None:
        """Look at it after this slice; else it would wait for the host to end this run, some time."""
        self._deadline_ns = min(self._deadline_ns, deadline_ns)

    def set_interrupt(self, level: bool) -> None:
        """Drive INTR; looked at between slices."""
        if level and not self._line:
            self._end_slice()
        if not level:
            self._interrupt_told = self._window_wanted = False
        self._line = level
        if self._mirror is not None:
            self._mirror.value = level

    @property
    def interrupt_line(self) -> bool:
        """The level looked at between slices."""
        return self._line

    def raise_nmi(self) -> None:
        """Latch one NMI."""
        self._nmi = True
        self._end_slice()

    @property
    def nmi_pending(self) -> bool:
        """Whether the latch is set and no NMI handler runs."""
        return self._nmi and not self.fetch().state.hflags2 & s.HF2_NMI_BLOCKED

    def inject(self, vector: int, error_code: int = 0) -> None:
        """Queue one exception."""
        self._injected = Event(vector, error_code if vector in r.VECTORS_WITH_ERROR_CODE else None)

    def set_a20(self, enabled: bool) -> None:
        """Set the address mask in the CPU state."""
        view = self.fetch()
        view.gate_a20(enabled)
        view.state.a20_mask = -1 if enabled else ~(1 << 20)
        self.commit()
        self.flush_tlb()

    def route_to_python(self, vector: int, enabled: bool) -> None:
        """Nothing to do: every event comes to Python here."""

    def route_all(self, on: bool) -> None:
        """Nothing to do."""

    @property
    def virtual_ns(self) -> int:
        """Virtual time spent by executed slices, with what `skip_to` added."""
        return self._ledger.virtual_ns

    def skip_to(self, now_ns: int) -> None:
        """Move virtual time forward: the processor slept."""
        self._ledger.virtual_ns = max(now_ns, self._ledger.virtual_ns)

    def close(self) -> None:
        """Release Unicorn. Idempotent."""
        gone: Any = Closed()
        self.uc = self.view = gone
