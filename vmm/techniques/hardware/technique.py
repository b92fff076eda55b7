"""The technique `hardware`: the guest runs in its own rings; what the controls name leaves it.

The guest owns the processor as on the bare machine, real mode included. An armed instruction, a page
fault the monitor wants to see, a nested page fault and every interrupt are exits: counted, told in the
VMCB, served here, and the guest is entered again. Interrupts are injected by EVENTINJ when the guest
can take them; where it cannot, the interrupt-window exit says when.

CPUID, RDTSC and port accesses leave the guest by hooks of the engine, as on the bare machine, and are
counted there.

Sources: [AMD-V] AMD64 Architecture Programmer's Manual, volume 2, chapter 15; [SDM3C] Intel 64 and IA-32
Architectures Software Developer's Manual, volume 3C, chapters 24 to 27.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from vmm.clock import host_ns
from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.accelerated import AcceleratedEngine
from vmm.cpu.delivery import Event, escalates
from vmm.cpu.encoding import MAX_LENGTH
from vmm.cpu.engine import EVENT_TOUCH, INTERCEPT_VECTOR, Action
from vmm.cpu.intercepts import EXCEPTIONS, EXIT_CODES
from vmm.cpu.monitoring import Touch
from vmm.cpu.paging import GuestFault
from vmm.cpu.processor import Processor
from vmm.cpu.software_int import read_code
from vmm.cpu.view import EngineView
from vmm.errors import ConfigError
from vmm.memory import Memory
from vmm.techniques.base import Technique, place_of
from vmm.techniques.exits import ExitRow
from vmm.techniques.hardware import vmcb
from vmm.techniques.hardware.control_block import ControlBlock
from vmm.techniques.hardware.exit_information import (
    INTERRUPT,
    NMI,
    NPF,
    WINDOW,
    ExitRecord,
    name_of_exit,
)
from vmm.techniques.hardware.nested_paging import NestedPaging
from vmm.techniques.hardware.shadow_paging import ShadowPaging
from vmm.techniques.hidden import BYTES, HiddenMemory

CONTROLS: Final = frozenset({"cr0-write", "cr4-write", "hlt", "invd", "wbinvd"})
_PF: Final = INTERCEPT_VECTOR + EXCEPTIONS["pf"]
_CR0_WRITE: Final = INTERCEPT_VECTOR + EXIT_CODES["cr0-write"]
_EXIT: Final = ("vm-exit", "vmread", "vmread", "vm-entry")  # reason and qualification are always read
SHADOW_FAULT: Final = (*_EXIT, "vmread", "page-walk", "shadow-update")
_MECHANISMS: Final = {
    NPF: (*_EXIT, "vmread", "npt-walk"),
    _PF: SHADOW_FAULT,
    INTERRUPT: _EXIT, NMI: _EXIT, WINDOW: (*_EXIT, "vmwrite"),
}  # fmt: skip
_NO_INSTRUCTION: Final = frozenset({INTERRUPT, NMI, WINDOW})
_RESUME: Final = Action.RESUME
_EVENT_EXCEPTION: Final = vmcb.EVENT_VALID | vmcb.EVENT_EXCEPTION << vmcb.EVENT_TYPE_SHIFT
_EVENT_TYPE: Final = vmcb.EVENT_VALID | 7 << vmcb.EVENT_TYPE_SHIFT

Serve = Callable[[int, bytes], Action]


class Paging(Protocol):
    """How guest-linear addresses become physical: nested tables, or shadow tables."""

    needs: frozenset[str]
    """What must exit for it to be safe."""

    def start(self) -> None:
        """Take the processor as after a reset."""

    def touch(self, touch: Touch) -> None:
        """Map ahead what a task switch is about to touch."""


class Hardware(Technique):
    """The guest under SVM's or VMX's rules. `vmcb` is its control block, `last_exit` what left it last."""

    hidden_bytes = BYTES
    paging = "nested"

    def __init__(self, processor: Processor, memory: Memory) -> None:
        super().__init__(processor, memory)
        self._engine = engine = processor.live
        hidden = HiddenMemory(memory)
        self.block = vmcb.VmcbMemory(engine.memory_map.hidden_host)
        self.nested = NestedPaging(engine, memory, hidden) if self.paging == "nested" else None
        self.shadow = ShadowPaging(processor, memory, hidden) if self.paging == "shadow" else None
        self._paging: Paging = self.nested or self.shadow  # type: ignore[assignment]  # one of them is there
        self._serves: dict[int, Serve] = {
            INTERRUPT: self._on_interrupt, WINDOW: self._on_window, NMI: self._on_nmi,
        }  # fmt: skip
        if self.nested is not None:
            self._serves[NPF] = self._on_nested_fault
        if self.shadow is not None:
            self._serves[_PF] = self._on_shadow_fault
        self._seen = (0, b"", 0, 0, 0, 0, 0)
        self.controls = CONTROLS | self._paging.needs
        self.vmcb = ControlBlock(self)
        self._interrupts = self.exits.row("inject.interrupt", ("vmwrite", "vmwrite"))
        self._nmis = self.exits.row("inject.nmi", ("vmwrite",))
        for vector in self._vectors():
            processor.router.claim(vector, self._handler(vector))

        processor.router.claim(EVENT_TOUCH, self._on_touch)

    @staticmethod
    def _vectors() -> list[int]:
        codes = (EXIT_CODES | EXCEPTIONS).values()
        return [NPF, INTERRUPT, NMI, WINDOW, *(INTERCEPT_VECTOR + code for code in codes)]

    @property
    def counts_its_own(self) -> bool:
        """What the guest handles in its own rings is no exit."""
        return True

    def start(self) -> None:
        """Take the processor as a reset left it: arm the controls and start the tables."""
        self._engine.set_assisted(True)
        self._paging.start()
        self.processor.intercepts.replace(self.controls, self._paging.needs)

    def a20_changed(self) -> None:
        """Shadow entries lead to other memory; nested ones are masked by the processor."""
        if self.shadow is not None:
            self.shadow.drop_all()

    # -- the controls

    @property
    def needed(self) -> frozenset[str]:
        """The least that safety needs to exit: it stays armed."""
        return self.processor.intercepts.needed

    def set_controls(self, names: frozenset[str]) -> None:
        """Have these exit, and what safety needs.

        Raises:
            ValueError: there is no such control.
        """
        for name in sorted(names):
            if name not in EXIT_CODES and name not in EXCEPTIONS:
                raise ValueError(f"no control {name!r}; there are: {', '.join((*EXIT_CODES, *EXCEPTIONS))}")
        self.controls = names
        self.processor.intercepts.replace(names, self._paging.needs)

    # -- exits

    def _handler(self, vector: int) -> Serve:
        """What the event router calls: note, serve, count."""
        mechanisms = _MECHANISMS.get(vector, (*_EXIT, "decode", "emulate"))
        row = self.exits.row(f"vmexit.{name_of_exit(vector)}", mechanisms)
        exception = INTERCEPT_VECTOR + 0x40 <= vector < INTERCEPT_VECTOR + 0x60
        serve = self._serves.get(vector) or (self._on_exception if exception else self._on_instruction)

        def handle(vector: int, code: bytes) -> Action:
            began = host_ns()
            place = None if self.report is None else place_of(self._engine.view, code)
            self._note(vector, code)
            what = "" if place is None else self.last_exit.line
            action = serve(vector, code)
            _count(row, began)
            if place is not None and self.report is not None:
                self.report(row.reason, place, what, host_ns() - began)
            return action

        return handle

    def _note(self, vector: int, code: bytes) -> None:
        """Keep what `last_exit` is worked out from; as little as an exit can bear."""
        view = self._engine.view
        state = view.state
        if not code and vector not in _NO_INSTRUCTION:  # the portable engine leaves it to us
            code = read_code(view, view.code_address(), MAX_LENGTH)
        gpr = self._lmsw_source(code) if vector == _CR0_WRITE else 0
        address = self.block.exitinfo2.value
        self._seen = (vector, code, state.hflags, state.rip, state.error_code, address, gpr)

    def _lmsw_source(self, code: bytes) -> int:
        """What LMSW of a register is about to load; 0 for any other instruction."""
        at = code.find(b"\x0f\x01")
        if not 0 <= at < 3 or len(code) < at + 3 or code[at + 2] < 0xC0:
            return 0
        return self._engine.view.regs[code[at + 2] & 7] & 0xFFFF

    @property
    def last_exit(self) -> ExitRecord:
        """The last exit, in both vendors' words."""
        vector, code, hflags, rip, error, address, gpr = self._seen
        bits = 64 if hflags & s.HF_CS64 else 32 if hflags & s.HF_CS32 else 16
        if vector == INTERCEPT_VECTOR + EXIT_CODES["invlpg"]:
            address = self.processor.last_invlpg
        elif vector not in (NPF, _PF):
            address = 0
        return ExitRecord(vector, code, bits, rip, error, address, gpr)

    def _on_instruction(self, vector: int, code: bytes) -> Action:
        if self.shadow is not None:
            self.shadow.follow_task()
        return self.processor.on_intercept(vector, code)

    def _on_exception(self, vector: int, _code: bytes) -> Action:
        """An exception that only the user wanted to see goes to the guest."""
        number = vector - INTERCEPT_VECTOR - 0x40
        error = self._engine.view.state.error_code & 0xFFFF_FFFF
        cr2 = self.block.exitinfo2.value if number == r.PF_FAULT else None
        self._inject_exception(number, error if number in r.VECTORS_WITH_ERROR_CODE else None, cr2)
        return _RESUME

    def _on_nested_fault(self, _vector: int, _code: bytes) -> Action:
        assert self.nested is not None
        self.nested.fill(self.block.exitinfo2.value)
        self._redeliver()
        return _RESUME

    def _on_shadow_fault(self, _vector: int, _code: bytes) -> Action:
        assert self.shadow is not None
        try:
            self.shadow.fill(self.block.exitinfo2.value, self._engine.view.state.error_code)
        except GuestFault as fault:
            self._inject_exception(fault.vector, fault.error_code, fault.cr2)
        else:
            self._redeliver()
        return _RESUME

    def _on_touch(self, _vector: int, _code: bytes) -> Action:
        """No exit: a task switch half way, which none may cut off."""
        self._paging.touch(self._engine.take_touch())
        return _RESUME

    # -- events into the guest

    def _redeliver(self) -> None:
        """Put back what the exit cut off, [AMD-V] §15.7.2."""
        cut_off = self.block.exitintinfo.value
        if cut_off:
            self.block.eventinj.value = cut_off

    def _inject_exception(self, vector: int, error_code: int | None, cr2: int | None) -> None:
        """Inject what the guest's processor would raise now, a double fault where two come together."""
        cut_off = self.block.exitintinfo.value
        if cut_off & _EVENT_TYPE == _EVENT_EXCEPTION:
            first = cut_off & 0xFF
            if escalates(Event(first), Event(vector)):
                if first == r.DF_FAULT:
                    self._engine.shut_down()
                    return
                vector, error_code = r.DF_FAULT, 0
        if cr2 is not None:
            self._engine.view.write_cr(2, cr2)
        self.block.eventinj.value = vmcb.event(vector, vmcb.EVENT_EXCEPTION, error_code)

    def _on_interrupt(self, _vector: int, _code: bytes) -> Action:
        """An interrupt has come, and the processor is the monitor's."""
        if self._is_open(self._engine.view):
            self._inject_interrupt()
        else:
            self._engine.want_window()
        return _RESUME

    def _on_window(self, _vector: int, _code: bytes) -> Action:
        self._inject_interrupt()
        return _RESUME

    def _on_nmi(self, _vector: int, _code: bytes) -> Action:
        self._nmis.count += 1
        self.block.eventinj.value = vmcb.event(r.NMI, vmcb.EVENT_NMI)
        return _RESUME

    def _is_open(self, view: EngineView) -> bool:
        """Whether the guest can take an interrupt, and nothing else is on its way into it."""
        state = view.state
        free = not self.block.eventinj.value & vmcb.EVENT_VALID
        return free and bool(state.eflags & r.IF) and not state.hflags & s.HF_INHIBIT_IRQ

    def _inject_interrupt(self) -> None:
        """The virtual controller's acknowledge cycle, and its vector into EVENTINJ."""
        self._interrupts.count += 1
        vector = self.processor.acknowledge()
        self.block.eventinj.value = vmcb.event(vector, vmcb.EVENT_INTERRUPT)


class HardwareNested(Hardware):
    """Nested paging: the guest owns CR3, and the monitor the step from guest-physical to physical."""

    name = "hardware-nested"
    paging = "nested"


class HardwareShadow(Hardware):
    """Shadow paging: the processor walks tables that the monitor makes of the guest's."""

    name = "hardware-shadow"
    paging = "shadow"

    def __init__(self, processor: Processor, memory: Memory) -> None:
        if not isinstance(processor.live, AcceleratedEngine):
            raise ConfigError(
                "hardware with shadow paging needs the accelerated engine, which sees a task switch load CR3;"
                " on the portable one use --paging nested"
            )
        super().__init__(processor, memory)


def _count(row: ExitRow, began: int) -> None:
    row.count += 1
    row.host_ns += host_ns() - began
