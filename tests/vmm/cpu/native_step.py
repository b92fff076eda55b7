"""One instruction run by Unicorn itself, and the same by `emulate` on the same processor's `EngineView`."""

from __future__ import annotations

import ctypes
import zlib
from typing import Any, cast

import unicorn
from unicorn import x86_const
from unicorn.unicorn_py3.unicorn import uclib

from tests.vmm.cpu.fake_services import FakeServices
from tests.vmm.cpu.fake_view import FakeView
from tests.vmm.cpu.native import Native
from vmm.cpu import layout
from vmm.cpu import registers as r
from vmm.cpu.emulate import Outcome, emulate
from vmm.cpu.engine import Engine
from vmm.cpu.paging import GuestFault
from vmm.cpu.view import EngineView
from vmm.memory import Memory

USED_BYTES = 0x2_4000  # of memory: all that the guests here can reach
FLAGS_COMPARED = ~(r.RF | r.VIF | r.VIP)  # Unicorn's IRET leaves VIF and VIP, and RF on the way to VM86


class Result:
    """What an instruction did. After a fault only the fault counts."""

    def __init__(self, fault: tuple[int, int | None] | None, state: tuple[Any, ...]) -> None:
        self.fault = fault
        self.state = state if fault is None else ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and (self.fault, self.state) == (other.fault, other.state)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.fault is not None:
            return f"fault {self.fault[0]}({self.fault[1]!r})"
        rip, regs, flags, cpl, segments = self.state[:5]
        registers = " ".join(f"{value:x}" for value in regs)
        hidden = " ".join(f"{a:x}/{b:x}/{c:x}/{d:x}" for a, b, c, d in segments)
        return f"rip {rip:x} flags {flags:x} cpl {cpl} regs {registers} segments {hidden}"


class _UcMemory:
    """Physical memory, through Unicorn."""

    def __init__(self, uc: unicorn.Uc) -> None:
        self._uc = uc

    def read(self, address: int, length: int) -> bytes:
        return bytes(self._uc.mem_read(address, length))

    def write(self, address: int, data: bytes) -> None:
        self._uc.mem_write(address, bytes(data))


class Stepper(Native):
    """Runs one instruction in a given state, natively or emulated. Ports are answered alike."""

    def __init__(self) -> None:
        super().__init__()
        handle = layout.handle_of(self.uc)
        ctypes.c_uint64.from_address(handle + layout.UC_STOP_INTERRUPT).value = 0
        self.uc.ctl_exits_enabled(True)
        self.services = FakeServices()
        self._fault: tuple[int, int | None] | None = None
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._on_exception)
        self.uc.hook_add(unicorn.UC_HOOK_INSN, self._on_in, None, 1, 0, x86_const.UC_X86_INS_IN)
        self.uc.hook_add(unicorn.UC_HOOK_INSN, self._on_out, None, 1, 0, x86_const.UC_X86_INS_OUT)
        self._read_eflags = uclib.helper_read_eflags_x86_64
        self._read_eflags.argtypes, self._read_eflags.restype = [ctypes.c_void_p], ctypes.c_uint64
        memory = cast("Memory", _UcMemory(self.uc))
        self.view = EngineView(cast("Engine", self), self.env, memory)

    def read_rflags(self) -> int:
        """What `EngineView` asks of its engine."""
        return int(self._read_eflags(ctypes.addressof(self.env)))

    def write_cr(self, index: int, value: int) -> None:
        """Write a control register, side effects left out."""
        self.env.cr[index] = value

    def _on_exception(self, uc: unicorn.Uc, vector: int, data: Any) -> None:  # noqa: ANN401
        error = self.env.error_code if vector in r.VECTORS_WITH_ERROR_CODE else None
        self._fault = vector, error
        uc.emu_stop()

    def _on_in(self, uc: unicorn.Uc, port: int, size: int, data: Any) -> int:  # noqa: ANN401
        return self.services.port_in(port, size)

    def _on_out(self, uc: unicorn.Uc, port: int, size: int, value: int, data: Any) -> None:  # noqa: ANN401
        self.services.port_out(port, size, value)

    def _prepare(self, view: FakeView) -> None:
        self.be(view)
        self.env.exception_is_int = 0
        self.env.df = -1 if view.rflags & r.DF else 1
        self.uc.ctl(unicorn.UC_CTL_TB_FLUSH, unicorn.UC_CTL_IO_WRITE)
        self.services = FakeServices()
        self._fault = None

    def native(self, view: FakeView) -> Result:
        """Run the instruction at CS:RIP by Unicorn."""
        self._prepare(view)
        self.env.eflags = view.rflags  # taken apart at the start, put together at the end
        self.uc.emu_start(view.rip, (1 << 64) - 1, count=1)
        return self._result(self._fault)

    def emulated(self, view: FakeView) -> Result:
        """Run it by `emulate`. A fault must have changed nothing."""
        self._prepare(view)
        before = self._state()
        try:
            outcome = emulate(self.view, self.services)
        except GuestFault as fault:
            assert self._state() == before
            return self._result((fault.vector, fault.error_code))
        assert outcome is not Outcome.UNHANDLED
        if self.env.cr[0] & r.CR0_PE and not self.env.eflags & r.VM:
            assert self.env.segs[r.CS].selector & 3 == self.view.cpl
        return self._result(None)

    def _state(self) -> tuple[Any, ...]:
        env = self.env
        mask = (1 << 64) - 1 if env.efer & r.EFER_LMA else 0xFFFF_FFFF
        segments = []
        for cache in (*(env.segs[index] for index in range(6)), env.ldt, env.tr):
            null = not cache.selector & 0xFFFC
            hidden = (0, 0, 0) if null else (cache.base, cache.limit, cache.flags & 0xF0_FF00)
            segments.append((cache.selector, *hidden))
        regs = tuple(value & mask for value in env.regs)
        flags = self.read_rflags() & FLAGS_COMPARED
        memory = zlib.crc32(self.uc.mem_read(0, USED_BYTES))
        if env.cr[0] & r.CR0_PE and not flags & r.VM:
            # Unicorn leaves the DPL as the RPL of CS after a call gate to conforming code
            segments[r.CS] = (segments[r.CS][0] & ~3, *segments[r.CS][1:])
        return env.rip, regs, flags, env.hflags & 3, segments, memory, self.services.port_log

    def _result(self, fault: tuple[int, int | None] | None) -> Result:
        return Result(fault, self._state())
