"""Paravirtualization: the guest calls its monitor, and is told of events in a shared page.

What a deprivileged guest has, this one has too: what it does by privileged instructions still faults
and is emulated, so that a boot program of any kind brings the kernel in. From `set_callbacks` on the
interrupt flag is a byte of the shared page, and no interrupt but an event reaches the guest; from
`set_gdt` on the monitor's copy of a descriptor table follows hypercalls, not writes to memory.

Programs in ring 3 know nothing of all this. For them SGDT, SIDT, SLDT, STR and SMSW are intercepted and
show the guest's own values.
"""

from __future__ import annotations

import ctypes
from typing import Final

from disks.image import BlockImage
from vmm.clock import host_ns
from vmm.cpu import registers as r
from vmm.cpu.delivery import Event
from vmm.cpu.paging import GuestFault, read_linear
from vmm.cpu.processor import Processor
from vmm.memory import Memory
from vmm.techniques.deprivileged import Deprivileged
from vmm.techniques.emulations import FollowUp
from vmm.techniques.para import abi
from vmm.techniques.para.block_ring import BlockRing
from vmm.techniques.para.console import Console
from vmm.techniques.para.cpu import GivenDescriptors, ParaCpu
from vmm.techniques.para.ending import end_by_ports
from vmm.techniques.para.events import EventChannels, SharedPage
from vmm.techniques.para.hypercalls import Devices, Hypercalls

_TELLING: Final = ("sgdt", "sidt", "sldt", "str", "cr0-read")
_MASK_32: Final = 0xFFFF_FFFF


class Para(Deprivileged):
    """A guest that was written for this monitor."""

    name = "para"
    cpu_class = ParaCpu
    descriptors_class = GivenDescriptors
    vcpu: ParaCpu
    descriptors: GivenDescriptors

    def __init__(self, processor: Processor, memory: Memory) -> None:
        super().__init__(processor, memory)
        self._open = ctypes.c_uint32(r.IF)  # interrupts always reach the monitor
        self._bus = processor.live.wiring.bus
        self._call_rows = {
            number: self.exits.row(f"hypercall.{name}", abi.CALLED) for number, name in abi.NAMES.items()
        }
        self._unknown = self.exits.row(f"hypercall.{abi.UNKNOWN}", abi.CALLED)
        page = self.vcpu.page = SharedPage(memory)
        events = EventChannels(page, self._bus, processor.live.wiring.now_ns)
        devices = Devices(page, events, Console(self._bus), BlockRing(memory))
        self.calls = Hypercalls(self.vcpu, memory, self.services, self, devices)
        self._crashed = False

    def use_disk(self, image: BlockImage | None) -> None:
        """Put an image behind the ring."""
        self.calls.ring.image = image

    # -- taking over and handing back

    def start(self) -> None:
        """Begin without events, without a ring."""
        self.calls.reset()
        self._crashed = self.vcpu.by_events = self.descriptors.given = False
        super().start()

    def take_over(self) -> None:
        """Arm what ring 3 could see the monitor by."""
        super().take_over()
        self.arm(True, *_TELLING)

    def _let_go(self) -> None:
        """Disarm it."""
        super()._let_go()
        self.arm(False, *_TELLING)

    def hand_back(self) -> None:
        """Real mode has no events."""
        self.vcpu.by_events = self.descriptors.given = False
        super().hand_back()

    @property
    def interruptible(self) -> bool:
        """Whether an event would come: what ends the sleep of `block`."""
        if self._crashed:
            return False
        return not self.calls.page.masked if self.vcpu.by_events else super().interruptible

    # -- events

    def on_software_int(self, vector: int, following: int, began: int) -> None:
        """INT 82h of the kernel is a hypercall."""
        if vector != abi.INTERRUPT or self.vcpu.cpl:
            super().on_software_int(vector, following, began)
            return
        self._call(following)

    def on_invalid(self, code: bytes, began: int) -> None:
        """VMCALL of the kernel is a hypercall."""
        if self.vcpu.cpl or not (code or self._code()).startswith(abi.VMCALL):
            super().on_invalid(code, began)
            return
        self._call(self.vcpu.rip + len(abi.VMCALL) & _MASK_32)

    def _code(self) -> bytes:
        """Read what the portable engine does not give."""
        try:
            return read_linear(self.vcpu, self.vcpu.real.code_address(), len(abi.VMCALL))
        except GuestFault:
            return b""

    def _call(self, following: int) -> None:
        began = host_ns()
        vcpu = self.vcpu
        row = self._call_rows.get(vcpu.regs[r.RAX] & _MASK_32, self._unknown)
        rip, vcpu.rip = vcpu.rip, following
        served = False
        try:
            self.calls.serve()
            served = True
        finally:
            if not served:
                vcpu.rip = rip
            self.book(row, began)
        self._upcall()

    def on_interrupt(self, began: int) -> None:
        """An interrupt becomes an event, once the guest has said that it wants them."""
        if not self.vcpu.by_events:
            super().on_interrupt(began)
            return
        self.calls.events.interrupt(self.processor.acknowledge())
        self._upcall()
        self.book(self._interrupt, began)

    def follow_up(self, name: str) -> FollowUp | None:
        """STI, POPF or IRET may have let an event come."""
        first = super().follow_up(name)
        if first is None:
            return self._upcall

        def both() -> None:
            first()
            self._upcall()

        return both

    def _upcall(self) -> None:
        """Deliver the upcall, if an event waits and may come."""
        page = self.calls.page
        if self.vcpu.by_events and not self._crashed and page.waiting() and not page.masked:
            assert self.calls.upcall_vector is not None
            self._deliver(Event(self.calls.upcall_vector, external=True))

    def _done(self) -> str:
        """Say what a call gave, for a trace."""
        if self.last is not None and self.last.reason == "hypercall.iret":
            return f"returned to {self.vcpu.segs[r.CS].selector:04x}:{self.vcpu.rip:08x}"
        if self.last is not None and self.last.reason.startswith("hypercall"):
            result = self.vcpu.regs[r.RAX] & _MASK_32
            return f"gave {result - (result >> 31 << 32)}"
        return super()._done()

    # -- what hypercalls ask for

    def entry_changed(self, address: int, old: int) -> None:
        """Forget what was mapped by a page-table entry."""
        if address & ~0xFFF == self.vcpu.cr[3] & ~0xFFF:
            self.pager.drop_all()
        else:
            self.pager.invalidate_frame(old & ~0xFFF & _MASK_32)

    def tables_given(self) -> None:
        """Copy the tables, now and at the next hypercall that changes them."""
        self.descriptors.given = True
        self.descriptors.stale()
        self.descriptors.follow()

    def upcalls_start(self) -> None:
        """Let every interrupt reach the monitor."""
        self.calls.events.set_up()
        self.calls.console.set_up()
        self.vcpu.by_events = True
        self.engine.set_monitored(self._open)

    def end(self, reason: int, code: int) -> None:
        """Power off with a code, reset, or never run again."""
        if not end_by_ports(self._bus, reason, code):
            self._crashed = True
            self.services.halt()
