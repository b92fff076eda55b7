"""Instructions that can leave the guest: intercepted, emulated or replaced.

Sources: as `vmm.trace.reasons`.
"""

from __future__ import annotations

from typing import Final

from vmm.trace.catalogue.reason import Reason

INTERCEPTED: Final = (
    # key, title, VT-x exit reason, AMD-V exit code, Xen hypercall, what it does
    ("cr-read", "control register read", 28, 0x00, None,
     "MOV from a control register shows how the processor is set up."),
    ("cr-write", "control register write", 28, 0x10, "mmuext_op, fpu_taskswitch",
     "MOV to a control register changes mode, paging or the address space."),
    ("cr0-selective", "CR0 write that matters", 28, 0x65, "fpu_taskswitch",
     "A bit of CR0 other than TS or MP changes."),
    ("dr-read", "debug register read", 29, 0x20, "get_debugreg",
     "MOV from a debug register."),
    ("dr-write", "debug register write", 29, 0x30, "set_debugreg",
     "MOV to a debug register arms or clears a breakpoint."),
    ("lidt", "LIDT", 46, 0x6A, "set_trap_table",
     "It says where the interrupt table is, which a monitor must know."),
    ("sidt", "SIDT", 46, 0x66, None,
     "It stores where the interrupt table is, even in user mode: the classic leak."),
    ("lgdt", "LGDT", 46, 0x6B, "set_gdt",
     "It says where the segment descriptors are."),
    ("sgdt", "SGDT", 46, 0x67, None,
     "It stores where the segment descriptors are, even in user mode."),
    ("lldt", "LLDT", 47, 0x6C, "mmuext_op",
     "It loads the local descriptor table."),
    ("sldt", "SLDT", 47, 0x68, None,
     "It stores the selector of the local descriptor table, even in user mode."),
    ("ltr", "LTR", 47, 0x6D, "stack_switch",
     "It loads the task register; the engine must never see a busy or empty TSS there."),
    ("str", "STR", 47, 0x69, None,
     "It stores the task register's selector, even in user mode."),
    ("smsw", "SMSW", 28, 0x00, None,
     "It stores the low half of CR0, even in user mode."),
    ("lmsw", "LMSW", 28, 0x10, "fpu_taskswitch",
     "It writes the low four bits of CR0, as a 286 would."),
    ("clts", "CLTS", 28, 0x10, "fpu_taskswitch",
     "It clears the task-switched bit of CR0."),
    ("rdtsc", "RDTSC", 16, 0x6E, None,
     "It reads the time-stamp counter: virtual time answers."),
    ("rdtscp", "RDTSCP", 51, 0x87, None,
     "It reads the time-stamp counter and the processor's number."),
    ("rdpmc", "RDPMC", 15, 0x6F, None,
     "It reads a performance counter, of which this machine has none."),
    ("pushf", "PUSHF", None, 0x70, None,
     "It shows the interrupt flag, which a monitor may keep for itself."),
    ("popf", "POPF", None, 0x71, None,
     "It sets the interrupt flag, silently or not at all without the privilege."),
    ("cpuid", "CPUID", 10, 0x72, None,
     "It asks what processor this is; the monitor answers for the machine it emulates."),
    ("iret", "IRET", None, 0x74, "iret",
     "It returns from an interrupt, with flags and perhaps another privilege level."),
    ("int", "INT n", None, 0x75, None,
     "It asks for a service by vector."),
    ("invd", "INVD", 13, 0x76, None,
     "It throws the caches away, which here do not exist."),
    ("wbinvd", "WBINVD", 54, 0x89, "mmuext_op",
     "It writes the caches back, which here do not exist."),
    ("pause", "PAUSE", 40, 0x77, "sched_op",
     "It says the guest spins for a lock."),
    ("hlt", "HLT", 12, 0x78, "sched_op",
     "The guest has nothing to do until an interrupt."),
    ("invlpg", "INVLPG", 14, 0x79, "mmuext_op",
     "It forgets one page's translation: shadow page tables must follow."),
    ("msr", "MSR access", None, 0x7C, None,
     "RDMSR and WRMSR reach model-specific registers: the monitor has those of this machine, and "
     "answers #GP for the others."),
    ("msr-read", "MSR read", 31, 0x7C, None,
     "RDMSR reads a model-specific register: the monitor has the ones this machine has, and answers #GP for"
     " the others."),
    ("msr-write", "MSR write", 32, 0x7C, "set_segment_base",
     "WRMSR writes a model-specific register: the monitor has the ones this machine has, and answers #GP "
     "for the others."),
    ("task-switch", "task switch", 9, 0x7D, None,
     "A far transfer went through a task gate or a TSS."),
    ("vmcall", "hypercall", 18, 0x81, "any",
     "The guest knows it has a monitor and asks it for something."),
    ("monitor", "MONITOR", 39, 0x8A, None,
     "It watches an address, which this machine's CPUID does not offer."),
    ("mwait", "MWAIT", 36, 0x8B, None,
     "It sleeps until a watched address is written, which CPUID does not offer."),
    ("npf", "nested page fault", 48, 0x400, None,
     "The monitor's own page tables do not hold the guest-physical address."),
)  # fmt: skip

# Instructions without an intercept of their own, which a monitor meets as #GP or replaces
OTHERS: Final = (
    # as above
    ("cli", "CLI", None, None, None,
     "It clears the interrupt flag: a guest clears its own, never the host's."),
    ("sti", "STI", None, None, None,
     "It sets the interrupt flag; what waited for it is delivered after the next instruction."),
    ("in", "IN", 30, 0x7B, "physdev_op",
     "It reads a port: the virtual IOPL and the guest's I/O bitmap decide first, then the device answers."),
    ("out", "OUT", 30, 0x7B, "physdev_op",
     "It writes a port: the virtual IOPL and the guest's I/O bitmap decide first."),
    ("ins", "INS", 30, 0x7B, "physdev_op",
     "It reads a port into memory, after the same checks as IN."),
    ("outs", "OUTS", 30, 0x7B, "physdev_op",
     "It writes memory to a port, after the same checks as OUT."),
    ("rdmsr", "RDMSR", 31, 0x7C, None,
     "It reads a model-specific register of the virtual processor."),
    ("wrmsr", "WRMSR", 32, 0x7C, "set_segment_base",
     "It writes a model-specific register of the virtual processor."),
    ("sysexit", "SYSEXIT", None, None, "iret",
     "It leaves the kernel for the user's program as SYSENTER's return."),
    ("sysret", "SYSRET", None, None, "iret",
     "It leaves the kernel for the user's program as SYSCALL's return."),
    ("mov-from-seg", "MOV from a segment register", None, None, None,
     "It shows a selector, and in CS and SS the ring that really runs."),
    ("mov-to-seg", "MOV to a segment register", None, None, "update_descriptor",
     "It loads a descriptor, which must be the guest's own."),
    ("push-seg", "PUSH of a segment register", None, None, None,
     "It shows a selector, and in CS and SS the ring that really runs."),
    ("pop-seg", "POP of a segment register", None, None, "update_descriptor",
     "It loads a descriptor, which must be the guest's own."),
    ("lds", "load of a far pointer", None, None, "update_descriptor",
     "LDS and its relatives load a segment register beside a general one."),
    ("lar", "LAR", None, None, None,
     "It shows a descriptor's rights, and the privilege level the monitor gave it."),
    ("lsl", "LSL", None, None, None,
     "It shows a segment's limit, if the real ring may see the descriptor."),
    ("verr", "VERR", None, None, None,
     "It says whether a segment can be read from the ring that really runs."),
    ("verw", "VERW", None, None, None,
     "It says whether a segment can be written from the ring that really runs."),
    ("far-call", "far CALL", None, None, "update_descriptor",
     "It pushes CS with the real ring, and may go through a call gate."),
    ("far-jmp", "far JMP", None, None, "update_descriptor",
     "It loads CS with the real ring, and may switch tasks."),
    ("far-ret", "far RET", None, None, "iret",
     "It takes CS from the stack; to another ring it takes SS as well."),
    ("vm86", "instruction in virtual-8086 mode", None, None, "iret",
     "In VM86 mode it faults by design: the guest's own monitor for 8086 programs gets it."),
)  # fmt: skip

SENSITIVE: Final = frozenset({
    "sgdt", "sidt", "sldt", "str", "smsw", "pushf", "popf", "iret", "int", "mov-from-seg", "mov-to-seg",
    "push-seg", "pop-seg", "lds", "lar", "lsl", "verr", "verw", "far-call", "far-jmp", "far-ret",
})  # fmt: skip
_SILENT: Final = "Outside ring 0 it goes wrong without a fault, so "
_MAY_FAULT: Final = "It came by a fault of its operands or by an intercept; the monitor"
_FAULTS: Final = "Outside ring 0 it raises #GP: the monitor"
_EMULATED_AS: Final = {"cr-read": "mov-from-cr", "cr-write": "mov-to-cr", "dr-read": "mov-from-dr",
                       "dr-write": "mov-to-dr"}  # fmt: skip
_NOT_INSTRUCTIONS: Final = frozenset(
    {"cr0-selective", "msr", "msr-read", "msr-write", "task-switch", "vmcall", "npf"}
)
_EVENTS: Final = (
    ("io", "port access", 30, 0x7B, "physdev_op",
     "IN and OUT ask a device, which only the monitor has."),
    ("pf", "page fault", 0, 0x4E, "set_trap_table",
     "The guest's page fault comes to the monitor first, which keeps shadow page tables."),
    ("interrupt", "hardware interrupt", 1, 0x60, "event_channel_op",
     "A device raised its line while the guest ran: the processor leaves it, since the line is the host's."),
    ("nmi", "non-maskable interrupt", 0, 0x61, "nmi_op",
     "The NMI line rose while the guest ran."),
    ("interrupt-window", "interrupt window", 7, 0x64, None,
     "The guest has come to accept interrupts, which the monitor waited for with one to deliver."),
    ("shutdown", "triple fault", 2, 0x7F, None,
     "A fault came while a double fault was being delivered."),
)  # fmt: skip


def intercept_reasons() -> tuple[Reason, ...]:
    """Return what the bare machine's own intercepts give."""
    armed = "The monitor armed this intercept for safety or for a trace."
    return tuple(
        Reason(f"intercept.{key}", f"{title} (intercept)", vtx, amd_v, xen, f"{does} {armed}")
        for key, title, vtx, amd_v, xen, does in INTERCEPTED
    )


def vmexit_reasons() -> tuple[Reason, ...]:
    """Return what leaves a guest under hardware assistance."""
    told = "The controls of the VMCB say that it leaves the guest."
    return tuple(
        Reason(f"vmexit.{key}", f"{title} (VM exit)", vtx, amd_v, xen, f"{does} {told}")
        for key, title, vtx, amd_v, xen, does in (*INTERCEPTED, *_EVENTS)
    )


def instruction_reasons() -> tuple[Reason, ...]:
    """Return what is emulated after #GP, and what translation replaces."""
    found = []
    for key, title, vtx, amd_v, xen, does in (*INTERCEPTED, *OTHERS):
        if key in _NOT_INSTRUCTIONS:
            continue
        name = _EMULATED_AS.get(key, key)
        trapped = f"{_MAY_FAULT if key in SENSITIVE else _FAULTS} carries it out on the virtual processor."
        found.append(Reason(f"emulate.{name}", f"{title}, emulated", vtx, amd_v, xen, f"{does} {trapped}"))
        why = _SILENT if key in SENSITIVE else "Instead of a fault each time, "
        replaced = f"{why}translation put the monitor in its place."
        found.append(Reason(f"patched.{name}", f"{title}, replaced", vtx, amd_v, xen, f"{does} {replaced}"))
    return tuple(found)
