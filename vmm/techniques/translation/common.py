"""What both kinds of binary translation share: ring 3 runs directly, and what it may not see is intercepted.

In ring 3 the sensitive instructions are few. SGDT, SIDT, SLDT, STR and SMSW are caught by the processor's
own intercepts; PUSHF and POPF matter only where the guest has given ring 3 an IOPL or
cleared its IF, and are caught then.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.delivery import Event
from vmm.cpu.intercepts import GROUPS
from vmm.cpu.segmentation import code_bits
from vmm.techniques.deprivileged import EMULATED, Deprivileged
from vmm.techniques.emulations import FollowUp
from vmm.techniques.exits import ExitRow
from vmm.techniques.sites import find_sites

_READS: Final = (*GROUPS["descriptor-reads"], "cr0-read")
_FLAGS: Final = ("pushf", "popf")
_FLAG_CHANGES: Final = frozenset({"iret", "popf", "sysexit", "sysret", "far-ret", "far-jmp", "far-call"})
_HARMLESS: Final = r.IF  # what the real flags say: IF set, IOPL 0

DONE: Final = {
    "cache.chain": "the jump leads to its target's translation from now on",
    "cache.indirect": "the target of an indirect branch is in the lookup table from now on",
    "cache.source-write": "translations of what is written were dropped; the instruction runs alone",
}
"""What a trace says that the cache did, by the exit's reason."""


class Translation(Deprivileged):
    """The base of both."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._flags_armed = False

    def take_over(self) -> None:
        """Arm the intercepts for ring 3."""
        super().take_over()
        self.arm(True, *_READS)
        self._follow_flags()

    def disarm(self) -> None:
        """Disarm them."""
        self.arm(False, *_READS, *_FLAGS)
        self._flags_armed = False

    def follow_up(self, name: str) -> FollowUp | None:
        """Follow IF and IOPL too."""
        return self._follow_flags if name in _FLAG_CHANGES else super().follow_up(name)

    def _deliver(self, event: Event) -> None:
        """A task gate may lead to ring 3."""
        super()._deliver(event)
        self._follow_flags()

    def emulation_row(self, name: str, code: bytes) -> ExitRow:
        """What would not have trapped by itself was made to."""
        sites = find_sites(code, code_bits(self.vcpu), first_only=True)
        if not (sites and sites[0].goes_wrong):
            return super().emulation_row(name, code)
        return self.exits.row("patched." + name, EMULATED)

    def _follow_flags(self) -> None:
        vcpu = self.vcpu
        if vcpu.cpl < 3:
            return  # the kernel's are found in its code
        wanted = vcpu.flags.value & (r.IF | r.IOPL) != _HARMLESS
        if wanted != self._flags_armed:
            self._flags_armed = wanted
            self.arm(wanted, *_FLAGS)
