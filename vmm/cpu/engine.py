"""What both engines share: the contract, the CPU view, and the wiring to the rest of the machine.

One processor is one Unicorn instance in UC_MODE_64 (real, protected and long mode alike). An engine
runs the guest until a deadline, a stop request, HLT or a triple fault; everything else that leaves
the guest (ports, MMIO, exceptions, intercepts) is handled inside `run`.
"""

from __future__ import annotations

import ctypes
import enum
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import unicorn
from unicorn.unicorn_py3.unicorn import uclib

from devices.backplane import PortRange
from vmm.bus import PORTS, PortBus
from vmm.clock import host_ns
from vmm.cpu import layout, translator_abort
from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.cpuid import CpuModel
from vmm.cpu.memory_map import HIDDEN_BYTES, HIDDEN_PAGE, MemoryMap
from vmm.cpu.monitoring import Monitoring
from vmm.cpu.ring import ExitRing
from vmm.cpu.view import EngineView
from vmm.errors import EngineError
from vmm.memory import Memory

VMCB_MSRPM_POINTER: Final = 0x48  # [AMD-V] appendix B: MSRPM_BASE_PA
VMCB_EVENTINJ: Final = 0xA8
VMCB_EVENT_VALID: Final = 1 << 31  # EVENTINJ, [AMD-V] §15.20; types in bits 10:8
VMCB_EVENT_INTERRUPT: Final = 0
VMCB_EVENT_NMI: Final = 2
VMCB_EVENT_EXCEPTION: Final = 3
VMCB_EVENT_SOFTWARE: Final = 4
MSRPM_OFFSET: Final = 0x1000
MSRPM_BYTES: Final = 0x2000
INTERCEPT_VECTOR: Final = 0x100  # an intercept arrives as this + its SVM exit code
EVENT_INTERRUPT: Final = (
    0x160  # what a monitored processor tells of instead of doing it; as in the accelerator
)
EVENT_NMI: Final = 0x161
EVENT_WINDOW: Final = 0x164  # an assisted guest can take an interrupt now
EVENT_BLOCK: Final = 0x5F0  # a block was translated and will run next
EVENT_SYSENTER: Final = 0x5F1
EVENT_SYSCALL: Final = 0x5F2
EVENT_TOUCH: Final = 0x5F3  # an assisted guest's task switch is about to touch memory: it must not exit
CODE_BUFFER_BYTES: Final = 256 << 20  # a guest that is always new code would fill Unicorn's own choice, 1 GiB
TSS_AVAILABLE: Final = 0x8900
FETCH_ERRORS: Final = frozenset({unicorn.UC_ERR_FETCH_PROT, unicorn.UC_ERR_FETCH_UNMAPPED})


class StopReason(enum.Enum):
    """Why `Engine.run` returned."""

    DEADLINE = "deadline"
    STOPPED = "stopped"
    HALTED = "halted"
    TRIPLE_FAULT = "triple fault"


class Action(enum.IntEnum):
    """What the engine does after Python has seen an event. Values are those of the accelerator."""

    RESUME = 0  # go on from the state as it is
    DELIVER = 1  # deliver the event, or the exception passed to `inject`


Handler = Callable[[int, bytes], Action]
"""Decides about an event: the vector, and the bytes at an intercept, if known."""


class Kind(enum.IntEnum):
    """Kinds of exit, as counted and traced; values are those of the accelerator."""

    IN = 1
    OUT = 2
    MMIO_READ = 3
    MMIO_WRITE = 4
    EXCEPTION = 5
    SOFTWARE_INT = 6
    INTERRUPT = 7
    NMI = 8
    CPUID = 9
    RDTSC = 10
    SYSCALL = 11
    SYSENTER = 12
    INTERCEPT = 13
    HLT = 14


TraceCall = Callable[[int, int, int, int, int], None]  # kind, a, b, c, host_ns


@dataclass(frozen=True)
class Wiring:
    """What the machine gives its processor."""

    memory: Memory
    bus: PortBus
    acknowledge: Callable[[], int]  # the interrupt controller's INTA cycle: returns the vector
    on_event: Handler  # the event router
    cpuid: Callable[[int, int], tuple[int, int, int, int]]
    now_ns: Callable[[], int]
    ring: ExitRing


@dataclass
class Count:
    """How often something happened and what it cost on the host."""

    count: int = 0
    host_ns: int = 0


PATIENCE_NS: Final = 50_000_000  # host time after which `run` returns: virtual time may hardly move
HOOK_AGE_NS: Final = 10_000_000_000  # host time after which a hook's list of places is dropped


class Closed:
    """Stands where the engine's memory was, so that a use after `close` is an error and no crash."""

    def __getattr__(self, name: str) -> NoReturn:
        raise EngineError("the machine is closed")

    def __call__(self, *_: object) -> NoReturn:
        """Refuse."""
        raise EngineError("the machine is closed")


class Engine(Monitoring, ABC):
    """One processor. `fetch()` before and `commit()` after touching `view` from outside a callback."""

    name: str
    needs: frozenset[str] = frozenset()  # intercepts without which the engine cannot work

    def __init__(self, wiring: Wiring, cpu: CpuModel) -> None:
        self.wiring = wiring
        self.cpu = cpu
        self.tsc_offset = 0
        self.monitored = False
        self.ports_closed = False  # to a monitored ring 1
        self._mirror: ctypes.c_uint8 | None = None
        translator_abort.survive()
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.uc.ctl_set_cpu_model(cpu.engine_model)
        self.uc.ctl_set_tcg_buffer_size(CODE_BUFFER_BYTES)  # type: ignore[attr-defined]
        self.memory_map: MemoryMap
        self._apertures_changed = False
        self._power_on: Any = None  # the processor's whole state after its first reset
        self.view: EngineView

    @property
    def handle(self) -> int:
        """Address of the uc_struct."""
        return layout.handle_of(self.uc)

    # -- state

    @abstractmethod
    def fetch(self) -> EngineView:
        """Return the view, up to date."""

    @abstractmethod
    def commit(self) -> None:
        """Make the processor be what the view says."""

    @abstractmethod
    def read_rflags(self) -> int:
        """Return RFLAGS with arithmetic flags."""

    @abstractmethod
    def write_cr(self, index: int, value: int) -> None:
        """Write CR0, CR3 or CR4 with side effects."""

    @abstractmethod
    def flush_tlb(self) -> None:
        """Forget all cached translations of linear addresses."""

    # -- time stamp counter, 1 GHz of virtual time

    def read_tsc(self) -> int:
        """Return what RDTSC reads."""
        return (self.wiring.now_ns() + self.tsc_offset) & 0xFFFF_FFFF_FFFF_FFFF

    def write_tsc(self, value: int) -> None:
        """Make RDTSC count on from `value`."""
        self.tsc_offset = value - self.wiring.now_ns()

    def read_msr(self, msr: int) -> int:
        """Read one of the engine's own MSRs."""
        return int(self.uc.msr_read(msr))

    def write_msr(self, msr: int, value: int) -> None:
        """Write one of the engine's own MSRs."""
        self.uc.msr_write(msr, value)

    # -- control

    @abstractmethod
    def halt(self) -> None:
        """HLT was emulated: `run` returns HALTED."""

    def time_moved(self) -> None:
        """The source of time was stopped for a while, between two runs."""

    @abstractmethod
    def skip_to(self, now_ns: int) -> None:
        """Move virtual time forward: the processor slept."""

    @property
    @abstractmethod
    def virtual_ns(self) -> int:
        """Virtual time that executed code has spent, with what `skip_to` added."""

    @abstractmethod
    def route_to_python(self, vector: int, enabled: bool) -> None:
        """Send one exception vector to the event router, or leave it to the engine's delivery."""

    @abstractmethod
    def reset(self) -> None:
        """Power-on state of the processor."""

    @abstractmethod
    def run(self, deadline_ns: int) -> StopReason:
        """Run the guest until virtual time `deadline_ns` at the latest."""

    @abstractmethod
    def stop(self) -> None:
        """Make `run` return soon, never within an instruction: see each engine. For use in a callback."""

    @abstractmethod
    def deadline_moved(self, deadline_ns: int) -> None:
        """A nearer deadline was set while the guest runs."""

    @abstractmethod
    def set_interrupt(self, level: bool) -> None:
        """Drive INTR."""

    @abstractmethod
    def raise_nmi(self) -> None:
        """Pulse NMI."""

    @property
    @abstractmethod
    def nmi_pending(self) -> bool:
        """Whether an NMI waits that is not blocked: it ends HLT."""

    @abstractmethod
    def inject(self, vector: int, error_code: int = 0) -> None:
        """Deliver this exception before the next instruction, or on Action.DELIVER in place of the event."""

    @abstractmethod
    def set_a20(self, enabled: bool) -> None:
        """Gate address line 20."""

    @abstractmethod
    def set_trace(self, trace: TraceCall | None) -> None:
        """Have every exit reported, or none."""

    def hook_instructions(self, before: Callable[[int], None]) -> None:
        """Call `before(linear address)` ahead of every instruction from now on. Slow."""

        def on_instruction(uc: Any, address: int, size: int, data: Any) -> None:  # noqa: ANN401
            before(address)

        self.uc.hook_add(unicorn.UC_HOOK_CODE, on_instruction)
        self.uc.ctl(unicorn.UC_CTL_TB_FLUSH, unicorn.UC_CTL_IO_WRITE)

    @abstractmethod
    def counts(self) -> dict[tuple[Kind, int], Count]:
        """Return exits by kind and detail (vector or exit code; 0 where there is none)."""

    @abstractmethod
    def close(self) -> None:
        """Release the engine."""

    # -- memory map

    @abstractmethod
    def map_ports(self, ports: PortRange) -> None:
        """Take over the routing of these ports from the bus."""

    @abstractmethod
    def _map_window(self, address: int, length: int, read: Any, write: Any) -> None:  # noqa: ANN401
        """Have accesses to a range answered; `read` and `write` None: a hole."""

    def map_claimed_ports(self) -> None:
        """Take over what the bus routes now, and what it will."""
        bus = self.wiring.bus
        for port in range(PORTS):
            if bus.owner(port) is not None:
                self.map_ports(PortRange(port, 1))
        bus.on_change = self.map_ports

    def map_memory(self) -> None:
        """Map RAM, ROM, windows and holes. Once, before the first run."""
        memory = self.wiring.memory
        self.memory_map = MemoryMap(self.uc, memory, self._map_window)
        memory.on_write = self.invalidate_code
        for aperture in memory.apertures:
            aperture.on_show = self._on_aperture

    def _on_aperture(self) -> None:
        """Have the running code end, so that `begin_run` can change the mapping."""
        self._apertures_changed = True
        self.stop()

    def begin_run(self) -> None:
        """Do what can only be done between two runs."""
        if self._apertures_changed:
            self._apertures_changed = False
            self._unpaged(self.memory_map.follow_apertures)

    def _unpaged(self, change: Callable[[], None]) -> None:
        """Change the map with paging off: Unicorn looks for code to forget at *linear* addresses."""
        state = self.fetch().state
        cr0 = state.cr[0]
        state.cr[0] = cr0 & ~r.CR0_PG
        self.commit()
        self.flush_tlb()
        change()
        state = self.fetch().state
        state.cr[0] = cr0
        self.commit()
        self.flush_tlb()

    def invalidate_code(self, address: int, length: int) -> None:
        """Forget code translated from this physical range: a bus master or the monitor wrote there."""
        offset = address + self.memory_map.ram_delta(address)
        _invalidate(self.uc._uch, offset, offset + length)

    def _needs_the_hole(self) -> bool:
        """Say whether the instruction that could not be fetched lies in a hole: #UD, FF FF is none.

        Unicorn translates whole blocks. The first time the instruction is only sent back to be
        translated alone, as what follows the shadow of STI is: a hole may begin further on.
        """
        state = self.view.state
        state.hflags ^= s.HF_INHIBIT_IRQ
        return not state.hflags & s.HF_INHIBIT_IRQ

    def remember(self, kind: int, a: int, b: int) -> None:
        """Leave a record of an exit in the ring."""
        state = self.view.state
        cs = state.segs[r.CS].selector
        self.wiring.ring.add(kind, cs, state.rip, state.hflags & 3, a, b, self.wiring.now_ns())

    _host_ns = staticmethod(host_ns)

    def set_up_hidden_page(self) -> None:
        """Point the VMCB's MSR permission map at its place; permissions start as `all pass`."""
        ctypes.memset(self.memory_map.hidden_host, 0, HIDDEN_BYTES)
        pointer = ctypes.c_uint64.from_address(self.memory_map.hidden_host + VMCB_MSRPM_POINTER)
        pointer.value = HIDDEN_PAGE + MSRPM_OFFSET

    def msr_permissions(self) -> Any:  # noqa: ANN401
        """Return the 8-KiB MSR permission map, writable: two bits an MSR, read and write."""
        return (ctypes.c_uint8 * MSRPM_BYTES).from_address(self.memory_map.hidden_host + MSRPM_OFFSET)

    def _arm_after_reset(self) -> None:
        """Make the state after reset safe: TR of a type the engine accepts, guest mode for intercepts."""
        state = self.view.state
        state.tr.flags = TSS_AVAILABLE  # busy, as real TRs are, aborts the process at a ring change
        state.vm_vmcb = HIDDEN_PAGE
        state.hflags |= s.HF_GUEST
        state.old_exception = -1
        state.exception_is_int = 0


_invalidate = uclib.tb_invalidate_phys_range_x86_64
_invalidate.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
_invalidate.restype = None
assert layout.symbol("tb_invalidate_phys_range_x86_64")
