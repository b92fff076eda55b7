"""Ring deprivileging: the guest's kernel at ring 1, every event first in the monitor's hands.

What trap-and-emulate, binary translation and paravirtualization share. The guest's 32-bit code runs
in compatibility mode under the monitor's long mode, so that shadow page tables, descriptor tables
and TSS lie where it cannot name them. Exceptions, software interrupts and interrupts come here; a
privileged instruction arrives as #GP and is emulated on the `VirtualCpu`; what is the guest's own is
delivered through the guest's IDT.

Real mode has no rings: it runs bare. The write that sets CR0.PE is where the technique takes over,
the one that clears it where it hands back.
"""

from __future__ import annotations

from typing import Final

from vmm.clock import host_ns
from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.delivery import DeliveryOutcome, Event, deliver_event
from vmm.cpu.engine import (
    EVENT_BLOCK,
    EVENT_INTERRUPT,
    EVENT_NMI,
    EVENT_SYSCALL,
    EVENT_SYSENTER,
    INTERCEPT_VECTOR,
    Action,
)
from vmm.cpu.intercepts import EXIT_CODES
from vmm.cpu.paging import MASK_32, GuestFault
from vmm.cpu.processor import Processor
from vmm.cpu.software_int import software_int_bytes
from vmm.cpu.state import HF_CS32, CpuView
from vmm.memory import Memory
from vmm.techniques.base import FullCalls, Place, Report, Technique, place_of
from vmm.techniques.emulations import Emulations, FollowUp
from vmm.techniques.exits import ExitRow
from vmm.techniques.guest_services import GuestServices
from vmm.techniques.hidden import BYTES, HiddenMemory
from vmm.techniques.shadow_descriptors import MONITOR_END, MONITOR_LINEAR, ShadowDescriptors
from vmm.techniques.shadow_pager import ShadowPager
from vmm.techniques.virtual_cpu import VirtualCpu

_RESUME: Final = Action.RESUME
_GP: Final = r.GP
_CR0_WRITE: Final = INTERCEPT_VECTOR + EXIT_CODES["cr0-write"]
_SEGMENT_FAULTS: Final = frozenset({r.TS, r.NP, r.SS_FAULT, r.GP})
_TABLE_LOADS: Final = frozenset({"lgdt", "lldt"})
_PAGING_BITS: Final = {0: r.CR0_PG | r.CR0_WP, 4: r.CR4_PSE | r.CR4_PAE | r.CR4_PGE | r.CR4_SMEP | r.CR4_SMAP}
_DR6_BS: Final = 1 << 14
# What an exit goes through, as named in cost.py
EMULATED: Final = ("fault-entry", "decode", "emulate", "resume")
FILLED: Final = ("fault-entry", "page-walk", "shadow-update", "resume")
SYNCED: Final = ("fault-entry", "descriptor-sync", "resume")
REFLECTED: Final = ("fault-entry", "injection", "resume")
INTERRUPTED: Final = ("interrupt-entry", "injection", "resume")
SWITCHED: Final = ("fault-entry", "emulate", "descriptor-sync", "tlb-flush", "resume")


class Deprivileged(Technique):
    """The base of techniques that run the guest's kernel at ring 1."""

    hidden_bytes = BYTES
    watches_blocks = False
    full_calls: FullCalls | None = None  # hypercalls of a guest that is not paravirtual
    cpu_class = VirtualCpu
    descriptors_class = ShadowDescriptors

    def __init__(self, processor: Processor, memory: Memory) -> None:
        super().__init__(processor, memory)
        self.engine = processor.live
        self.hidden = HiddenMemory(memory)
        self.vcpu = self.cpu_class(self.engine, self._on_cr)
        self._state = self.vcpu.state
        self.pager = ShadowPager(self.hidden, self.vcpu, self.engine)
        self.vcpu.lookup = self.pager.lookup
        self.descriptors = self.descriptors_class(self.hidden, self.pager, self.vcpu)
        self.vcpu.on_ring = self.descriptors.stale
        self.services = GuestServices(self)
        self.running = False  # in protected mode, the monitor in between
        self._tried_at = -1  # the load of a selector that was last tried again
        self._leaving = False
        self.emulations = Emulations(self)
        self._traps = self.emulations.privileged
        self.last: ExitRow | None = None  # the row of the exit just handled
        self._fill = self.exits.row("shadow.fill", FILLED)
        self._descriptors = self.exits.row("shadow.descriptors", SYNCED)
        self._int = self.exits.row("reflect.int", REFLECTED)
        self._interrupt = self.exits.row("inject.interrupt", INTERRUPTED)
        self._nmi = self.exits.row("inject.nmi", INTERRUPTED)
        self._reflect_rows = {
            vector: self.exits.row("reflect." + name.removeprefix("#").lower(), REFLECTED)
            for vector, name in r.EXCEPTION_NAMES.items()
        }

    # -- taking over and handing back

    def start(self) -> None:
        """Wait for protected mode, or begin in it where a loader has set it up."""
        self.engine.fetch()
        self._let_go()
        if self.engine.fetch().state.cr[0] & r.CR0_PE:
            self.take_over()
            self.engine.commit()

    def _let_go(self) -> None:
        """Leave the processor to the guest, but for the instruction that begins protected mode."""
        self.running = False
        self.memory.on_write = self.engine.invalidate_code
        self.disarm()
        router = self.processor.router
        self.engine.route_all(None)
        self.engine.set_monitored(None)
        self.engine.watch_blocks(False)
        router.claim(_CR0_WRITE, self._on_real_cr0)
        self.arm(True, "cr0-write")

    def disarm(self) -> None:
        """Take back the intercepts that `take_over` has armed."""

    def a20_changed(self) -> None:
        """Physical addresses mean something else."""
        self.mappings_changed()
        self.descriptors.stale()

    def mappings_changed(self) -> None:
        """All mappings may mean something else than before."""
        self.pager.drop_all()

    def arm(self, on: bool, *names: str) -> None:
        """Arm or disarm intercepts. The view is up to date, before and after."""
        self.engine.commit()
        intercepts = self.processor.intercepts
        (intercepts.arm if on else intercepts.disarm)(*names)

    def _on_real_cr0(self, vector: int, code: bytes) -> Action:
        """A CR0 write in real mode: carried out as on the bare machine, then looked at."""
        action = self.processor.on_intercept(vector, code)
        if self.engine.view.state.cr[0] & r.CR0_PE and action is _RESUME:
            self.take_over()
            self.engine.commit()
        return action

    def take_over(self) -> None:
        """Stand between the guest and the processor from here on. The view is up to date."""
        if self.vcpu.state.efer & r.EFER_LME:
            self.on_unsupported(f"{self.name} cannot run long mode, which the guest asked for by EFER.LME")
        began = host_ns()
        self._tried_at = -1
        self.pager.drop_all()
        self.vcpu.take_over(self.pager.root)
        self.descriptors.load()
        self.arm(False, "cr0-write")
        self.engine.route_all(self.on_event)
        self.engine.set_monitored(self.vcpu.flags)
        self.engine.watch_blocks(self.watches_blocks)
        self.memory.on_write = self._on_write
        self.running = True
        self._count("switch.protected", SWITCHED, began)

    def hand_back(self) -> None:
        """Make the processor the guest's own again."""
        began = host_ns()
        self.vcpu.hand_back()
        self._let_go()
        self.engine.flush_tlb()
        self._count("switch.real", SWITCHED, began)

    def _on_write(self, address: int, length: int) -> None:
        """Somebody other than the guest's own code wrote memory."""
        self.engine.invalidate_code(address, length)
        self.pager.written(address, length)

    @property
    def view(self) -> CpuView:
        """The virtual processor."""
        return self.vcpu if self.running else super().view

    @property
    def interruptible(self) -> bool:
        """The guest's IF."""
        if not self.running:
            return super().interruptible
        return bool(self.vcpu.flags.value & r.IF)

    # -- events

    def on_event(self, vector: int, code: bytes) -> Action:
        """Everything that leaves the guest. The view is up to date, and committed afterwards."""
        began = host_ns()
        trap = None
        if vector == _GP and self.report is None:
            trap = self._traps[self._state.hflags & HF_CS32].get(code)
        if trap is not None:
            try:
                trap(began)
            except GuestFault as fault:
                self._reflect(fault, began)
        elif self.report is None:
            self._handle(vector, code, began)
        else:
            self._handle_reported(self.report, vector, code, began)
        if self._leaving:
            self._leaving = False
            self.hand_back()
        return _RESUME

    def _handle_reported(self, report: Report, vector: int, code: bytes, began: int) -> None:
        """Handle an event while a trace runs."""
        place = self._place(vector, code)
        self.last = None
        self._handle(vector, code, began)
        if self.last is not None:
            report(self.last.reason, place, self._done(), host_ns() - began)

    def _handle(self, vector: int, code: bytes, began: int) -> None:
        try:
            if vector < INTERCEPT_VECTOR:
                self._on_vector(vector, code, began)
            elif vector == EVENT_INTERRUPT:
                self.on_interrupt(began)
            elif vector == EVENT_BLOCK:
                self.on_block(code)
            elif vector == EVENT_NMI:
                self._deliver(Event(r.NMI, external=True))
                self.book(self._nmi, began)
            elif vector in (EVENT_SYSENTER, EVENT_SYSCALL):
                self._emulate(code, began, r.UD, None)
            else:
                self.on_intercept(vector, code, began)
        except GuestFault as fault:
            self._reflect(fault, began)

    def _place(self, vector: int, code: bytes) -> Place:
        """Where the instruction is; RIP has passed a software interrupt already."""
        vcpu = self.vcpu
        if vector >= INTERCEPT_VECTOR or not vcpu.state.exception_is_int:
            return place_of(vcpu, code)
        following = vcpu.rip
        vcpu.rip = following - software_int_bytes(vcpu, vector)
        place = place_of(vcpu, b"")
        vcpu.rip = following
        return place

    def _done(self) -> str:
        """Say what the monitor did, for a trace."""
        vcpu = self.vcpu
        if self.last is self._fill:
            return f"shadow entry made for {vcpu.state.cr[2] & MASK_32:08x}h"
        if self.last is not None and self.last.reason.startswith(("reflect", "inject")):
            return f"the guest's handler is at {vcpu.segs[r.CS].selector:04x}:{vcpu.rip:08x}"
        return "emulated on the virtual processor"

    def _on_vector(self, vector: int, code: bytes, began: int) -> None:
        state = self.vcpu.state
        if state.exception_is_int:
            self._software_int(vector, began)
        elif vector == r.PF_FAULT and MONITOR_LINEAR <= state.cr[2] < MONITOR_END:
            # The load of a code segment as data marks it accessed
            self._emulate(code, began, vector, state.error_code)
        elif vector == r.PF_FAULT:
            state.rip &= MASK_32  # a short jump below 0: QEMU cuts it to 32 bits outside long mode only
            self.on_page_fault(state.cr[2] & MASK_32, state.error_code, began)
        elif vector in _SEGMENT_FAULTS:
            if self._try_again(state.error_code):
                self.book(self._descriptors, began)
                return
            self._emulate(code, began, vector, state.error_code)
        elif vector == r.UD:
            self.on_invalid(code, began)
        else:
            error = state.error_code if vector in r.VECTORS_WITH_ERROR_CODE else None
            raise GuestFault(vector, error)

    def on_interrupt(self, began: int) -> None:
        """INTR, and the guest lets it come."""
        self._deliver(Event(self.processor.acknowledge(), external=True))
        self.book(self._interrupt, began)

    def _try_again(self, error_code: int) -> bool:
        """Whether a selector met a stale copy: it is new now. One that spoils it itself gets one try."""
        if self.descriptors.fresh or not error_code & d.ERROR_SELECTOR:
            return False
        at = self.vcpu.real.code_address()
        if at == self._tried_at:
            self._tried_at = -1
            return False
        self._tried_at = at
        self.descriptors.follow()
        return True

    def on_page_fault(self, linear: int, error_code: int, began: int) -> None:
        """Fill the shadow, or let the guest have its fault."""
        self.pager.fill(linear, error_code)
        self.book(self._fill, began)

    def on_invalid(self, code: bytes, began: int) -> None:
        """#UD: the guest's own, unless it calls the monitor."""
        if self.full_calls is None:
            raise GuestFault(r.UD)
        row = self.full_calls.row(self.vcpu)
        if not self.full_calls.serve(self.vcpu, code, self.vcpu.real.code_address()):
            raise GuestFault(r.UD)
        self.book(row, began)

    def on_block(self, code: bytes) -> None:
        """A block that is about to run for the first time."""

    def on_intercept(self, vector: int, code: bytes, began: int) -> None:  # noqa: ARG002
        """An intercept that is armed for the engine's own sake."""
        self._emulate(code, began, r.UD, None)

    def _software_int(self, vector: int, began: int) -> None:
        vcpu = self.vcpu
        following = vcpu.rip
        vcpu.rip = following - software_int_bytes(vcpu, vector)
        self.on_software_int(vector, following, began)

    def on_software_int(self, vector: int, following: int, began: int) -> None:
        """INT n, INT3 or INTO at RIP; the next instruction is at `following`."""
        self._deliver(Event(vector, software=True, next_rip=following))
        self.book(self._int, began)

    def _emulate(self, code: bytes, began: int, vector: int, error_code: int | None) -> None:
        """Emulate the instruction at RIP; one that nobody emulates has earned its fault."""
        emulations = self.emulations
        emulation = emulations.known[self._state.hflags & HF_CS32].get(code) or emulations.read(code)
        if emulation is None:
            raise GuestFault(vector, error_code)
        emulation(began)

    def step(self) -> None:
        """The trap after an instruction that began with TF set."""
        self.services.write_dr(6, self.services.read_dr(6) | _DR6_BS)
        self._deliver(Event(r.DB))

    def emulation_row(self, name: str, code: bytes) -> ExitRow:  # noqa: ARG002
        """The row in which the instruction is counted when it has been emulated."""
        return self.exits.row("emulate." + name, EMULATED)

    def follow_up(self, name: str) -> FollowUp | None:
        """What is to be done each time the instruction of this name was emulated, if anything."""
        return self.descriptors.follow if name in _TABLE_LOADS else None

    # -- the guest's own

    def _reflect(self, fault: GuestFault, began: int) -> None:
        """Deliver an exception of the guest's to the guest."""
        self._deliver(Event(fault.vector, fault.error_code, cr2=fault.cr2))
        row = self._reflect_rows.get(fault.vector)
        if row is not None:
            self.book(row, began)

    def _deliver(self, event: Event) -> None:
        if deliver_event(self.vcpu, event) is DeliveryOutcome.TRIPLE_FAULT:
            self.engine.shut_down()

    # -- the virtual control registers

    def invlpg(self, linear: int) -> None:
        """Forget the mapping of one page; a descriptor table may lie there."""
        is_large = self.pager.invalidate_page(linear)
        if is_large or self.descriptors.lies_in(linear):
            self.descriptors.moved()

    def _on_cr(self, index: int, old: int, new: int) -> None:
        if index == 0 and not new & r.CR0_PE:
            self._leaving = True
        elif index == 3:
            self.pager.new_address_space()
            self.descriptors.moved()
        elif (old ^ new) & _PAGING_BITS[index]:
            self.pager.drop_all()
            self.descriptors.moved()

    # -- accounting

    def book(self, row: ExitRow, began: int) -> None:
        """Count an exit that began then."""
        self.last = row
        row.count += 1
        row.host_ns += host_ns() - began

    def _count(self, reason: str, mechanisms: tuple[str, ...], began: int) -> None:
        self.book(self.exits.row(reason, mechanisms), began)
