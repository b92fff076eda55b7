"""Unicorn as it comes, without our engine: the floor under what we add, and what our work-arounds save."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any, Final

import unicorn
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from tests.benchmarks.guest import BUFFER, MIB, ORIGIN, Loop, assemble

STACK: Final = 0x5000
WINDOW: Final = (0xA0000, 0x20000)
ANSWER: Final = 0x5A
FOR_EVER: Final = 1 << 31

_P, _U32, _U64, _INT = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int
_IN: Final = ctypes.CFUNCTYPE(_U32, _P, _U32, _INT, _P)
_OUT: Final = ctypes.CFUNCTYPE(None, _P, _U32, _INT, _U32, _P)
_INTR: Final = ctypes.CFUNCTYPE(None, _P, _U32, _P)
_CPUID: Final = ctypes.CFUNCTYPE(_INT, _P, _P)
_MMIO_READ: Final = ctypes.CFUNCTYPE(_U64, _P, _U64, ctypes.c_uint, _P)
_MMIO_WRITE: Final = ctypes.CFUNCTYPE(None, _P, _U64, ctypes.c_uint, _U64, _P)


class Stock:
    """Flat 32-bit code on a bare engine, each kind of exit a C callback that returns a constant."""

    def __init__(self) -> None:
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
        self.uc.mem_map(0, WINDOW[0])
        self.uc.mem_map(BUFFER, MIB)
        self._kept: list[Any] = []

    def time(self, loop: Loop) -> float:
        """Return the seconds of one turn."""
        text = f"bits 32\norg {ORIGIN}\ncld\n{loop.setup}\nmov ebp, {loop.count}\nagain:\n{loop.body}\n"
        self.uc.mem_write(ORIGIN, assemble(text + "dec ebp\njnz again\nhlt\n"))
        self.uc.ctl(unicorn.UC_CTL_TB_FLUSH, unicorn.UC_CTL_IO_WRITE)
        self.uc.reg_write(x86.UC_X86_REG_ESP, STACK)
        began = time.perf_counter()
        self.uc.emu_start(ORIGIN, 0)
        return (time.perf_counter() - began) / loop.count

    def port_reads_for(self, seconds: float) -> float:
        """Read a port for some time, whatever may hold Python up; return the seconds of one read."""
        began = time.perf_counter()
        reads = 0

        def answer(*_: object) -> int:
            nonlocal reads
            reads += 1
            if time.perf_counter() - began > seconds:
                self.uc.emu_stop()
            return ANSWER

        self._hook(unicorn.UC_HOOK_INSN, _IN(answer), x86.UC_X86_INS_IN)
        self.time(Loop("in al, 0x80", FOR_EVER))
        return (time.perf_counter() - began) / reads

    def with_callbacks(self) -> Stock:
        """Hook everything with raw ctypes functions, the least that Python can be called with."""
        self._hook(unicorn.UC_HOOK_INSN, _IN(lambda *_: ANSWER), x86.UC_X86_INS_IN)
        self._hook(unicorn.UC_HOOK_INSN, _OUT(lambda *_: None), x86.UC_X86_INS_OUT)
        self._hook(unicorn.UC_HOOK_INSN, _CPUID(lambda *_: 1), x86.UC_X86_INS_CPUID)
        self._hook(unicorn.UC_HOOK_INTR, _INTR(lambda *_: None))
        read, write = _MMIO_READ(lambda *_: ANSWER), _MMIO_WRITE(lambda *_: None)
        self._kept += [read, write]
        status = uclib.uc_mmio_map(
            self.uc._uch, ctypes.c_uint64(WINDOW[0]), ctypes.c_size_t(WINDOW[1]), read, None, write, None
        )
        assert status == unicorn.UC_ERR_OK, status
        return self

    def with_binding(self) -> Stock:
        """Hook ports through the official binding."""
        add: Callable[..., int] = self.uc.hook_add
        add(unicorn.UC_HOOK_INSN, lambda *_: ANSWER, None, 1, 0, x86.UC_X86_INS_IN)
        add(unicorn.UC_HOOK_INSN, lambda *_: None, None, 1, 0, x86.UC_X86_INS_OUT)
        self.uc.mmio_map(*WINDOW, lambda *_: ANSWER, None, lambda *_: None, None)
        return self

    def with_empty_code_hook(self) -> Stock:
        """Call an empty Python function ahead of every instruction, through the official binding."""
        self.uc.hook_add(unicorn.UC_HOOK_CODE, lambda *_: None)
        return self

    def _hook(self, kind: int, callback: object, *extra: int) -> None:
        self._kept.append(callback)
        handle = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            self.uc._uch, ctypes.byref(handle), kind, callback, None, ctypes.c_uint64(1), ctypes.c_uint64(0),
            *(ctypes.c_int(number) for number in extra),
        )  # fmt: skip
        assert status == unicorn.UC_ERR_OK, status
