"""How a guest gets to know its monitor: CPUID leaves, a hypercall page, the first disk.

Under every technique but bare the leaves are there and the page may be had; only under para does leaf 1
say that there is a monitor at all, since a full guest is to find the machine that bare has. The page is
filled when a guest writes its address to the MSR that leaf 4000_0002h names: entry N calls hypercall N.
Before it has done so, VMCALL of a full guest is #UD, as on the bare machine.

Sources: [XEN] arch-x86/cpuid.h, hypercall page; [SDM2B] VMCALL.
"""

from __future__ import annotations

from typing import Final

from disks.image import BlockImage
from vmm.techniques.base import Technique
from vmm.techniques.para import abi
from vmm.techniques.para.block_ring import Ram
from vmm.techniques.para.leaves import FEATURES_FULL, FEATURES_PARA, HYPERCALL_MSR, Exits, MonitorLeaves

ENTRY_BYTES: Final = 32
_MOV_EAX: Final = 0xB8
_RET: Final = 0xC3
_INT3: Final = 0xCC
_ENTRIES: Final = abi.PAGE // ENTRY_BYTES


def hypercall_page() -> bytes:
    """Return the page: MOV EAX, N; VMCALL; RET. What is between them is INT3."""
    page = bytearray()
    for number in range(_ENTRIES):
        entry = bytes((_MOV_EAX,)) + number.to_bytes(4, "little") + abi.VMCALL + bytes((_RET,))
        page += entry.ljust(ENTRY_BYTES, bytes((_INT3,)))
    return bytes(page)


class HypercallMsr:
    """The MSR that places the page. `placed`: since the last reset somebody has written it."""

    def __init__(self, memory: Ram) -> None:
        self._memory = memory
        self.placed = False

    def reset(self) -> None:
        """The page, if there was one, is memory like any other."""
        self.placed = False

    def __call__(self, index: int, value: int) -> bool:
        """Take a write; False: not this MSR, or no page of RAM."""
        if index != HYPERCALL_MSR or value % abi.PAGE or not self._memory.is_ram(value, abi.PAGE):
            return False
        self._memory.write(value, hypercall_page())
        self.placed = True
        return True


def introduce(technique: Technique, disk: BlockImage | None, exits: Exits, first_of_exits: int) -> None:
    """Let the guest of a technique find its monitor."""
    technique.use_disk(disk)
    if technique.name == "bare":
        return
    from vmm.techniques.deprivileged import Deprivileged
    from vmm.techniques.para.full_guest import FullGuestCalls

    processor = technique.processor
    is_para = technique.name == "para"
    features = FEATURES_PARA | FEATURES_FULL if is_para else FEATURES_FULL
    processor.identity.monitor = MonitorLeaves(exits, features, first_of_exits)
    page = processor.msrs.monitor = HypercallMsr(technique.memory)
    if is_para:
        processor.identity.show_monitor()
        return
    calls = FullGuestCalls(processor, technique.memory, technique.exits, page)
    if isinstance(technique, Deprivileged):
        technique.full_calls = calls
    else:
        calls.watch()
