"""The hypercalls: from numbers in registers to changes of the virtual processor and its devices.

Whatever the registers hold, a call ends in a result: the guest's pointers are walked by the guest's own
page tables with the rights of its kernel, and what one call may ask for is bounded. A call that gives
an error has changed nothing, except that of several requests those before the refused one are done.

Sources: [XEN] xen.h, event_channel.h, sched.h, physdev.h, vcpu.h for names and numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.emulate import Services, emulate
from vmm.cpu.paging import MASK_32, GuestFault, plan_write, read_linear, write_linear
from vmm.cpu.segmentation import peek
from vmm.cpu.state import CpuView
from vmm.techniques.para import abi
from vmm.techniques.para.block_ring import BlockRing, Ram
from vmm.techniques.para.console import Console
from vmm.techniques.para.events import EventChannels, SharedPage

_LLDT_AX: Final = b"\x0f\x00\xd0"
_LTR_AX: Final = b"\x0f\x00\xd8"
_IRET: Final = b"\xcf"
_FIRST_FREE_VECTOR: Final = 32
_DEBUG_REGISTERS: Final = frozenset({0, 1, 2, 3, 6, 7})
_TSS_STACK_0: Final = 4  # ESP0, SS0, [SDM3] figure 7-2
_TSS_STACK_0_END: Final = 11
_ENTRY_COMMAND: Final = 3  # low bits of a request's address; 0: an ordinary update

Call = Callable[[int, int, int], int]


class Monitor(Protocol):
    """What a call may ask of the technique."""

    def entry_changed(self, address: int, old: int) -> None:
        """A page-table entry at a physical address was `old`."""

    def tables_given(self) -> None:
        """GDT or LDT are others, or have been changed by hypercall."""

    def upcalls_start(self) -> None:
        """From now on events come instead of interrupts."""

    def end(self, reason: int, code: int) -> None:
        """End the run, reset or crash."""


@dataclass(frozen=True)
class Devices:
    """What the calls work on."""

    page: SharedPage
    events: EventChannels
    console: Console
    ring: BlockRing


class Hypercalls:
    """The calls of one machine; of these only `served`, if given."""

    def __init__(
        self,
        view: CpuView,
        memory: Ram,
        services: Services,
        monitor: Monitor,
        devices: Devices,
        served: frozenset[int] | None = None,
    ) -> None:
        self._view, self._memory, self._services, self._monitor = view, memory, services, monitor
        self.page, self.events = devices.page, devices.events
        self.console, self.ring = devices.console, devices.ring
        self.upcall_vector: int | None = None
        self._served = frozenset(abi.NAMES) if served is None else served
        self._calls: dict[int, Call] = {
            abi.SET_TRAP_TABLE: self._set_trap_table, abi.MMU_UPDATE: self._mmu_update,
            abi.SET_GDT: self._set_gdt, abi.STACK_SWITCH: self._stack_switch,
            abi.SET_CALLBACKS: self._set_callbacks, abi.FPU_TASKSWITCH: self._fpu_taskswitch,
            abi.SET_DEBUGREG: self._set_debugreg, abi.GET_DEBUGREG: self._get_debugreg,
            abi.UPDATE_DESCRIPTOR: self._update_descriptor, abi.SET_TIMER: self._set_timer,
            abi.VERSION: self._version, abi.CONSOLE_IO: self._console_io, abi.VM_ASSIST: self._vm_assist,
            abi.VCPU_OP: self._vcpu_op, abi.MMUEXT_OP: self._mmuext_op, abi.SCHED_OP: self._sched_op,
            abi.EVENT_CHANNEL_OP: self._event_channel_op, abi.PHYSDEV_OP: self._physdev_op,
            abi.BLOCK_OP: self._block_op,
        }  # fmt: skip

    def reset(self) -> None:
        """Forget what the guest has set up."""
        self.page.address = self.upcall_vector = None
        self.ring.reset()

    def serve(self) -> None:
        """Carry out the call in EAX; RIP is behind the instruction.

        Raises:
            GuestFault: only by `iret`, whose frame cannot be returned to; nothing has changed.
        """
        regs = self._view.regs
        number = regs[r.RAX] & MASK_32
        call = self._calls.get(number)
        if number not in self._served:
            result = abi.ENOSYS
        elif call is None:
            self._iret()
            return
        else:
            try:
                result = call(regs[r.RBX] & MASK_32, regs[r.RCX] & MASK_32, regs[r.RDX] & MASK_32)
            except GuestFault:
                result = abi.EFAULT
        regs[r.RAX] = result & MASK_32

    # -- descriptor tables and stacks

    def _set_trap_table(self, table: int, gates: int, _: int) -> int:
        if not 0 <= gates <= abi.MOST_GATES:
            return abi.EINVAL
        self._view.idt.base, self._view.idt.limit = table, gates * 8 - 1 if gates else 0
        return 0

    def _set_gdt(self, table: int, entries: int, _: int) -> int:
        if not 1 <= entries <= abi.MOST_DESCRIPTORS:
            return abi.EINVAL
        self._view.gdt.base, self._view.gdt.limit = table, entries * 8 - 1
        self._monitor.tables_given()
        return 0

    def _descriptor_address(self, selector: int) -> int | None:
        view = self._view
        if selector > 0xFFFF or not selector & d.ERROR_SELECTOR:
            return None
        table = view.ldt if selector & d.SELECTOR_TI else view.gdt
        if selector & d.SELECTOR_TI and not view.ldt.selector & d.ERROR_SELECTOR:
            return None
        index = selector & d.SELECTOR_INDEX
        return table.base + index & MASK_32 if index + 7 <= table.limit else None

    def _update_descriptor(self, selector: int, low: int, high: int) -> int:
        address = self._descriptor_address(selector)
        if address is None:
            return abi.EINVAL
        write_linear(self._view, address, abi.DESCRIPTOR.pack(low, high))
        self._monitor.tables_given()
        return 0

    def _load_selector(self, code: bytes, selector: int) -> int:
        """LLDT or LTR, with all of its checks."""
        view = self._view
        rax, rip = view.regs[r.RAX], view.rip
        view.regs[r.RAX] = selector & 0xFFFF
        try:
            emulate(view, self._services, code)
        except GuestFault:
            return abi.EINVAL
        finally:
            view.regs[r.RAX], view.rip = rax, rip
        self._monitor.tables_given()
        return 0

    def _stack_switch(self, selector: int, pointer: int, _: int) -> int:
        tr = self._view.tr
        if selector > 0xFFFF or not tr.flags >> r.DESC_TYPE_SHIFT & d.TYPE_32 or tr.limit < _TSS_STACK_0_END:
            return abi.EINVAL
        write_linear(self._view, tr.base + _TSS_STACK_0 & MASK_32, abi.DESCRIPTOR.pack(pointer, selector))
        return 0

    def _iret(self) -> None:
        """EAX is on top of the frame that IRET takes."""
        view = self._view
        rsp, rax, rip = view.regs[r.RSP], view.regs[r.RAX], view.rip
        try:
            value, view.regs[r.RSP] = peek(view, 4)
            emulate(view, self._services, _IRET)
        except GuestFault:
            view.regs[r.RSP], view.regs[r.RAX], view.rip = rsp, rax, rip
            raise
        view.regs[r.RAX] = value

    # -- memory

    def _mmu_update(self, requests: int, count: int, _: int) -> int:
        if count > abi.MOST_MMU_REQUESTS:
            return abi.E2BIG
        raw = read_linear(self._view, requests, count * abi.MMU_REQUEST.size)
        for address, value in abi.MMU_REQUEST.iter_unpack(raw):
            if address & _ENTRY_COMMAND or not self._memory.is_ram(address, 4):
                return abi.EINVAL
            old = int.from_bytes(self._memory.read(address, 4), "little")
            self._memory.write(address, value.to_bytes(4, "little"))
            if old & 1:
                self._monitor.entry_changed(address, old)
        return 0

    def _mmuext_op(self, operation: int, argument: int, _: int) -> int:
        if operation == abi.NEW_BASEPTR:
            return self._new_baseptr(argument)
        if operation == abi.TLB_FLUSH:
            self._view.write_cr(3, self._view.cr[3])
        elif operation == abi.INVLPG:
            self._services.invlpg(argument)
        elif operation == abi.SET_LDT:
            return self._load_selector(_LLDT_AX, argument)
        elif operation == abi.SET_TASK:
            return self._load_selector(_LTR_AX, argument)
        else:
            return abi.ENOSYS
        return 0

    def _new_baseptr(self, directory: int) -> int:
        """Load CR3. The first time turns paging on, with write protection and without TS and EM."""
        view = self._view
        if directory % abi.PAGE or not self._memory.is_ram(directory, abi.PAGE) or view.cr[4] & r.CR4_PAE:
            return abi.EINVAL
        view.write_cr(3, directory)
        if not view.cr[0] & r.CR0_PG:
            cleared = view.cr[0] & ~(r.CR0_EM | r.CR0_TS)
            view.write_cr(0, cleared | r.CR0_MP | r.CR0_WP | r.CR0_PG)
        return 0

    # -- the processor

    def _set_cr0(self, bit: int, on: bool) -> int:
        cr0 = self._view.cr[0]
        self._view.write_cr(0, cr0 | bit if on else cr0 & ~bit)
        return 0

    def _fpu_taskswitch(self, on: int, _: int, __: int) -> int:
        return self._set_cr0(r.CR0_TS, bool(on))

    def _vm_assist(self, command: int, kind: int, _: int) -> int:
        if kind != abi.ASSIST_WRITE_PROTECT or command not in (abi.ASSIST_ENABLE, abi.ASSIST_DISABLE):
            return abi.ENOSYS
        return self._set_cr0(r.CR0_WP, command == abi.ASSIST_ENABLE)

    def _set_debugreg(self, register: int, value: int, _: int) -> int:
        if register not in _DEBUG_REGISTERS:
            return abi.EINVAL
        self._services.write_dr(register, value)
        return 0

    def _get_debugreg(self, register: int, _: int, __: int) -> int:
        return self._services.read_dr(register) if register in _DEBUG_REGISTERS else abi.EINVAL

    def _vcpu_op(self, operation: int, b: int, c: int) -> int:
        view = self._view
        if operation == abi.VCPU_GET_STATE:
            cr, gdt, idt = view.cr, view.gdt, view.idt
            words = (cr[0], cr[2], cr[3], cr[4], view.rflags, gdt.base, gdt.limit, idt.base, idt.limit,
                     view.ldt.selector, view.tr.selector, 0)  # fmt: skip
            write_linear(view, b, abi.VCPU_STATE.pack(*(word & MASK_32 for word in words)))
            return 0
        if operation != abi.VCPU_GET_DESCRIPTOR:
            return abi.ENOSYS
        address = self._descriptor_address(b)
        if address is None:
            return abi.EINVAL
        write_linear(view, c, read_linear(view, address, abi.DESCRIPTOR.size))
        return 0

    def _physdev_op(self, operation: int, iopl: int, _: int) -> int:
        if operation != abi.PHYSDEV_SET_IOPL:
            return abi.ENOSYS
        if iopl > 3:
            return abi.EINVAL
        self._view.rflags = self._view.rflags & ~r.IOPL | iopl << r.IOPL_SHIFT
        return 0

    def _version(self, _: int, __: int, ___: int) -> int:
        return abi.VERSION_NUMBER

    # -- events, sleep, devices

    def _set_callbacks(self, vector: int, page: int, _: int) -> int:
        if not _FIRST_FREE_VECTOR <= vector < abi.MOST_GATES or vector == abi.INTERRUPT:
            return abi.EINVAL
        if page % abi.PAGE or not self._memory.is_ram(page, abi.PAGE):
            return abi.EINVAL
        self.page.address, self.upcall_vector = page, vector
        self._monitor.upcalls_start()
        return 0

    def _event_channel_op(self, operation: int, b: int, _: int) -> int:
        events = self.events
        calls = {abi.EVENT_BIND_VIRQ: events.bind_virq, abi.EVENT_BIND_PIRQ: events.bind_pirq,
                 abi.EVENT_CLOSE: events.close, abi.EVENT_SEND: events.send}  # fmt: skip
        call = calls.get(operation)
        if call is None:
            return abi.ENOSYS
        return abi.EPERM if self.upcall_vector is None else call(b)

    def _sched_op(self, operation: int, reason: int, code: int) -> int:
        if operation == abi.SCHED_YIELD:
            return 0
        if operation == abi.SCHED_BLOCK:
            if self.upcall_vector is None:
                return abi.EPERM
            self.page.masked = False
            if not self.page.waiting():
                self._services.halt()
            return 0
        if operation != abi.SCHED_SHUTDOWN:
            return abi.ENOSYS
        if reason not in (abi.SHUTDOWN_POWER_OFF, abi.SHUTDOWN_REBOOT, abi.SHUTDOWN_CRASH):
            return abi.EINVAL
        self._monitor.end(reason, code)
        return 0

    def _set_timer(self, period_ns: int, _: int, __: int) -> int:
        return abi.EPERM if self.upcall_vector is None else self.events.set_timer(period_ns)

    def _console_io(self, command: int, count: int, buffer: int) -> int:
        if count > abi.MOST_CONSOLE_BYTES:
            return abi.E2BIG
        if command == abi.CONSOLE_WRITE:
            return self.console.write(read_linear(self._view, buffer, count))
        if command != abi.CONSOLE_READ:
            return abi.ENOSYS
        plan_write(self._view, buffer, bytes(count))  # nothing is taken that has no place to go
        data = self.console.read(count)
        write_linear(self._view, buffer, data)
        return len(data)

    def _block_op(self, operation: int, argument: int, _: int) -> int:
        ring = self.ring
        if operation == abi.BLOCK_ATTACH:
            return ring.attach(argument)
        if operation == abi.BLOCK_INFO:
            info = ring.info()
            if isinstance(info, int):
                return info
            write_linear(self._view, argument, info)
            return 0
        if operation != abi.BLOCK_KICK:
            return abi.ENOSYS
        served = ring.kick()
        if served > 0 and self.upcall_vector is not None:
            self.events.send(abi.PIRQS + abi.VIRQ_DISK)
        return served
