"""A bare Unicorn processor whose state is set to that of a fake view: the oracle of our own Python."""

from __future__ import annotations

import ctypes
from typing import Any

import unicorn
from unicorn.unicorn_py3.unicorn import uclib

from tests.vmm.cpu.fake_view import FakeView
from vmm.cpu import layout
from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.delivery import Event
from vmm.cpu.state import CpuState

MEMORY_BYTES = 0x10_0000
TLB_FILL = ctypes.CFUNCTYPE(
    ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_bool,
    ctypes.c_void_p,
)  # fmt: skip
STORE, FETCH = 1, 2
MMU_USER, MMU_KERNEL_NO_SMAP, MMU_KERNEL_SMAP = 1, 2, 0
HF_SMAP = 1 << 23


def call(name: str, *arguments: int) -> None:
    function = getattr(uclib, name)
    function.argtypes, function.restype = [ctypes.c_void_p] * len(arguments), None
    function(*arguments)


class Native:
    """A bare Unicorn processor whose state can be set to that of a fake view."""

    def __init__(self) -> None:
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.uc.mem_map(0, MEMORY_BYTES)
        self.cpu, env, cpu_class = layout.prove_internals(self.uc)
        self.env = CpuState.from_address(env)
        self.vector = ctypes.c_int32.from_address(self.cpu + layout.CPU_EXCEPTION_INDEX)
        self.fill = TLB_FILL(ctypes.c_uint64.from_address(cpu_class + layout.CLASS_TLB_FILL).value)  # type: ignore[arg-type]

    def be(self, view: FakeView) -> None:
        """Take over the view's registers and memory."""
        env = self.env
        self.uc.mem_write(0, bytes(view.memory.ram))
        for index in range(16):
            env.regs[index] = view.regs[index]
        env.rip, env.efer, env.a20_mask = view.rip, view.efer, -1
        pairs = [(env.segs[i], view.segs[i]) for i in range(6)]
        pairs += [(getattr(env, name), getattr(view, name)) for name in ("gdt", "idt", "ldt", "tr")]
        for to, source in pairs:
            to.selector, to.base, to.limit, to.flags = (
                source.selector,
                source.base,
                source.limit,
                source.flags,
            )
        for index in range(5):
            env.cr[index] = view.cr[index]
        env.cc_op, env.cc_src, env.df = s.CC_OP_EFLAGS, view.rflags & r.ARITHMETIC_FLAGS, 1
        env.eflags = view.rflags & ~(r.ARITHMETIC_FLAGS | r.DF)
        env.hflags = self._hflags(view)
        env.old_exception, env.error_code = -1, 0
        call("tlb_flush_x86_64", self.cpu)

    def _hflags(self, view: FakeView) -> int:
        hflags = view.cpl | s.HF_ADDSEG | (HF_SMAP if view.cr[4] & r.CR4_SMAP else 0)
        code = view.segs[r.CS].flags
        if view.cr[0] & r.CR0_PE:
            hflags |= s.HF_PE
        if view.efer & r.EFER_LMA:
            hflags |= s.HF_LMA | (s.HF_CS64 | s.HF_CS32 if code & r.DESC_L else 0)
        if code & r.DESC_B:
            hflags |= s.HF_CS32
        return hflags | (s.HF_SS32 if view.segs[r.SS].flags & r.DESC_B else 0)

    def deliver(self, event: Event) -> None:
        env = self.env
        self.vector.value = event.vector
        env.exception_is_int, env.error_code = int(event.software), event.error_code or 0
        env.exception_next_eip = event.next_rip or 0
        call("x86_cpu_do_interrupt_x86_64", self.cpu)

    def memory(self) -> bytes:
        return bytes(self.uc.mem_read(0, MEMORY_BYTES))

    def outcome(self) -> tuple[Any, ...]:
        env = self.env
        flags = env.eflags | env.cc_src & r.ARITHMETIC_FLAGS
        return env.rip, env.regs[r.RSP], flags, env.hflags & 3, segments(env)


def segments(view: CpuState | FakeView) -> list[tuple[int, int, int, int]]:
    return [(c.selector, c.base, c.limit, c.flags & 0xF0_FF00) for c in (view.segs[i] for i in range(6))]
