"""Reasons every machine has: ports, memory of devices, exceptions, interrupts, the run loop.

Sources: as `vmm.trace.reasons`.
"""

from __future__ import annotations

from typing import Final

from vmm.trace.catalogue.reason import Reason

EXCEPTIONS: Final = (
    # key, vector, what, why the processor raises it
    ("de", 0, "divide error", "a division by zero or a quotient too large for its register"),
    ("db", 1, "debug trap", "a single step or a breakpoint register"),
    ("bp", 3, "breakpoint", "an INT3 instruction"),
    ("of", 4, "overflow", "INTO with the overflow flag set"),
    ("br", 5, "BOUND range exceeded", "an index outside the limits BOUND was given"),
    ("ud", 6, "invalid opcode", "an instruction this processor does not have"),
    ("nm", 7, "device not available", "an FPU instruction while CR0.TS or CR0.EM is set"),
    ("df", 8, "double fault", "a second fault while the first was being delivered"),
    ("ts", 10, "invalid TSS", "a task-state segment that cannot be used"),
    ("np", 11, "segment not present", "a descriptor whose present bit is clear"),
    ("ss", 12, "stack-segment fault", "a stack access or SS load that the segment forbids"),
    ("gp", 13, "general protection", "something this privilege level or segment does not allow"),
    ("pf", 14, "page fault", "an address whose page is absent or protected; CR2 holds it"),
    ("mf", 16, "x87 floating-point error", "an unmasked error of the FPU"),
    ("ac", 17, "alignment check", "a misaligned access with alignment checks on"),
    ("mc", 18, "machine check", "a hardware error"),
    ("xm", 19, "SIMD floating-point error", "an unmasked error of an SSE instruction"),
)  # fmt: skip

_BOARD: Final = (
    Reason("io.in", "port read", 30, 0x7B, "physdev_op",
           "IN asks a device for a value: only the monitor has the device."),
    Reason("io.out", "port write", 30, 0x7B, "physdev_op",
           "OUT gives a device a value: only the monitor has the device."),
    Reason("io.ins", "string port read", 30, 0x7B, "physdev_op",
           "INS reads a port into memory; with REP one exit may carry a whole sector."),
    Reason("io.outs", "string port write", 30, 0x7B, "physdev_op",
           "OUTS writes memory to a port; with REP one exit may carry a whole sector."),
    Reason("mmio.read", "memory-mapped read", 48, 0x400, None,
           "The address is a device's, not RAM: the load becomes a call on the device."),
    Reason("mmio.write", "memory-mapped write", 48, 0x400, None,
           "The address is a device's, not RAM: the store becomes a call on the device."),
    Reason("software-int", "INT n", None, 0x75, None,
           "INT asks for a service by vector; the event router sees it on the way to the guest's own "
           "handler."),
    Reason("interrupt", "hardware interrupt", 1, 0x60, "event_channel_op",
           "A device raised its line and the guest accepts interrupts: the controller's vector is "
           "delivered."),
    Reason("nmi", "non-maskable interrupt", 0, 0x61, "nmi_op",
           "The NMI line rose: vector 2 is delivered whatever IF says."),
    Reason("hlt", "halt", 12, 0x78, "sched_op",
           "HLT: the guest has nothing to do until an interrupt, so the monitor gives the host's processor "
           "back."),
    Reason("cpuid", "CPUID", 10, 0x72, None,
           "CPUID asks what processor this is: the monitor answers for the machine it emulates."),
    Reason("rdtsc", "RDTSC", 16, 0x6E, None,
           "RDTSC reads the time-stamp counter: virtual time answers, not the host's."),
    Reason("syscall", "SYSCALL", None, None, None,
           "SYSCALL enters the kernel by the address in LSTAR; the engine leaves it to us, hardware runs it"
           " without an exit."),
    Reason("sysenter", "SYSENTER", None, None, None,
           "SYSENTER enters the kernel by the SYSENTER MSRs; the engine leaves it to us, hardware runs it "
           "without an exit."),
    Reason("firmware", "firmware service", None, None, None,
           "A BIOS entry of our ROM was reached: the service runs in the monitor and returns as the BIOS "
           "would."),
    Reason("slice", "time slice ended", 52, None, None,
           "The time given to the guest is used up, or a device's deadline has come: the monitor looks "
           "after its clock."),
    Reason("triple-fault", "triple fault", 2, 0x7F, None,
           "A fault came while a double fault was being delivered: the processor shuts down."),
    Reason("reset", "reset", None, None, None,
           "The guest pulled the reset line (port 64h, 92h or CF9h): the machine starts over."),
)  # fmt: skip


def exception(key: str, vector: int, what: str, cause: str) -> Reason:
    """Return the reason of an exception that the bare machine delivers."""
    why = f"The processor raised vector {vector}: {cause}. The guest's own handler gets it."
    return Reason(f"exception.{key}", f"#{key.upper()} {what}", 0, 0x40 + vector, "set_trap_table", why)


def board_reasons() -> tuple[Reason, ...]:
    """Return them all."""
    return (*_BOARD, *(exception(*entry) for entry in EXCEPTIONS))
