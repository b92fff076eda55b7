"""Proof that the Unicorn we run on is the build whose structures we overlay.

Everything below Unicorn's public API that the engines use lies at offsets of one build (2.1.4).
Writing through such an offset on another build would corrupt guests silently, so each is proved
when an engine starts: the CPU state by writing values through the public API and finding them,
the rest by looking into the code and data of the library.
"""

from __future__ import annotations

import ctypes
import re
import struct
from typing import Any, Final

import unicorn
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import uclib

from vmm.cpu import registers as r
from vmm.cpu.state import CpuState
from vmm.errors import EngineError

VERSION: Final = "2.1.4"
CONTEXT_BYTES: Final = 5568
CONTEXT_DATA: Final = 40  # offset of the CPU state in a uc_context

# struct uc_struct
UC_STOP_INTERRUPT: Final = 224
UC_CPU: Final = 440
UC_INVALID_ERROR: Final = 1424
UC_NO_EXIT_REQUEST: Final = 2034
# CPUState
CPU_ENV_POINTER: Final = 296
CPU_HALTED: Final = 33176
CPU_EXCEPTION_INDEX: Final = 33184
CPU_UC: Final = 33192
CPU_CLASS: Final = 33200
CPU_ENV: Final = 35408
# CPUClass
CLASS_DO_INTERRUPT: Final = 0x10
CLASS_TLB_FILL: Final = 0x48
CLASS_EXEC_INTERRUPT: Final = 0x90
# CPUX86State beyond the context
ENV_FEATURES: Final = 5632  # uint64_t [0] CPUID.1.EDX, [1] 1.ECX, [5] 8000_0001.EDX, [6] 8000_0001.ECX


def symbol(name: str) -> int:
    """Return the address of a function of the library; EngineError if this build lacks it."""
    try:
        address = ctypes.cast(getattr(uclib, name), ctypes.c_void_p).value
    except AttributeError:
        address = None
    if address is None:
        raise EngineError(f"unicorn {unicorn.__version__}: no function {name}; {_needed()}")
    return address


def handle_of(uc: unicorn.Uc) -> int:
    """Return the address of an instance's uc_struct."""
    pointer = uc._uch
    assert pointer is not None
    assert pointer.value is not None
    return int(pointer.value)


def _needed() -> str:
    return f"Trapline needs unicorn {VERSION} (pip install 'unicorn=={VERSION}')"


def prove_version() -> None:
    """Refuse another version of Unicorn, naming both."""
    if unicorn.__version__ != VERSION:
        raise EngineError(
            f"found unicorn {unicorn.__version__}; {_needed()}: its CPU state layout is the one proved"
        )


_PROBES: Final = (
    (x86.UC_X86_REG_RAX, CpuState.regs.offset, 8),  # type: ignore[attr-defined]
    (x86.UC_X86_REG_RSP, CpuState.regs.offset + 8 * r.RSP, 8),  # type: ignore[attr-defined]
    (x86.UC_X86_REG_R15, CpuState.regs.offset + 8 * 15, 8),  # type: ignore[attr-defined]
    (x86.UC_X86_REG_RIP, CpuState.rip.offset, 8),  # type: ignore[attr-defined]
    (x86.UC_X86_REG_CR2, CpuState.cr.offset + 16, 8),  # type: ignore[attr-defined]
    (x86.UC_X86_REG_FS_BASE, CpuState.segs.offset + 24 * r.FS + 8, 8),  # type: ignore[attr-defined]
)
_MSR_PROBES: Final = (
    (0x174, CpuState.sysenter_cs.offset, 4),  # type: ignore[attr-defined]
    (0x175, CpuState.sysenter_esp.offset, 8),  # type: ignore[attr-defined]
    (0x176, CpuState.sysenter_eip.offset, 8),  # type: ignore[attr-defined]
    (0xC0000081, CpuState.star.offset, 8),  # type: ignore[attr-defined]
    (0xC0000082, CpuState.lstar.offset, 8),  # type: ignore[attr-defined]
    (0xC0000084, CpuState.fmask.offset, 8),  # type: ignore[attr-defined]
)
_TABLE_PROBES: Final = (
    (x86.UC_X86_REG_GDTR, CpuState.gdt.offset),
    (x86.UC_X86_REG_IDTR, CpuState.idt.offset),
    (x86.UC_X86_REG_LDTR, CpuState.ldt.offset),
    (x86.UC_X86_REG_TR, CpuState.tr.offset),
)


def prove_state() -> None:
    """Write values through the public API and find each at its offset of a saved context."""
    prove_version()
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    expected: list[tuple[int, int, int]] = []
    for number, (register, offset, size) in enumerate(_PROBES, 1):
        value = 0x0123_4567_0000 + number
        uc.reg_write(register, value)
        expected.append((offset, size, value))
    for number, (msr, offset, size) in enumerate(_MSR_PROBES, 1):
        uc.msr_write(msr, 0x1200 + number)
        expected.append((offset, size, 0x1200 + number))
    for number, (register, offset) in enumerate(_TABLE_PROBES, 1):
        uc.reg_write(register, (0, 0x4_5000 + number, 0x6700 + number, 0))
        expected += [(offset + 8, 8, 0x4_5000 + number), (offset + 16, 4, 0x6700 + number)]
    blob = context_bytes(uc.context_save())
    for offset, size, value in expected:
        found = int.from_bytes(blob[offset : offset + size], "little")
        if found != value:
            raise EngineError(
                f"unicorn {unicorn.__version__} has another CPU state layout: at offset {offset} expected "
                f"{value:#x}, found {found:#x}; {_needed()}"
            )


def context_bytes(context: Any) -> bytes:  # noqa: ANN401  (unicorn's class is not exported)
    """Return the CPU state of a saved context; EngineError if it has another size."""
    pointer = ctypes.cast(context._context, ctypes.c_void_p).value
    assert pointer is not None
    size = ctypes.c_size_t.from_address(pointer).value
    if size != CONTEXT_BYTES:
        raise EngineError(
            f"unicorn {unicorn.__version__}: CPU state of {size} bytes, not {CONTEXT_BYTES}; {_needed()}"
        )
    return ctypes.string_at(pointer + CONTEXT_DATA, size)


def _prove_in_code(function: str, length: int, fields: dict[str, int]) -> None:
    """Find these offsets among the first bytes of a function that uses them."""
    code = ctypes.string_at(symbol(function), length)
    for name, offset in fields.items():
        if struct.pack("<I", offset) not in code:
            raise EngineError(f"unicorn {unicorn.__version__}: {name} is not at {offset}; {_needed()}")


def prove_translator() -> None:
    """Prove what translator_abort.py writes on its way out of the translator."""
    prove_version()
    _prove_in_code("cpu_loop_exit_x86_64", 64, {"uc": CPU_UC})
    _prove_in_code("uc_emu_start", 1024, {"invalid_error": UC_INVALID_ERROR})
    _prove_in_code("x86_cpu_do_interrupt_x86_64", 96, {"exception_index": CPU_EXCEPTION_INDEX})


_VMRUN_BYTES: Final = 3440
_NESTED_STORES: Final = (  # field, the opcode and ModRM byte that reach it, what follows its offset
    ("hflags2", rb"\x83[\x88-\x8f]", b"\x40"),  # OR m32, imm8: HF2_NPT
    ("nested_cr3", rb"[\x48\x4c]\x89[\x80-\xbf]", b""),  # MOV m64, r64
    ("nested_mode", rb"\xc7[\x80-\x87]", bytes(4)),  # MOV m32, 0
)


def prove_nested() -> None:
    """Find the stores by which VMRUN begins nested paging: what the technique writes in its place."""
    prove_version()
    code = ctypes.string_at(symbol("helper_vmrun_x86_64"), _VMRUN_BYTES)
    for name, opcode, immediate in _NESTED_STORES:
        offset = getattr(CpuState, name).offset
        if not re.search(opcode + re.escape(struct.pack("<I", offset) + immediate), code, re.DOTALL):
            raise EngineError(f"unicorn {unicorn.__version__}: {name} is not at {offset}; {_needed()}")


def prove_internals(uc: unicorn.Uc) -> tuple[int, int, int]:
    """Prove the offsets outside the CPU state; return the addresses of CPUState, its env and its class."""
    names = ("exception_is_int", "exception_next_eip", "old_exception", "error_code")
    fields = {name: CPU_ENV + getattr(CpuState, name).offset for name in names}
    _prove_in_code("x86_cpu_do_interrupt_x86_64", 96, {**fields, "exception_index": CPU_EXCEPTION_INDEX})
    handle = handle_of(uc)
    cpu = ctypes.c_uint64.from_address(handle + UC_CPU).value
    if ctypes.c_uint64.from_address(cpu + CPU_ENV_POINTER).value != cpu + CPU_ENV:
        raise EngineError(f"unicorn {unicorn.__version__}: the CPU is not where 2.1.4 has it; {_needed()}")
    cpu_class = ctypes.c_uint64.from_address(cpu + CPU_CLASS).value
    for offset, name in (
        (CLASS_DO_INTERRUPT, "x86_cpu_do_interrupt_x86_64"),
        (CLASS_TLB_FILL, "x86_cpu_tlb_fill_x86_64"),
        (CLASS_EXEC_INTERRUPT, "x86_cpu_exec_interrupt_x86_64"),
    ):
        if ctypes.c_uint64.from_address(cpu_class + offset).value != symbol(name):
            raise EngineError(
                f"unicorn {unicorn.__version__}: CPUClass has no {name} at {offset:#x}; {_needed()}"
            )
    return cpu, cpu + CPU_ENV, cpu_class
