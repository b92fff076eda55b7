"""The accelerated engine: Unicorn with `accelerator/` plugged in; accelerator.h says what it adds and how."""

from __future__ import annotations

import ctypes
from typing import Any

import unicorn
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from devices.backplane import PortRange
from vmm.clock import host_ns
from vmm.cpu import engine, layout
from vmm.cpu import registers as r
from vmm.cpu.accel import Host, Mmio, Shared, library
from vmm.cpu.accelerated_monitoring import AcceleratedMonitoring
from vmm.cpu.cpuid import CpuModel
from vmm.cpu.engine import (
    FETCH_ERRORS,
    Closed,
    Count,
    Kind,
    StopReason,
    TraceCall,
    Wiring,
)
from vmm.cpu.ring import SIZE
from vmm.cpu.state import CpuState
from vmm.cpu.string_io import StringIo
from vmm.cpu.view import EngineView
from vmm.errors import EngineError


def _internal(name: str, *arguments: Any, result: Any = None) -> Any:  # noqa: ANN401
    layout.symbol(name)
    function = getattr(ctypes.PyDLL(uclib._name), name)
    function.argtypes, function.restype = list(arguments), result
    return function


class AcceleratedEngine(AcceleratedMonitoring):
    """Full speed; needs the compiled library and a host whose Unicorn proves out."""

    name = "accelerated"

    def __init__(self, wiring: Wiring, cpu: CpuModel, *, virtual_clock: bool = False) -> None:
        super().__init__(wiring, cpu)
        self._lib, self._entries = library()
        self._mapped_ports: dict[int, tuple[Any, Any]] = {}
        self._stopping = self._asleep = False
        self._block_hook, self._renew_at_ns = 0, host_ns() + engine.HOOK_AGE_NS
        self._edge_hook = 0
        self._routed: list[int] | None = None  # the vectors of `route_to_python` while all are
        self._virtual_flags: ctypes.c_uint32 | None = None  # what the accelerator borrows
        self._trace: TraceCall | None = None
        handle = self.handle
        self.uc.mem_map(0x5000_0000_0000, 4096)  # any mapping makes Unicorn build its CPU now
        self.uc.mem_unmap(0x5000_0000_0000, 4096)
        self._cpu, self._env, cpu_class = layout.prove_internals(self.uc)
        state = CpuState.from_address(self._env)
        self.view = EngineView(self, state, wiring.memory)
        self._halted = ctypes.c_uint32.from_address(self._cpu + layout.CPU_HALTED)
        self._load_internals()
        self._windows: dict[int, tuple[Any, ...]] = {}  # what the accelerator borrows, by address
        string_io = StringIo(self, wiring)
        host = Host(
            uc=handle, cpu=self._cpu, env=self._env, cpu_class=cpu_class,
            do_interrupt=layout.symbol("x86_cpu_do_interrupt_x86_64"),
            hardirq=layout.symbol("do_interrupt_x86_hardirq_x86_64"),
            tlb_reset_dirty=layout.symbol("tlb_reset_dirty_x86_64"),
            read_eflags=layout.symbol("helper_read_eflags_x86_64"),
            write_eflags=layout.symbol("helper_write_eflags_x86_64"),
            emu_start=layout.symbol("uc_emu_start"), emu_stop=layout.symbol("uc_emu_stop"),
            read_linear=layout.symbol("cpu_memory_rw_debug_x86_64"),
            on_event=wiring.on_event, acknowledge=wiring.acknowledge,
            bulk_in=string_io.bulk_in, bulk_out=string_io.bulk_out, on_cpuid=self._on_cpuid,
            physical_page=layout.symbol("x86_cpu_get_phys_page_attrs_debug_x86_64"),
            invalidate=layout.symbol("tb_invalidate_phys_range_x86_64"),
            check_io=(ctypes.c_void_p * 3)(*(layout.symbol(f"helper_check_io{n}_x86_64") for n in "bwl")),
            ram=wiring.memory.blocks()[0].host_address, ram_pages=wiring.memory.ram_bytes >> 12,
        )  # fmt: skip
        self._host = host
        self._accel = self._lib.accel_open(ctypes.byref(host))
        self.shared = Shared.from_address(self._accel)
        pages = ctypes.c_uint8 * host.ram_pages
        self._code_pages = memoryview(pages.from_address(self._lib.accel_code_pages(self._accel))).cast("B")
        self.shared.virtual_clock = virtual_clock
        self.shared.patience_ns = engine.PATIENCE_NS
        self.shared.ring, self.shared.ring_mask = wiring.ring.address, SIZE - 1
        self.shared.virtual_ns = wiring.now_ns()
        self.time_moved()
        self._install_hooks(handle, virtual_clock)
        self.map_memory()
        self.map_claimed_ports()
        self.reset()

    def _load_internals(self) -> None:
        pointer, u64, u32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
        self._init_cpu = _internal("do_cpu_init_x86_64", pointer)
        self._read_eflags = _internal("helper_read_eflags_x86_64", pointer, result=u64)
        self._tlb_flush = _internal("tlb_flush_x86_64", pointer)
        self._tlb_flush_page = _internal("tlb_flush_page_x86_64", pointer, u64)
        self._set_a20 = _internal("x86_cpu_set_a20_x86_64", pointer, ctypes.c_int)
        self._update_cr = {
            0: _internal("cpu_x86_update_cr0_x86_64", pointer, u32),
            3: _internal("cpu_x86_update_cr3_x86_64", pointer, u64),
            4: _internal("cpu_x86_update_cr4_x86_64", pointer, u32),
        }

    def _install_hooks(self, handle: int, virtual_clock: bool) -> None:
        """Set the flags of section A of our Unicorn notes and hook the accelerator in."""
        # Without this, QEMU checks for exits in the middle of instructions: an asynchronous stop
        # then loses half an instruction's effects. Before any code is translated.
        ctypes.c_uint8.from_address(handle + layout.UC_NO_EXIT_REQUEST).value = 1
        self.uc.ctl_exits_enabled(True)  # `until` is never used, and its handling walks guest pages
        # #UD must reach the INTR hook like every other vector; Unicorn diverts it otherwise.
        ctypes.c_uint64.from_address(handle + layout.UC_STOP_INTERRUPT).value = 0
        self._hook(unicorn.UC_HOOK_INTR, "exception")
        self._hook(unicorn.UC_HOOK_MEM_WRITE_PROT, "rom_write")
        for name, instruction in (
            ("in", x86.UC_X86_INS_IN),
            ("out", x86.UC_X86_INS_OUT),
            ("syscall", x86.UC_X86_INS_SYSCALL),
            ("sysenter", x86.UC_X86_INS_SYSENTER),
            ("cpuid", x86.UC_X86_INS_CPUID),
            ("rdtsc", x86.UC_X86_INS_RDTSC),
        ):
            self._hook(unicorn.UC_HOOK_INSN, name, instruction)
        if virtual_clock:
            self._block_hook = self._hook(unicorn.UC_HOOK_BLOCK, "block")

    def _renew_block_hook(self) -> None:
        """Unicorn keeps a list of every block a hook was translated into, and never shortens it."""
        if self._block_hook and host_ns() >= self._renew_at_ns:
            self._unpaged(self._hook_blocks_anew)  # else a block no longer mapped leaves a page fault behind
            self._renew_at_ns = host_ns() + engine.HOOK_AGE_NS

    def _hook_blocks_anew(self) -> None:
        uclib.uc_hook_del(self.uc._uch, ctypes.c_size_t(self._block_hook))
        self._block_hook = self._hook(unicorn.UC_HOOK_BLOCK, "block")

    def _hook(self, kind: int, entry: str, *extra: int) -> int:
        hook = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            self.uc._uch, ctypes.byref(hook), kind, ctypes.c_void_p(self._entries[entry]),
            ctypes.c_void_p(self._accel), ctypes.c_uint64(1), ctypes.c_uint64(0),
            *(ctypes.c_int(e) for e in extra),
        )  # fmt: skip
        if status:
            raise EngineError(f"unicorn refused the {entry} hook: {unicorn.UcError(status)}")
        return int(hook.value)

    # -- memory and ports

    def map_ports(self, ports: PortRange) -> None:
        """Copy the bus's routing of `ports` into the accelerator's table."""
        bus = self.wiring.bus
        for port in range(ports.first, ports.first + ports.length):
            read, offset = bus.readers[port]
            self._map_port(port, read, bus.writers[port][0], offset)

    def _map_port(self, port: int, read: Any, write: Any, offset: int) -> None:  # noqa: ANN401
        bus = self.wiring.bus
        bulk = (port in bus.block_readers) | (port in bus.block_writers) << 1
        self._mapped_ports[port] = (read, write)  # the accelerator borrows the references
        self._lib.accel_port(self._accel, port, read, write, offset, bulk)

    def _map_window(self, address: int, length: int, read: Any, write: Any) -> None:  # noqa: ANN401
        window = Mmio(
            self._accel,
            id(read) if read is not None else None,
            id(write) if write is not None else None,
            address,
        )
        self._windows[address] = (window, read, write)
        pointer = ctypes.c_void_p(ctypes.addressof(window))
        status = uclib.uc_mmio_map(
            self.uc._uch, ctypes.c_uint64(address), ctypes.c_size_t(length),
            ctypes.c_void_p(self._entries["mmio_read"]), pointer,
            ctypes.c_void_p(self._entries["mmio_write"]), pointer,
        )  # fmt: skip
        if status:
            raise EngineError(f"unicorn refused MMIO at {address:#x}: {unicorn.UcError(status)}")

    def invalidate_code(self, address: int, length: int) -> None:
        """Forget code translated from this range, where any was."""
        page = address >> 12
        if (
            page < len(self._code_pages)
            and not self._code_pages[page]
            and (address & 0xFFF) + length <= 0x1000
        ):
            return  # nine in ten writes of the monitor's go to a page of data
        self._lib.accel_written(self._accel, address, address + self.memory_map.ram_delta(address), length)

    # -- state

    def fetch(self) -> EngineView:
        """Return the view: it lies on the live state."""
        return self.view

    def commit(self) -> None:
        """Nothing to do: the view is the state."""

    def read_rflags(self) -> int:
        """Have QEMU work the flags out."""
        flags: int = self._read_eflags(self._env)
        return flags

    def write_cr(self, index: int, value: int) -> None:
        """Use QEMU's own update: modes, hflags and the TLB follow."""
        self._update_cr[index](self._env, value)

    def flush_tlb(self) -> None:
        """Drop QEMU's whole TLB."""
        self._tlb_flush(self._cpu)

    def _on_cpuid(self, leaf: int, subleaf: int) -> int:
        regs = self.view.regs
        regs[0], regs[3], regs[1], regs[2] = self.wiring.cpuid(leaf, subleaf)
        return 0

    # -- control

    def reset(self) -> None:
        """Architectural reset: Unicorn's own leaves 32-bit protected mode behind."""
        self._init_cpu(self._cpu)  # this is INIT, which keeps MSRs and the FPU
        if self._power_on is None:
            self.view.regs[r.RDX] = self.cpu.leaves[1][0]  # its signature, [SDM3] table 9-1
            self._power_on = self.uc.context_save()
        self.uc.context_restore(self._power_on)
        self.set_up_hidden_page()
        self._arm_after_reset()
        self.shared.inject_vector = -1
        self._lib.accel_interrupt_line(self._accel, self.shared.interrupt_line)

    def run(self, deadline_ns: int) -> StopReason:
        """Run until the deadline, a stop, HLT or a triple fault."""
        state = self.view.state
        self.begin_run()
        if self._stop_requested():
            return StopReason.STOPPED
        self._renew_block_hook()
        error = self._lib.accel_run(self._accel, deadline_ns)
        if error in FETCH_ERRORS:
            if self._needs_the_hole():
                self.inject(r.UD)
            return StopReason.DEADLINE
        if error:
            raise EngineError(
                f"the engine failed at {state.segs[1].selector:04x}:{state.rip:x}: {unicorn.UcError(error)}"
            )
        if self.shared.triple_fault:
            self.shared.triple_fault = 0
            return StopReason.TRIPLE_FAULT
        if self._halted.value or self._asleep:
            self._halted.value, self._asleep = 0, False
            return StopReason.HALTED
        return StopReason.STOPPED if self._stop_requested() else StopReason.DEADLINE

    def _stop_requested(self) -> bool:
        requested, self._stopping = self._stopping, False
        return requested

    def stop(self) -> None:
        """Ask QEMU to return at the end of the current block."""
        self._stopping = True
        self._lib.accel_stop(self._accel)

    def halt(self) -> None:
        """HLT was emulated."""
        self._asleep = True
        self._lib.accel_stop(self._accel)

    def write_tsc(self, value: int) -> None:
        """Tell the accelerator too, which answers RDTSC."""
        super().write_tsc(value)
        self.shared.tsc_offset = self.tsc_offset

    def deadline_moved(self, deadline_ns: int) -> None:
        """Wake the watcher thread, or shorten the block budget."""
        self._lib.accel_deadline(self._accel, deadline_ns)

    def set_interrupt(self, level: bool) -> None:
        """Drive INTR; the interrupt is taken in the window QEMU gives it."""
        self._lib.accel_interrupt_line(self._accel, level)
        if self._mirror is not None:
            self._mirror.value = level

    @property
    def interrupt_line(self) -> bool:
        """Ask the accelerator."""
        return bool(self.shared.interrupt_line)

    def raise_nmi(self) -> None:
        """Latch one NMI."""
        self._lib.accel_nmi(self._accel)

    @property
    def nmi_pending(self) -> bool:
        """Ask QEMU's interrupt request and its blocking by an NMI handler."""
        return bool(self._lib.accel_nmi_pending(self._accel))

    def inject(self, vector: int, error_code: int = 0) -> None:
        """Queue one exception."""
        self._lib.accel_inject(self._accel, vector, error_code)

    def set_a20(self, enabled: bool) -> None:
        """Use QEMU's A20 gate."""
        self.view.gate_a20(enabled)
        self._set_a20(self._cpu, enabled)

    def set_trace(self, trace: TraceCall | None) -> None:
        """Have the accelerator call `trace` after each exit."""
        self._trace = trace
        self._lib.accel_trace(self._accel, None if trace is None else id(trace))

    def route_to_python(self, vector: int, enabled: bool) -> None:
        """Send one exception vector to the event router."""
        word, bit = self.shared.route, 1 << (vector & 63)
        word[vector >> 6] = word[vector >> 6] | bit if enabled else word[vector >> 6] & ~bit

    def counts(self) -> dict[tuple[Kind, int], Count]:
        """Read the accelerator's counters."""
        shared, found = self.shared, {}
        for kind in Kind:
            if kind is Kind.EXCEPTION:
                detail = enumerate(shared.exceptions)
            elif kind is Kind.INTERCEPT:
                detail = enumerate(shared.intercepts)
            else:
                detail = enumerate([shared.kinds[kind]])
            for number, entry in detail:
                if entry.count:
                    found[kind, number] = Count(entry.count, entry.host_ns)
        return found

    @property
    def virtual_ns(self) -> int:
        """Virtual time that executed code has spent, with what `skip_to` added."""
        return int(self.shared.virtual_ns)

    def time_moved(self) -> None:
        """Count from where the source of time stands now; the accelerator reads the same CLOCK_MONOTONIC."""
        self.shared.host_base_ns = host_ns() - self.wiring.now_ns()

    def skip_to(self, now_ns: int) -> None:
        """Move virtual time forward: the processor slept."""
        self.shared.virtual_ns = max(now_ns, self.shared.virtual_ns)

    def close(self) -> None:
        """Close Unicorn, then the library's own state. Idempotent."""
        if self._accel:
            handle, self._accel = self._accel, None
            close = self._lib.accel_close
            gone: Any = Closed()
            self.uc = self.view = self.shared = self._lib = self._halted = gone
            self._init_cpu = self._read_eflags = self._tlb_flush = self._set_a20 = gone
            self._tlb_flush_page = gone
            self._code_pages = memoryview(b"")
            self._update_cr = dict.fromkeys(self._update_cr, gone)
            close(handle)
