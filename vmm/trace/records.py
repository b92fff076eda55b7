"""Turns the engine's terse account of an exit (kind and two numbers) into a reason and words.

The engine records exits as numbers, since it must be quick; both the live trace and the post-mortem
of a dead engine read them here. Kinds are those of `vmm.cpu.engine.Kind`, kept as plain numbers so
that the supervisor need not load the engine.
"""

from __future__ import annotations

from typing import Final

from vmm.trace.reasons import CATALOGUE, intercept_key

IN: Final = 1
OUT: Final = 2
MMIO_READ: Final = 3
MMIO_WRITE: Final = 4
EXCEPTION: Final = 5
SOFTWARE_INT: Final = 6
INTERRUPT: Final = 7
NMI: Final = 8
CPUID: Final = 9
RDTSC: Final = 10
SYSCALL: Final = 11
SYSENTER: Final = 12
INTERCEPT: Final = 13
HLT: Final = 14
KIND_KEYS: Final = {
    IN: "io.in", OUT: "io.out", MMIO_READ: "mmio.read", MMIO_WRITE: "mmio.write",
    SOFTWARE_INT: "software-int", INTERRUPT: "interrupt", NMI: "nmi", CPUID: "cpuid", RDTSC: "rdtsc",
    SYSCALL: "syscall", SYSENTER: "sysenter", HLT: "hlt",
}  # fmt: skip
INTERCEPT_VECTOR: Final = 0x100  # vectors from here on are this + an AMD-V exit code
_EXCEPTION_CODE: Final = 0x40  # AMD-V exit code of vector 0
_EXCEPTION_KEYS: Final = {
    reason.amd_v - _EXCEPTION_CODE: key
    for key, reason in CATALOGUE.items()
    if key.startswith("exception.") and reason.amd_v is not None
}


def reason_of(kind: int, vector: int) -> str:
    """Return the reason's key; `vector` matters for exceptions and intercepts only."""
    if kind in (EXCEPTION, INTERCEPT) and vector >= INTERCEPT_VECTOR:
        return intercept_key(vector - INTERCEPT_VECTOR)
    if kind == EXCEPTION:
        return _EXCEPTION_KEYS.get(vector, f"exception.{vector:#x}")
    return KIND_KEYS.get(kind, f"kind-{kind}")


def detail_of(kind: int, first: int, second: int, owner: str | None = None) -> str:
    """Return what happened: `first` and `second` are port and value, or vector and error code.

    `owner` is the device at the port or address, where it is known.
    """
    at = f" ({owner})" if owner else ""
    if kind in (IN, OUT):
        return f"port {first:04x}{at} {'->' if kind == IN else '<-'} {second:x}"
    if kind in (MMIO_READ, MMIO_WRITE):
        return f"address {first:08x}{at} {'->' if kind == MMIO_READ else '<-'} {second:x}"
    if kind in (EXCEPTION, INTERCEPT) and first >= INTERCEPT_VECTOR:
        return "emulated by the monitor"
    if kind == EXCEPTION:
        return f"vector {first:02x} error {second & 0xFFFF_FFFF:x}"
    if kind in (SOFTWARE_INT, INTERRUPT, NMI):
        return f"vector {first:02x} delivered"
    if kind == CPUID:
        return f"leaf {first:x}.{second:x}"
    if kind in (SYSCALL, SYSENTER):
        return f"service {first:x}"
    return ""
