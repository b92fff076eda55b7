"""The processor of a machine: an engine, its event router, intercepts, CPUID and MSRs, put together."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from unicorn.x86_const import UC_X86_REG_DR0

from vmm.bus import PortBus
from vmm.cpu import cpuid, msr
from vmm.cpu import registers as r
from vmm.cpu.accel import LIBRARY, library
from vmm.cpu.accelerated import AcceleratedEngine
from vmm.cpu.emulate import Outcome, emulate
from vmm.cpu.engine import Action, Engine, Wiring
from vmm.cpu.intercepts import TASK_PRIORITY, Intercepts
from vmm.cpu.paging import GuestFault
from vmm.cpu.portable import PortableEngine
from vmm.cpu.ring import ExitRing
from vmm.cpu.router import EventRouter
from vmm.cpu.state import HF2_NMI_BLOCKED, HF_INHIBIT_IRQ
from vmm.errors import ConfigError, EngineError
from vmm.memory import Memory

ENGINE_VARIABLE: Final = "TRAPLINE_ENGINE"
ENGINES: Final = ("auto", "accelerated", "portable")
# Looked up once: reading a member of an enum costs as much as a call
_RESUME, _DELIVER = Action.RESUME, Action.DELIVER
_UNHANDLED, _SHADOW = Outcome.UNHANDLED, Outcome.INTERRUPT_SHADOW
_DR_FIXED: Final = {6: 0xFFFF_0FF0, 7: 0x400}
_DR6_BS: Final = 1 << 14  # single step, [SDM3] §17.2.3


@dataclass(frozen=True)
class ProcessorOptions:
    """What the user chooses about the processor. `apic` is its local APIC, if it has one."""

    engine: str = "auto"
    model: str = cpuid.DEFAULT_MODEL
    virtual_clock: bool = False
    ignore_unknown_msrs: bool = False
    apic: msr.LocalApic | None = None


def choose_engine(wanted: str) -> tuple[str, str]:
    """Return the engine that `wanted` (or TRAPLINE_ENGINE, where it is `auto`) means, and why."""
    source = "asked for"
    if wanted == "auto" and os.environ.get(ENGINE_VARIABLE):
        wanted, source = os.environ[ENGINE_VARIABLE], f"{ENGINE_VARIABLE} says so"
    if wanted not in ENGINES:
        raise ConfigError(f"no engine {wanted!r}; there are: {', '.join(ENGINES)}")
    if wanted == "portable":
        return wanted, source
    try:
        library()
    except EngineError as error:
        if wanted == "auto":
            return "portable", str(error)
        raise
    return "accelerated", source if wanted != "auto" else f"{LIBRARY.name} is built and loads"


class Processor:
    """One processor. Everything that leaves the guest passes `router`."""

    def __init__(
        self,
        memory: Memory,
        bus: PortBus,
        acknowledge: Callable[[], int],
        now_ns: Callable[[], int] | None,
        options: ProcessorOptions,
        ring: ExitRing | None = None,
    ) -> None:
        """Build the engine. `now_ns` None: virtual time is the engine's own, of executed code."""
        model = cpuid.model(options.model)
        self.engine_name, self.engine_reason = choose_engine(options.engine)
        self.router = EventRouter(self.on_intercept, self._on_route)
        self.ring = ring if ring is not None else ExitRing()
        self.engine: Engine | None = None
        self.apic = options.apic
        self.identity = cpuid.Cpuid(model, has_apic=self._has_apic)
        wiring = Wiring(
            memory, bus, acknowledge, self.router.dispatch, self.identity,
            now_ns if now_ns is not None else self.virtual_now_ns, self.ring,
        )  # fmt: skip
        kind = AcceleratedEngine if self.engine_name == "accelerated" else PortableEngine
        engine = kind(wiring, model, virtual_clock=options.virtual_clock)
        self.engine = engine
        self.live = engine
        self.msrs = msr.Msrs(
            model,
            read_tsc=engine.read_tsc,
            write_tsc=engine.write_tsc,
            ignore_unknown=options.ignore_unknown_msrs,
            apic=options.apic,
        )
        self.intercepts = Intercepts(engine, () if options.apic is None else TASK_PRIORITY)
        self.last_invlpg = 0
        self.on_invlpg: Callable[[int], None] = engine.flush_page
        self._settle()

    @property
    def real_interruptible(self) -> bool:
        """Whether EFLAGS.IF is set."""
        return bool(self.live.fetch().state.eflags & r.IF)

    def acknowledge(self) -> int:
        """Carry out the interrupt controller's INTA cycle; return the vector."""
        return self.live.wiring.acknowledge()

    def _has_apic(self) -> bool:
        return self.apic is not None and self.apic.enabled

    def virtual_now_ns(self) -> int:
        """Return the time that executed code has spent."""
        return 0 if self.engine is None else self.engine.virtual_ns

    def reset(self) -> None:
        """Reset the processor; what is armed stays armed."""
        self.live.reset()
        self.msrs.reset()
        self._settle()

    def _settle(self) -> None:
        msr.let_pass(self.live.msr_permissions(), msr.ENGINE_MSRS)
        self.intercepts.apply()

    def _on_route(self, vector: int, to_python: bool) -> None:
        self.live.route_to_python(vector, to_python)

    def on_intercept(self, vector: int, code: bytes) -> Action:  # noqa: ARG002 - the instruction itself says all
        """Emulate an intercepted instruction; one we have no emulation for does not exist here."""
        engine = self.live
        view = engine.fetch()
        stepping = view.state.eflags & r.TF
        try:
            outcome = emulate(view, self, code or None)
        except GuestFault as fault:
            if fault.cr2 is not None:
                view.write_cr(2, fault.cr2)
            engine.commit()
            engine.inject(fault.vector, fault.error_code or 0)
            return _DELIVER
        if outcome is _UNHANDLED:
            engine.inject(r.UD)
            return _DELIVER
        hflags = view.state.hflags
        if outcome is _SHADOW:
            view.state.hflags = hflags | HF_INHIBIT_IRQ
        elif hflags & HF_INHIBIT_IRQ:  # the shadow of STI and MOV SS ends with the next instruction
            view.state.hflags = hflags & ~HF_INHIBIT_IRQ
        engine.commit()
        if stepping:
            self.write_dr(6, self.read_dr(6) | _DR6_BS)
            engine.inject(r.DB)
            return _DELIVER
        return _RESUME

    # -- what emulated instructions need (emulate.Services)

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """Return EAX, EBX, ECX, EDX."""
        return self.live.wiring.cpuid(leaf, subleaf)

    def read_msr(self, index: int) -> int | None:
        """Return an MSR, or None: #GP."""
        return self.live.read_msr(index) if index in msr.ENGINE_MSRS else self.msrs.read(index)

    def write_msr(self, index: int, value: int) -> bool:
        """Write an MSR; False: #GP."""
        if index in msr.ENGINE_MSRS:
            self.live.commit()
            self.live.write_msr(index, value)
            self.live.fetch()
            return True
        return self.msrs.write(index, value)

    def read_tsc(self) -> int:
        """Return what RDTSC reads."""
        return self.live.read_tsc()

    def read_cr8(self) -> int:
        """Return the task priority class, of an APIC that is there and on."""
        return self.apic.tpr >> 4 if self.apic is not None and self.apic.enabled else 0

    def write_cr8(self, value: int) -> None:
        """Set the task priority class."""
        if self.apic is not None and self.apic.enabled:
            self.apic.write_tpr(value << 4)

    def port_in(self, port: int, size: int) -> int:
        """Read a port over the bus."""
        return self.live.wiring.bus.read(port, size)

    def port_out(self, port: int, size: int, value: int) -> None:
        """Write a port over the bus."""
        self.live.wiring.bus.write(port, size, value)

    def end_nmi(self) -> None:
        """IRET: take NMIs again."""
        self.live.view.state.hflags2 &= ~HF2_NMI_BLOCKED

    def invlpg(self, linear: int) -> None:
        """Forget the translation of one page."""
        self.last_invlpg = linear
        self.on_invlpg(linear)

    def halt(self) -> None:
        """Sleep until an interrupt."""
        self.live.halt()

    def read_dr(self, index: int) -> int:
        """Return a debug register."""
        return int(self.live.uc.reg_read(UC_X86_REG_DR0 + index))

    def write_dr(self, index: int, value: int) -> None:
        """Set a debug register. Breakpoints set this way are never hit."""
        self.live.commit()
        self.live.uc.reg_write(UC_X86_REG_DR0 + index, value | _DR_FIXED.get(index, 0))
        self.live.fetch()
