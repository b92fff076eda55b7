"""What CPUID tells of the monitor: who it is, where its hypercall page goes, what has left the guest.

Leaves from 4000_0000h are for the monitor's use on every processor, [SDM2A] CPUID. The four of the
exits answer as a well-known course on virtual machine monitors asks of its students: how many exits
there were and what they cost, in all and by VT-x's exit reason. Costs are the modelled cycles.

Sources: [SDM2A] CPUID; [SDM3C] appendix C, basic exit reasons; [XEN] arch-x86/cpuid.h for the leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from vmm.cpu.cpuid import Leaf
from vmm.techniques.para import abi
from vmm.trace.events import ExitCount
from vmm.trace.reasons import find_reason

FIRST: Final = 0x4000_0000
SIGNATURE: Final = b"TraplineVMM\0"
HYPERCALL_MSR: Final = 0x4000_0000  # as Xen's and Hyper-V's: written with the page's address
FEATURES_PARA: Final = 1 << 0  # the hypercalls of the para technique are served, by INT 82h too
FEATURES_FULL: Final = 1 << 1  # a hypercall page may be had
_LAST: Final = FIRST + 3
_VTX_REASONS: Final = 70  # those that are defined
_VTX_UNUSED: Final = frozenset({35, 38, 42, 65})
_MASK: Final = 0xFFFF_FFFF
_NO_REASON: Final[Leaf] = (0, 0, 0, _MASK)  # EDX: not a reason that VT-x has

Exits = Callable[[], Mapping[str, ExitCount]]


class MonitorLeaves:
    """The leaves of one machine. `first_of_exits`: 4FFF_FFFCh, unless configured otherwise."""

    def __init__(self, exits: Exits, features: int, first_of_exits: int) -> None:
        self._exits = exits
        self._first_of_exits = first_of_exits
        vendor = tuple(int.from_bytes(SIGNATURE[i : i + 4], "little") for i in (0, 4, 8))
        self._leaves: dict[int, Leaf] = {
            FIRST: (_LAST, vendor[0], vendor[1], vendor[2]),
            FIRST + 1: (abi.VERSION_NUMBER, features, 0, 0),
            FIRST + 2: (1, HYPERCALL_MSR, 0, 0),  # pages, MSR
            FIRST + 3: (first_of_exits, abi.PORTS, abi.RING_SLOTS, abi.MOST_RING_SECTORS),
        }

    def __call__(self, leaf: int, subleaf: int) -> Leaf | None:
        """Return EAX, EBX, ECX, EDX of one of the leaves, or None for another."""
        number = leaf - self._first_of_exits
        if 0 <= number < 4:
            return self._of_exits(number, subleaf)
        return self._leaves.get(leaf)

    def _of_exits(self, number: int, reason: int) -> Leaf:
        """All exits, all cycles, exits of the reason in ECX, cycles of it."""
        if number < 2:
            entries = list(self._exits().values())
        elif reason >= _VTX_REASONS or reason in _VTX_UNUSED:
            return _NO_REASON
        else:
            entries = [entry for key, entry in self._exits().items() if find_reason(key).vtx == reason]
        if number % 2 == 0:
            return sum(entry.count for entry in entries) & _MASK, 0, 0, 0
        cycles = sum(entry.cycles for entry in entries)
        return 0, cycles >> 32 & _MASK, cycles & _MASK, 0
