"""The catalogue of reasons for an exit: what each is, and why it leaves the guest.

Every key has a title for tables, a plain sentence for `--explain`, and what hardware calls the same
event: the basic exit reason of VT-x and the exit code of AMD-V, where one exists. A key that is not
in the catalogue is shown as it stands; it is never an error.

Sources:
  [SDM3C] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, appendix C,
          "VMX Basic Exit Reasons".
  [APM2]  AMD64 Architecture Programmer's Manual, volume 2, appendix C, "SVM Intercept Exit Codes".
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from vmm.trace.events import Exit


class Reason(NamedTuple):
    """One entry. `vtx` and `amd_v` are None where that hardware has no such exit."""

    key: str
    title: str
    vtx: int | None
    amd_v: int | None
    why: str

    @property
    def hardware(self) -> str:
        """What VT-x and AMD-V call it, for a reader who knows either."""
        vtx = "no exit of its own" if self.vtx is None else f"exit reason {self.vtx}"
        amd_v = "no exit of its own" if self.amd_v is None else f"exit code {self.amd_v:#x}"
        return f"VT-x: {vtx}; AMD-V: {amd_v}"


_EXCEPTIONS: Final = (
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

_REASONS: Final = (
    Reason("io.in", "port read", 30, 0x7B,
           "IN asks a device for a value: only the monitor has the device."),
    Reason("io.out", "port write", 30, 0x7B,
           "OUT gives a device a value: only the monitor has the device."),
    Reason("io.ins", "string port read", 30, 0x7B,
           "INS reads a port into memory; with REP one exit may carry a whole sector."),
    Reason("io.outs", "string port write", 30, 0x7B,
           "OUTS writes memory to a port; with REP one exit may carry a whole sector."),
    Reason("mmio.read", "memory-mapped read", 48, 0x400,
           "The address is a device's, not RAM: the load becomes a call on the device."),
    Reason("mmio.write", "memory-mapped write", 48, 0x400,
           "The address is a device's, not RAM: the store becomes a call on the device."),
    Reason("software-int", "INT n", None, 0x75,
           "INT asks for a service by vector; the event router sees it on the way to the guest's own "
           "handler."),
    Reason("interrupt", "hardware interrupt", 1, 0x60,
           "A device raised its line and the guest accepts interrupts: the controller's vector is "
           "delivered."),
    Reason("nmi", "non-maskable interrupt", 0, 0x61,
           "The NMI line rose: vector 2 is delivered whatever IF says."),
    Reason("hlt", "halt", 12, 0x78,
           "HLT: the guest has nothing to do until an interrupt, so the monitor gives the host's processor "
           "back."),
    Reason("cpuid", "CPUID", 10, 0x72,
           "CPUID asks what processor this is: the monitor answers for the machine it emulates."),
    Reason("rdtsc", "RDTSC", 16, 0x6E,
           "RDTSC reads the time-stamp counter: virtual time answers, not the host's."),
    Reason("syscall", "SYSCALL", None, None,
           "SYSCALL enters the kernel by the address in LSTAR; the engine leaves it to us, hardware runs it"
           " without an exit."),
    Reason("sysenter", "SYSENTER", None, None,
           "SYSENTER enters the kernel by the SYSENTER MSRs; the engine leaves it to us, hardware runs it "
           "without an exit."),
    Reason("firmware", "firmware service", None, None,
           "A BIOS entry of our ROM was reached: the service runs in the monitor and returns as the BIOS "
           "would."),
    Reason("slice", "time slice ended", 52, None,
           "The time given to the guest is used up, or a device's deadline has come: the monitor looks "
           "after its clock."),
    Reason("triple-fault", "triple fault", 2, 0x7F,
           "A fault came while a double fault was being delivered: the processor shuts down."),
    Reason("reset", "reset", None, None,
           "The guest pulled the reset line (port 64h, 92h or CF9h): the machine starts over."),
)  # fmt: skip

_INTERCEPTS: Final = (
    # key, title, VT-x exit reason, AMD-V exit code, what it does
    ("cr-read", "control register read", 28, 0x00,
     "MOV from a control register shows how the processor is set up."),
    ("cr-write", "control register write", 28, 0x10,
     "MOV to a control register changes mode, paging or the address space."),
    ("cr0-selective", "CR0 write that matters", 28, 0x65,
     "A bit of CR0 other than TS or MP changes."),
    ("dr-read", "debug register read", 29, 0x20,
     "MOV from a debug register."),
    ("dr-write", "debug register write", 29, 0x30,
     "MOV to a debug register arms or clears a breakpoint."),
    ("lidt", "LIDT", 46, 0x6A,
     "It says where the interrupt table is, which a monitor must know."),
    ("sidt", "SIDT", 46, 0x66,
     "It stores where the interrupt table is, even in user mode: the classic leak."),
    ("lgdt", "LGDT", 46, 0x6B,
     "It says where the segment descriptors are."),
    ("sgdt", "SGDT", 46, 0x67,
     "It stores where the segment descriptors are, even in user mode."),
    ("lldt", "LLDT", 47, 0x6C,
     "It loads the local descriptor table."),
    ("sldt", "SLDT", 47, 0x68,
     "It stores the selector of the local descriptor table, even in user mode."),
    ("ltr", "LTR", 47, 0x6D,
     "It loads the task register; the engine must never see a busy or empty TSS there."),
    ("str", "STR", 47, 0x69,
     "It stores the task register's selector, even in user mode."),
    ("smsw", "SMSW", 28, 0x00,
     "It stores the low half of CR0, even in user mode."),
    ("lmsw", "LMSW", 28, 0x10,
     "It writes the low four bits of CR0, as a 286 would."),
    ("clts", "CLTS", 28, 0x10,
     "It clears the task-switched bit of CR0."),
    ("rdtsc", "RDTSC", 16, 0x6E,
     "It reads the time-stamp counter: virtual time answers."),
    ("rdtscp", "RDTSCP", 51, 0x87,
     "It reads the time-stamp counter and the processor's number."),
    ("rdpmc", "RDPMC", 15, 0x6F,
     "It reads a performance counter, of which this machine has none."),
    ("pushf", "PUSHF", None, 0x70,
     "It shows the interrupt flag, which a monitor may keep for itself."),
    ("popf", "POPF", None, 0x71,
     "It sets the interrupt flag, silently or not at all without the privilege."),
    ("cpuid", "CPUID", 10, 0x72,
     "It asks what processor this is; the monitor answers for the machine it emulates."),
    ("iret", "IRET", None, 0x74,
     "It returns from an interrupt, with flags and perhaps another privilege level."),
    ("int", "INT n", None, 0x75,
     "It asks for a service by vector."),
    ("invd", "INVD", 13, 0x76,
     "It throws the caches away, which here do not exist."),
    ("wbinvd", "WBINVD", 54, 0x89,
     "It writes the caches back, which here do not exist."),
    ("pause", "PAUSE", 40, 0x77,
     "It says the guest spins for a lock."),
    ("hlt", "HLT", 12, 0x78,
     "The guest has nothing to do until an interrupt."),
    ("invlpg", "INVLPG", 14, 0x79,
     "It forgets one page's translation: shadow page tables must follow."),
    ("msr", "MSR access", None, 0x7C,
     "RDMSR and WRMSR reach model-specific registers: the monitor has those of this machine, and "
     "answers #GP for the others."),
    ("msr-read", "MSR read", 31, 0x7C,
     "RDMSR reads a model-specific register: the monitor has the ones this machine has, and answers #GP for"
     " the others."),
    ("msr-write", "MSR write", 32, 0x7C,
     "WRMSR writes a model-specific register: the monitor has the ones this machine has, and answers #GP "
     "for the others."),
    ("task-switch", "task switch", 9, 0x7D,
     "A far transfer went through a task gate or a TSS."),
    ("vmcall", "hypercall", 18, 0x81,
     "The guest knows it has a monitor and asks it for something."),
    ("monitor", "MONITOR", 39, 0x8A,
     "It watches an address, which this machine's CPUID does not offer."),
    ("mwait", "MWAIT", 36, 0x8B,
     "It sleeps until a watched address is written, which CPUID does not offer."),
    ("npf", "nested page fault", 48, 0x400,
     "The monitor's own page tables do not hold the guest-physical address."),
)  # fmt: skip


_NUMBERED: Final = re.compile(r"intercept\.([cd]r)(\d+)-(read|write)")


def _exception(key: str, vector: int, what: str, cause: str) -> Reason:
    why = f"The processor raised vector {vector}: {cause}. The guest's own handler gets it."
    return Reason(f"exception.{key}", f"#{key.upper()} {what}", 0, 0x40 + vector, why)


def _intercept(key: str, title: str, vtx: int | None, amd_v: int | None, does: str) -> Reason:
    why = f"{does} The monitor armed this intercept for safety or for a trace."
    return Reason(f"intercept.{key}", f"{title} (intercept)", vtx, amd_v, why)


CATALOGUE: Final = {
    reason.key: reason
    for reason in (
        *_REASONS,
        *(_exception(*entry) for entry in _EXCEPTIONS),
        *(_intercept(*entry) for entry in _INTERCEPTS),
    )
}


def find_reason(key: str) -> Reason:
    """Return the entry of `key`, or one that says no more than the key itself.

    Intercepts of a numbered register (`intercept.cr3-write`) take the entry of their kind.
    """
    if found := CATALOGUE.get(key):
        return found
    if numbered := _NUMBERED.fullmatch(key):
        kind, number, way = numbered[1], int(numbered[2]), numbered[3]
        family = CATALOGUE[f"intercept.{kind}-{way}"]
        title = f"{kind.upper()}{number} {way} (intercept)"
        return family._replace(key=key, title=title, amd_v=(family.amd_v or 0) + number)
    return Reason(key, key, None, None, "The monitor acted on the guest's behalf.")


def explain(event: Exit) -> str:
    """Return one English line: why the guest was left, and what hardware would call it."""
    reason = find_reason(event.reason)
    return f"{reason.why} [{reason.hardware}]"
