"""The paravirtual interface in numbers: hypercalls, errors, shared structures, CPUID leaves.

The page docs/reference/hypercalls.md says what each means. Numbers and names are Xen's where Xen has the
call; guests/snare/kernel/para/abi.h is the guest's side of this file.

Sources: [XEN] Xen public headers, xen.h, event_channel.h, sched.h, physdev.h, vcpu.h, arch-x86/xen.h.
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import Final

VERSION_NUMBER: Final = 0x0001_0000
INTERRUPT: Final = 0x82  # INT 82h, as in Xen's 32-bit interface
VMCALL: Final = bytes((0x0F, 0x01, 0xC1))

# Hypercalls, [XEN] xen.h; those from 48 on are __HYPERVISOR_arch_0 and up
SET_TRAP_TABLE: Final = 0
MMU_UPDATE: Final = 1
SET_GDT: Final = 2
STACK_SWITCH: Final = 3
SET_CALLBACKS: Final = 4
FPU_TASKSWITCH: Final = 5
SET_DEBUGREG: Final = 8
GET_DEBUGREG: Final = 9
UPDATE_DESCRIPTOR: Final = 10
SET_TIMER: Final = 15
VERSION: Final = 17
CONSOLE_IO: Final = 18
VM_ASSIST: Final = 21
IRET: Final = 23
VCPU_OP: Final = 24
MMUEXT_OP: Final = 26
SCHED_OP: Final = 29
EVENT_CHANNEL_OP: Final = 32
PHYSDEV_OP: Final = 33
BLOCK_OP: Final = 48

NAMES: Final = {
    SET_TRAP_TABLE: "set_trap_table", MMU_UPDATE: "mmu_update", SET_GDT: "set_gdt",
    STACK_SWITCH: "stack_switch", SET_CALLBACKS: "set_callbacks", FPU_TASKSWITCH: "fpu_taskswitch",
    SET_DEBUGREG: "set_debugreg", GET_DEBUGREG: "get_debugreg", UPDATE_DESCRIPTOR: "update_descriptor",
    SET_TIMER: "set_timer", VERSION: "version", CONSOLE_IO: "console_io", VM_ASSIST: "vm_assist",
    IRET: "iret", VCPU_OP: "vcpu_op", MMUEXT_OP: "mmuext_op", SCHED_OP: "sched_op",
    EVENT_CHANNEL_OP: "event_channel_op", PHYSDEV_OP: "physdev_op", BLOCK_OP: "block_op",
}  # fmt: skip
UNKNOWN: Final = "unknown"
CALLED: Final = ("hypercall-entry", "world-switch", "emulate", "resume")  # as named in cost.py

# Errors, as Linux and Xen number them
EPERM: Final = -1
EIO: Final = -5
E2BIG: Final = -7
EFAULT: Final = -14
EBUSY: Final = -16
ENODEV: Final = -19
EINVAL: Final = -22
ENOSYS: Final = -38

# Operations of the calls that have several
CONSOLE_WRITE: Final = 0
CONSOLE_READ: Final = 1
ASSIST_ENABLE: Final = 0
ASSIST_DISABLE: Final = 1
ASSIST_WRITE_PROTECT: Final = 0
VCPU_GET_STATE: Final = 0
VCPU_GET_DESCRIPTOR: Final = 1
NEW_BASEPTR: Final = 5
TLB_FLUSH: Final = 6
INVLPG: Final = 7
SET_LDT: Final = 13
SET_TASK: Final = 64
SCHED_YIELD: Final = 0
SCHED_BLOCK: Final = 1
SCHED_SHUTDOWN: Final = 2
EVENT_BIND_VIRQ: Final = 1
EVENT_BIND_PIRQ: Final = 2
EVENT_CLOSE: Final = 3
EVENT_SEND: Final = 4
PHYSDEV_SET_IOPL: Final = 6
BLOCK_ATTACH: Final = 0
BLOCK_INFO: Final = 1
BLOCK_KICK: Final = 2

SHUTDOWN_POWER_OFF: Final = 0
SHUTDOWN_REBOOT: Final = 1
SHUTDOWN_CRASH: Final = 3

# What one call may ask for
MOST_GATES: Final = 256
MOST_DESCRIPTORS: Final = 8192
MOST_MMU_REQUESTS: Final = 1024
MOST_CONSOLE_BYTES: Final = 4096

# Event ports: those of the PC's lines, then those of the monitor's own
PIRQS: Final = 16
VIRQ_TIMER: Final = 0
VIRQ_CONSOLE: Final = 1
VIRQ_DISK: Final = 2
VIRQS: Final = 3
PORTS: Final = PIRQS + VIRQS

# The shared page
PAGE: Final = 4096
UPCALL_PENDING: Final = 0  # byte
UPCALL_MASK: Final = 1  # byte
SHARED_CR2: Final = 4
EVENTS_PENDING: Final = 8
EVENTS_MASK: Final = 12
SHARED_TIME: Final = 16

MMU_REQUEST: Final = Layout("<II")  # physical address of the entry, value
VCPU_STATE: Final = Layout("<12I")  # CR0 CR2 CR3 CR4 EFLAGS, base and limit of GDT and IDT, LDT, TR, 0
DESCRIPTOR: Final = Layout("<II")

# The ring of the disk
RING_COUNTERS: Final = Layout("<II")  # requests made, answers given
RING_SLOT: Final = Layout("<IIIIIIiI")  # operation, id, sector (2), count, buffer, status, 0
RING_SLOTS_AT: Final = 64
RING_SLOTS: Final = 32
RING_STATUS_AT: Final = 24  # in a slot
MOST_RING_SECTORS: Final = 256
BLOCK_READ: Final = 0
BLOCK_WRITE: Final = 1
BLOCK_FLUSH: Final = 3
BLOCK_INFO_LAYOUT: Final = Layout("<II40s")  # sectors, flags, model
BLOCK_READ_ONLY: Final = 1
