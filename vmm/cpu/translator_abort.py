"""QEMU's translator gives up on some instructions by abort(): here each is one that could not be fetched.

LOCK BT of a register is such an instruction: the translator loads from an address it never worked out.
Three calls the library makes through its table of functions (the GOT: data, not code) go by way of
a page of machine code, so that no C compiler is needed:

- cpu_exec, QEMU's main loop: notes that it runs;
- tb_gen_code, the translator: notes where its return address lies. The main loop makes all its calls
  at one depth of the stack, so it stands there as long as, and only while, code is being translated;
- abort: out of the translator, ends the run with UC_ERR_FETCH_UNMAPPED by the longjmp that a failed
  fetch takes. Any other abort goes its way.

No signal is caught, and running code costs nothing. What follows from a failed fetch the engines know
(`Engine._needs_the_hole`). For x86-64 Linux only: elsewhere such an instruction ends the process. The
notes are not kept by thread, so the translators of two threads must not run at once for this to help.

Sources: [ELF] System V gABI chapter 5 "Dynamic Section" and its AMD64 supplement §5.2 (GOT and PLT);
[SDM2A] chapter 2 for the machine code.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import sys
from functools import cache
from typing import Final

import unicorn

from vmm.cpu import layout
from vmm.errors import EngineError

# The page: 8-byte fields, then the code
_INSIDE, _FRAME, _RETURN, _CPU, _CPU_EXEC, _TB_GEN_CODE, _ABORT, _LOOP_EXIT = range(0, 64, 8)
_CODE: Final = 64
_FUNCTIONS: Final = ("cpu_exec_x86_64", "tb_gen_code_x86_64", "abort")
_DEEPEST: Final = 0x10000  # bytes of stack between main loop and abort; another thread's stack is further off
_EXCP_INTERRUPT: Final = 0x10000  # QEMU's number for leaving the main loop

_PT_DYNAMIC: Final = 2  # [ELF] "Program Header"
_DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_JMPREL = 2, 5, 6, 10, 23
_RELA_BYTES: Final = 24  # r_offset, r_info: type and symbol, r_addend
_SYM_BYTES: Final = 24  # begins with st_name


def _at(field: int) -> bytes:
    return bytes((field,))


def _main_loop(page: bytes) -> bytes:
    """Machine code in place of cpu_exec: INSIDE is its frame while it runs."""
    return b"".join((
        b"\x49\xbb", page,  # mov r11, page
        b"\x41\xff\x73", _at(_INSIDE),  # push [r11 + INSIDE]; aligns the stack, too
        b"\x49\x89\x63", _at(_INSIDE),  # mov [r11 + INSIDE], rsp
        b"\x49\x83\x63", _at(_FRAME), b"\0",  # and qword [r11 + FRAME], 0
        b"\x41\xff\x53", _at(_CPU_EXEC),  # call [r11 + CPU_EXEC]
        b"\x49\xbb", page,  # mov r11, page
        b"\x49\x83\x63", _at(_FRAME), b"\0",  # and qword [r11 + FRAME], 0
        b"\x41\x8f\x43", _at(_INSIDE),  # pop [r11 + INSIDE]
        b"\xc3",  # ret
    ))  # fmt: skip


def _translator(page: bytes) -> bytes:
    """Machine code in place of tb_gen_code(cpu, ...)."""
    return b"".join((
        b"\x49\xbb", page,  # mov r11, page
        b"\x48\x8b\x04\x24",  # mov rax, [rsp]
        b"\x49\x89\x43", _at(_RETURN),  # mov [r11 + RETURN], rax
        b"\x49\x89\x63", _at(_FRAME),  # mov [r11 + FRAME], rsp
        b"\x49\x89\x7b", _at(_CPU),  # mov [r11 + CPU], rdi
        b"\x41\xff\x63", _at(_TB_GEN_CODE),  # jmp [r11 + TB_GEN_CODE]
    ))  # fmt: skip


def _give_up(page: bytes) -> bytes:
    """Machine code in place of abort."""
    checks = (
        b"\x49\x8b\x43" + _at(_INSIDE)  # mov rax, [r11 + INSIDE]
        + b"\x48\x29\xe0"  # sub rax, rsp
        + b"\x48\x3d" + struct.pack("<I", _DEEPEST)  # cmp rax, DEEPEST
        + b"\x77",  # ja other
        b"\x49\x8b\x43" + _at(_FRAME)  # mov rax, [r11 + FRAME]
        + b"\x48\x85\xc0"  # test rax, rax
        + b"\x74",  # jz other
        b"\x48\x8b\x00"  # mov rax, [rax]
        + b"\x49\x3b\x43" + _at(_RETURN)  # cmp rax, [r11 + RETURN]
        + b"\x75",  # jne other
    )  # fmt: skip
    code = b"".join((
        b"\x49\x8b\x7b", _at(_CPU),  # mov rdi, [r11 + CPU]
        b"\x48\x8b\x87", struct.pack("<I", layout.CPU_UC),  # mov rax, [rdi + CPU_UC]
        # mov dword [rax + UC_INVALID_ERROR], ...; mov dword [rdi + CPU_EXCEPTION_INDEX], ...
        b"\xc7\x80", struct.pack("<II", layout.UC_INVALID_ERROR, unicorn.UC_ERR_FETCH_UNMAPPED),
        b"\xc7\x87", struct.pack("<II", layout.CPU_EXCEPTION_INDEX, _EXCP_INTERRUPT),
        b"\x41\xff\x63", _at(_LOOP_EXIT),  # jmp [r11 + LOOP_EXIT], which comes back as little as abort
    ))  # fmt: skip
    for check in reversed(checks):
        code = check + bytes((len(code),)) + code
    return b"\x49\xbb" + page + code + b"\x41\xff\x63" + _at(_ABORT)  # other: jmp [r11 + ABORT]


class _DlInfo(ctypes.Structure):
    _fields_ = [
        ("file", ctypes.c_char_p), ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p), ("address", ctypes.c_void_p),
    ]  # fmt: skip


def _dynamic_section() -> tuple[int, dict[int, int]]:
    """Return where Unicorn's library is loaded, and its dynamic section."""
    info = _DlInfo()
    ctypes.CDLL(None).dladdr(ctypes.c_void_p(layout.symbol("uc_emu_start")), ctypes.byref(info))
    base = info.base
    header = struct.unpack("<16sHHIQQQIHHHHHH", ctypes.string_at(base, 64))
    table = ctypes.string_at(base + header[5], header[9] * header[10])
    for kind, _, _, at, _, _, length, _ in struct.iter_unpack("<IIQQQQQQ", table):
        if kind == _PT_DYNAMIC:
            return base, dict(struct.iter_unpack("<QQ", ctypes.string_at(base + at, length)))
    return base, {}


def _slots(names: tuple[str, ...]) -> list[int]:
    """Return where the library has the addresses of these functions, through which it calls them."""
    base, dynamic = _dynamic_section()
    found: dict[str, int] = {}
    if _DT_JMPREL in dynamic:
        tables = (dynamic[tag] for tag in (_DT_JMPREL, _DT_SYMTAB, _DT_STRTAB))
        jumps_at, symbols_at, strings_at = (at if at >= base else base + at for at in tables)
        jumps = memoryview(ctypes.string_at(jumps_at, dynamic[_DT_PLTRELSZ]))
        places = jumps.cast("Q")[:: _RELA_BYTES // 8].tolist()
        numbers = jumps.cast("I")[3 :: _RELA_BYTES // 4].tolist()
        symbols = memoryview(ctypes.string_at(symbols_at, (max(numbers) + 1) * _SYM_BYTES))
        name_of = symbols.cast("I")[:: _SYM_BYTES // 4].tolist()
        strings = ctypes.string_at(strings_at, dynamic[_DT_STRSZ])
        wanted = tuple(f"{name}\0".encode() for name in names)
        for place, number in zip(places, numbers, strict=True):
            name = name_of[number]
            if strings.startswith(wanted, name):
                found[strings[name : strings.index(b"\0", name)].decode()] = base + place
    missing = [name for name in names if name not in found]
    if missing:
        raise EngineError(f"unicorn {unicorn.__version__}: no call of {', '.join(missing)} to lead elsewhere")
    return [found[name] for name in names]


def _executable_page() -> int:
    """Return the address of a new page, never given back: the library calls through it to the end."""
    allocate = ctypes.CDLL(None, use_errno=True).mmap
    allocate.restype = ctypes.c_void_p
    allocate.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    access = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC  # as Unicorn's own buffer of code
    page = allocate(None, mmap.PAGESIZE, access, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if page == ctypes.c_void_p(-1).value:
        raise EngineError(f"no memory for machine code: {ctypes.get_errno()}")
    return int(page)


@cache
def survive() -> bool:
    """Lead the three calls by way of the page, to the end of the process; say whether that is done."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    layout.prove_translator()
    slots, page = _slots(_FUNCTIONS), _executable_page()
    abort = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    internals = [layout.symbol(f"{name}_x86_64") for name in ("cpu_exec", "tb_gen_code", "cpu_loop_exit")]
    fields = struct.pack("<4Q", internals[0], internals[1], abort, internals[2])
    code, entries = b"", []
    for make in (_main_loop, _translator, _give_up):
        entries.append(page + _CODE + len(code))
        code += make(struct.pack("<Q", page))
    ctypes.memmove(page + _CPU_EXEC, fields + code, len(fields + code))
    for slot, entry in zip(slots, entries, strict=True):
        ctypes.c_uint64.from_address(slot).value = entry
    return True
