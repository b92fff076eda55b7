"""The cost model: what each mechanism of a monitor would cost on a processor of 2005.

A technique names, for every reason of an exit, the mechanisms that serve it; `cycles_of` adds them up.
The figures are of one processor wherever one is published for it, the Pentium 4 of the 2006 paper, so
that techniques can be compared with each other and with that paper; what is of another says so. No
figure belongs to a benchmark or to a guest. Marks: [V] read in a public source, [K] general knowledge
that was not checked again, [D] worked out from the figures named.

Not modelled: caches, what a miss of the TLB costs after a flush (two-dimensional walks under nested
paging among it), the guest's own instructions, devices.

Sources:
  [AA]   K. Adams, O. Agesen, "A Comparison of Software and Hardware Techniques for x86 Virtualization",
         ASPLOS 2006, figure 4: nanobenchmarks in cycles, native, software monitor, hardware monitor, on
         a Pentium 4 672 (Prescott 2M, 3.8 GHz, 2005).
  [VT]   Costs of single VT-x transitions by microarchitecture, as that paper's authors gave them later.
  [BX]   Bochs' documentation: instructions a second by version and host.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

P4: Final = "Pentium 4 672, Prescott 2M, 2005"


class Mechanism(NamedTuple):
    """One thing a monitor does, its cycles, the processor they were measured on, and the source."""

    cycles: int
    what: str
    processor: str
    source: str


# What the figures below are worked out from
NATIVE_SYSCALL: Final = 242  # [AA] [K]
NATIVE_FAULT: Final = 889  # [AA] [V] "divzero": a fault, a handler that skips the instruction, IRET
NATIVE_PAGE_FAULT: Final = 1093  # [AA] [V]
SOFTWARE_SYSCALL_MORE: Final = 2000  # [AA] [V] a system call takes "native + about 2000"
SOFTWARE_FAULT: Final = 3223  # [AA] [V]
SOFTWARE_PAGE_FAULT: Final = 3927  # [AA] [V]
SOFTWARE_IN: Final = 210  # [AA] [V] about native / 15
SOFTWARE_CR8_WRITE: Final = 35  # [AA] [V]
NATIVE_CR8_WRITE: Final = 4 * SOFTWARE_CR8_WRITE  # [AA] [K]
RETURN_MORE: Final = 40  # [AA] [V] call/ret takes 51 instead of 11
SOFTWARE_PTE_WRITE: Final = 391  # [AA] [V]
CROSSING: Final = SOFTWARE_SYSCALL_MORE // 2
HZ_PER_IPS: Final = 3400 // 90  # [BX] [V] 2.4.6 runs 85-95 MIPS on an i7-2600, 3.4 GHz
BLOCK_INSTRUCTIONS: Final = 5  # of a Linux kernel, measured: 267,000 instructions in 54,186 blocks

MECHANISMS: Final = {
    "fault-entry": Mechanism(
        NATIVE_FAULT, "the processor's own way into a ring-0 handler and back by IRET", P4,
        "[AA] [V] divzero native, 889",
    ),
    "world-switch": Mechanism(
        CROSSING, "the monitor saves the guest and takes up its own state, and back", P4,
        "[AA] [D] half of the 2000 a software monitor adds to a system call, which crosses twice",
    ),
    "resume": Mechanism(
        CROSSING, "the monitor puts the guest's state back and lets it go on", P4,
        "[AA] [D] as world-switch: what a crossing costs beyond the processor's own part",
    ),
    "interrupt-entry": Mechanism(
        NATIVE_FAULT, "an interrupt's way into a ring-0 handler and back by IRET", P4,
        "[AA] [V] as fault-entry, 889: the same gate",
    ),
    "injection": Mechanism(
        SOFTWARE_FAULT - NATIVE_FAULT - 2 * CROSSING,
        "a frame on the guest's stack and its handler from its own table", P4,
        "[AA] [D] divzero software 3223 - native 889 - two crossings",
    ),
    "page-walk": Mechanism(
        SOFTWARE_PAGE_FAULT - SOFTWARE_FAULT - (NATIVE_PAGE_FAULT - NATIVE_FAULT),
        "the guest's page tables read by the monitor", P4,
        "[AA] [D] (pgfault - divzero) software, less the same difference native",
    ),
    "shadow-update": Mechanism(
        SOFTWARE_PTE_WRITE, "one shadow page-table entry made to follow the guest's", P4,
        "[AA] [V] ptemod software, 391",
    ),
    "descriptor-sync": Mechanism(
        SOFTWARE_PTE_WRITE, "one shadow descriptor made to follow the guest's", P4,
        "[AA] [D] taken as ptemod software, 391: a table entry traced and written again",
    ),
    "tlb-flush": Mechanism(
        NATIVE_CR8_WRITE, "the write to the control register that empties the TLB", P4,
        "[AA] [K] a native CR8 write, about 4 x 35; refilling the TLB is not in it",
    ),
    "decode": Mechanism(
        HZ_PER_IPS, "one instruction read and told apart", "Core i7-2600, Sandy Bridge, 2011",
        "[BX] [D] 3.4 GHz / 90 MIPS: an interpreter's turn for one instruction",
    ),
    "emulate": Mechanism(
        SOFTWARE_CR8_WRITE, "the instruction's work on the virtual processor", P4,
        "[AA] [V] cr8wr software, 35: the work without any transition",
    ),
    "callout": Mechanism(
        SOFTWARE_IN - SOFTWARE_CR8_WRITE, "translated code calls the monitor and is returned to", P4,
        "[AA] [D] in software 210 - the work itself, 35",
    ),
    "cache-lookup": Mechanism(
        RETURN_MORE, "a translated address looked up by the guest's", P4,
        "[AA] [V] call/ret software 51 - native 11",
    ),
    "scan": Mechanism(
        BLOCK_INSTRUCTIONS * HZ_PER_IPS, "a block's instructions looked through for sensitive ones",
        "Core i7-2600, Sandy Bridge, 2011", "[BX] [D] decode, for the instructions of a kernel's block",
    ),
    "translate": Mechanism(
        BLOCK_INSTRUCTIONS * (HZ_PER_IPS + SOFTWARE_CR8_WRITE), "a block decoded and written anew",
        "Core i7-2600 (decode) and Pentium 4 672", "[BX] [AA] [D] decode and emulate, for each instruction",
    ),
    "hypercall-entry": Mechanism(
        NATIVE_SYSCALL, "the guest's call into the monitor through a gate, and back", P4,
        "[AA] [K] syscall native, 242: INT and IRET across one ring",
    ),
    "vm-exit": Mechanism(
        1931, "VT-x leaves the guest", P4, "[VT] [K] exit of a page fault on Prescott; 1186 on Core 2",
    ),
    "vm-entry": Mechanism(
        2409, "VT-x enters the guest", P4, "[VT] [K] Prescott; 937 on Core 2",
    ),
    "vmread": Mechanism(178, "one field of the VMCS read", P4, "[VT] [K] Prescott; 52 on Core 2"),
    "vmwrite": Mechanism(171, "one field of the VMCS written", P4, "[VT] [K] Prescott; 44 on Core 2"),
    "npt-walk": Mechanism(
        SOFTWARE_PAGE_FAULT - SOFTWARE_FAULT - (NATIVE_PAGE_FAULT - NATIVE_FAULT),
        "the monitor finds the page behind a guest-physical address", P4,
        "[AA] [D] as page-walk; the first processors with nested paging are of 2008",
    ),
}  # fmt: skip


def cycles_of(mechanisms: Iterable[str]) -> int:
    """Return the modelled cycles of one exit that `mechanisms` serve, each as often as it is named."""
    return sum(MECHANISMS[name].cycles for name in mechanisms)
