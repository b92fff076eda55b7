"""The accelerator seen from Python: its structures, mirrored field by field, and how it is loaded."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any, Final

from vmm.errors import EngineError

_REMEDY: Final = "with a C compiler, install Trapline again; the portable engine works without"
LIBRARY: Final = Path(__file__).with_name("_accel.so")


class Host(ctypes.Structure):
    """struct host of accelerator.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("uc", "cpu", "env", "cpu_class")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "do_interrupt", "hardirq", "tlb_reset_dirty", "read_eflags", "write_eflags",
                "emu_start", "emu_stop", "read_linear",
            )
        ),
        *(
            (name, ctypes.py_object)
            for name in ("on_event", "acknowledge", "bulk_in", "bulk_out", "on_cpuid")
        ),
        ("physical_page", ctypes.c_void_p),
        ("invalidate", ctypes.c_void_p),
        ("check_io", ctypes.c_void_p * 3),
        ("ram", ctypes.c_void_p),
        ("ram_pages", ctypes.c_uint64),
    ]  # fmt: skip


class Count(ctypes.Structure):
    """struct count of accelerator.h."""

    _fields_ = [("count", ctypes.c_uint64), ("host_ns", ctypes.c_uint64)]


class Shared(ctypes.Structure):
    """struct shared of accelerator.h."""

    _fields_ = [
        ("route", ctypes.c_uint64 * 4),
        ("kinds", Count * 15),
        ("exceptions", Count * 32),
        ("intercepts", Count * 0x500),
        ("inject_vector", ctypes.c_int64),
        ("inject_error", ctypes.c_uint64),
        ("virtual_ns", ctypes.c_uint64),
        ("virtual_deadline", ctypes.c_uint64),
        ("host_base_ns", ctypes.c_int64),
        ("tsc_offset", ctypes.c_int64),
        ("patience_ns", ctypes.c_int64),
        ("store_fills", ctypes.c_uint64),
        ("fetch_fills", ctypes.c_uint64),
        ("virtual_clock", ctypes.c_uint32),
        ("failed", ctypes.c_uint32),
        ("interrupt_line", ctypes.c_uint32),
        ("stopping", ctypes.c_uint32),
        ("triple_fault", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
        ("ring", ctypes.c_void_p),
        ("ring_mask", ctypes.c_uint64),
        ("ring_next", ctypes.c_uint64),
        ("monitored", ctypes.c_uint32),
        ("watch_blocks", ctypes.c_uint32),
        ("virtual_flags", ctypes.c_void_p),
        ("block", ctypes.c_uint64),
        ("block_bytes", ctypes.c_uint32),
        ("block_waits", ctypes.c_uint32),
        ("vmcb", ctypes.c_void_p),
        ("assisted", ctypes.c_uint32),
        ("window_wanted", ctypes.c_uint32),
        ("interrupt_told", ctypes.c_uint32),
        ("ports_closed", ctypes.c_uint32),
        ("root", ctypes.c_uint64),
        ("stray_cr3", ctypes.c_uint64),
        ("touch_address", ctypes.c_uint64),
        ("touch_access", ctypes.c_uint64),
        ("data_first", ctypes.c_uint64),
        ("data_pages", ctypes.c_uint64),
    ]


class Mmio(ctypes.Structure):
    """struct mmio of accelerator.h."""

    _fields_ = [
        ("accel", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("write", ctypes.c_void_p),
        ("base", ctypes.c_uint64),
    ]


class Entry(ctypes.Structure):
    """struct entry of engine.c."""

    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p)]


def _why_not(error: OSError) -> str:
    """Say why the library does not load; the build leaves a note where it would be."""
    note = LIBRARY.with_suffix(".txt")
    if LIBRARY.exists() or not note.exists():
        return f"the accelerated engine is not built: {error}"
    return f"the accelerated engine is not built: {note.read_text().strip()}"


@cache
def library() -> tuple[ctypes.PyDLL, dict[str, int]]:
    """Load the library; return it and the addresses of its callbacks."""
    try:
        lib = ctypes.PyDLL(str(LIBRARY))
    except OSError as error:
        raise EngineError(f"{_why_not(error)}; {_REMEDY}") from error
    try:
        sizes = tuple((ctypes.c_size_t * 2).in_dll(lib, "accel_sizes"))
    except ValueError:
        sizes = ()
    if sizes != (ctypes.sizeof(Host), ctypes.sizeof(Shared)):
        raise EngineError(f"{LIBRARY.name} was built from another source: install Trapline again")
    handle, i64, u32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint32
    signatures: dict[str, tuple[list[Any], Any]] = {
        "accel_open": ([ctypes.POINTER(Host)], handle),
        "accel_close": ([handle], None),
        "accel_run": ([handle, i64], ctypes.c_int),
        "accel_deadline": ([handle, i64], None),
        "accel_stop": ([handle], None),
        "accel_inject": ([handle, ctypes.c_int, u32], None),
        "accel_interrupt_line": ([handle, ctypes.c_int], None),
        "accel_nmi": ([handle], None),
        "accel_nmi_pending": ([handle], ctypes.c_int),
        "accel_port": ([handle, u32, ctypes.py_object, ctypes.py_object, u32, u32], None),
        "accel_fetch_from": ([handle, ctypes.c_uint64, ctypes.c_void_p], None),
        "accel_code_pages": ([handle], ctypes.c_void_p),
        "accel_trace": ([handle, ctypes.c_void_p], None),
        "accel_on_event": ([handle, ctypes.c_void_p], None),
        "accel_written": ([handle, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64], None),
    }
    for name, (arguments, result) in signatures.items():
        function = getattr(lib, name)
        function.argtypes, function.restype = arguments, result
    entries = {}
    for entry in (Entry * 64).in_dll(lib, "accel_entries"):
        if not entry.name:
            break
        entries[entry.name.decode()] = entry.function
    return lib, entries
