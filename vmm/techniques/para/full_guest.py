"""The few calls that a guest may make which was not written for this monitor, but looked for it.

VMCALL in ring 0, once the hypercall page has been placed: `version`, `console_io`, and of `sched_op`
yield and shutdown. Before that it is #UD, for the guest is to find the machine that bare has. All others
are -ENOSYS: such a guest has a machine, and is to use it. What it gets is the same under every technique;
with hardware assistance the call is an exit of its own, elsewhere a #UD.
"""

from __future__ import annotations

from typing import Final, Protocol

from vmm.clock import host_ns
from vmm.cpu import registers as r
from vmm.cpu.engine import Action
from vmm.cpu.paging import GuestFault, read_linear
from vmm.cpu.processor import Processor
from vmm.cpu.state import CpuView
from vmm.memory import Memory
from vmm.techniques.exits import ExitBook, ExitRow
from vmm.techniques.para import abi
from vmm.techniques.para.block_ring import BlockRing
from vmm.techniques.para.console import Console
from vmm.techniques.para.ending import end_by_ports
from vmm.techniques.para.events import EventChannels, SharedPage
from vmm.techniques.para.hypercalls import Devices, Hypercalls

SERVED: Final = frozenset({abi.VERSION, abi.CONSOLE_IO, abi.SCHED_OP})
_ASSISTED: Final = ("vm-exit", "emulate", "vm-entry")
_MASK_32: Final = 0xFFFF_FFFF
_MASK_64: Final = 0xFFFF_FFFF_FFFF_FFFF


class HypercallPage(Protocol):
    """Whether the guest has asked for its page."""

    placed: bool


class FullGuestCalls:
    """VMCALL of one machine's guest."""

    def __init__(self, processor: Processor, memory: Memory, book: ExitBook, page: HypercallPage) -> None:
        self._processor, self._memory, self._book, self._page = processor, memory, book, page
        self._bus = processor.live.wiring.bus
        shared = SharedPage(memory)
        events = EventChannels(shared, self._bus, processor.live.wiring.now_ns)
        self._devices = Devices(shared, events, Console(self._bus), BlockRing(memory))

    def row(self, view: CpuView) -> ExitRow:
        """Return the row of the call that the guest is about to make."""
        name = abi.NAMES.get(view.regs[r.RAX] & _MASK_32, abi.UNKNOWN)
        return self._book.row(f"hypercall.{name}", abi.CALLED)

    def serve(self, view: CpuView, code: bytes, linear: int) -> bool:
        """Carry a VMCALL at RIP, `linear`, out; False: it is none, not the kernel's, or not asked for."""
        if not self._page.placed or view.cpl or not (code or self._code(view, linear)).startswith(abi.VMCALL):
            return False
        view.rip = view.rip + len(abi.VMCALL) & (_MASK_64 if linear >> 32 else _MASK_32)
        calls = Hypercalls(view, self._memory, self._processor, self, self._devices, SERVED)
        calls.serve()
        return True

    def _code(self, view: CpuView, linear: int) -> bytes:
        try:
            return read_linear(view, linear, len(abi.VMCALL))
        except GuestFault:
            return b""

    def watch(self) -> None:
        """Look at each #UD, where the technique itself does not."""
        self._row = self._book.row("vmexit.vmcall", _ASSISTED)
        self._processor.router.claim(r.UD, self._on_invalid)

    def _on_invalid(self, _vector: int, code: bytes) -> Action:
        began = host_ns()
        engine = self._processor.live
        view = engine.fetch()
        if not self.serve(view, code, view.code_address()):
            return Action.DELIVER
        engine.commit()
        self._row.count += 1
        self._row.host_ns += host_ns() - began
        return Action.RESUME

    # -- hypercalls.Monitor: what the calls that are served never ask for

    def entry_changed(self, address: int, old: int) -> None:
        """Never asked for."""

    def tables_given(self) -> None:
        """Never asked for."""

    def upcalls_start(self) -> None:
        """Never asked for."""

    def end(self, reason: int, code: int) -> None:
        """Power off with a code, reset, or sleep for ever."""
        if not end_by_ports(self._bus, reason, code):
            self._processor.halt()
