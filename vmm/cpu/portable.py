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
from vmm.cpu.delivery import Event
from vmm.cpu.engine import (
    FETCH_ERRORS,
    Closed,
    Count,
    Handler,
    Kind,
    StopReason,
    TraceCall,
    Wiring,
)
from vmm.cpu.ledger import ExitLedger
from vmm.cpu.portable_events import PortableEvents
from vmm.cpu.portable_io import PortableIo
from vmm.cpu.reset import CR0_AFTER_RESET, write_reset_state
from vmm.cpu.state import CpuState
from vmm.cpu.view import EngineView
from vmm.errors import EngineError

SLICE: Final = 10_000  # instructions, when nothing is pending
WINDOW_STEPS: Final = 32  # single steps when an interrupt begins to wait for IF
WINDOW_SLICE: Final = 64  # then slices of 64 to 127, ever changing: a loop of one length, whose window
WINDOW_SCATTER: Final = 40503  # is an instruction or two, would always be looked at in the same place
VIRTUAL_SLICE: Final = 1_000  # under the virtual clock: the step in which time moves
NS_PER_INSTRUCTION: Final = 3
_CR_REGISTERS: Final = {0: x86.UC_X86_REG_CR0, 3: x86.UC_X86_REG_CR3, 4: x86.UC_X86_REG_CR4}
SLICE_EVENTS: Final = 100  # a slice ends after so many, too: a guest may fault for ever, running nothing


class PortableEngine(PortableEvents):
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
        self._line = self._nmi = self._halted = self._stopping = False
        self._renew_at_ns = self._host_ns() + engine.HOOK_AGE_NS
        self._waited = 0  # slices since one that ran with nothing waiting to be taken
        self.set_up_events()
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

    def _map_window(self, address: int, length: int, read: Any, write: Any) -> None:  # noqa: ANN401
        self._io.map_window(address, length, read, write)

    def map_ports(self, ports: PortRange) -> None:
        """Nothing to do: the bus is asked at each access."""

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
        self._nmi = self._halted = False
        self.reset_events()
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

    def route_all(self, monitor: Handler | None) -> None:
        """Have `monitor` decide: every event comes to Python here."""
        self._decide = monitor or self.wiring.on_event

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
