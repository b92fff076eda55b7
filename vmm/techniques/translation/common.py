"""What both kinds of binary translation share: ring 3 runs directly, and what it may not see is intercepted.

In ring 3 the sensitive instructions are few. SGDT, SIDT, SLDT, STR and SMSW are caught by the processor's
own intercepts; PUSHF and POPF matter only where the guest has given ring 3 an IOPL, and are caught then.
"""

from __future__ import annotations

from typing import Final

from vmm.clock import host_ns
from vmm.cpu import registers as r
from vmm.cpu.decode import instruction_name, robin_irvine
from vmm.cpu.emulate import Outcome, emulate
from vmm.cpu.engine import INTERCEPT_VECTOR, Action
from vmm.cpu.intercepts import EXIT_CODES, GROUPS
from vmm.cpu.paging import GuestFault
from vmm.cpu.segmentation import code_bits
from vmm.techniques.deprivileged import EMULATED, Deprivileged
from vmm.techniques.exits import ExitRow

_READS: Final = (*GROUPS["descriptor-reads"], "cr0-read")
_FLAGS: Final = ("pushf", "popf")
_OURS: Final = frozenset(INTERCEPT_VECTOR + EXIT_CODES[name] for name in (*_READS, *_FLAGS))
INTERCEPTED: Final = ("vm-exit", "decode", "emulate", "vm-entry")
_FLAG_CHANGES: Final = frozenset({"iret", "popf"})


class Translation(Deprivileged):
    """The base of both."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._flags_armed = False

    def take_over(self) -> None:
        """Arm the intercepts for ring 3."""
        super().take_over()
        self.processor.intercepts.arm(*_READS)
        self._follow_iopl()

    def hand_back(self) -> None:
        """Disarm them."""
        self.processor.intercepts.disarm(*_READS, *_FLAGS)
        self._flags_armed = False
        super().hand_back()

    def on_intercept(self, vector: int, code: bytes) -> Action:
        """Show the guest what it believes in."""
        if vector not in _OURS:
            return super().on_intercept(vector, code)
        began = host_ns()
        name = instruction_name(code, code_bits(self.vcpu))
        try:
            outcome = emulate(self.vcpu, self.services, code or None)
            assert outcome is not Outcome.UNHANDLED
            self.after_emulation(name, outcome)
        except GuestFault as fault:
            self._reflect(fault, began)
            return Action.RESUME
        self._count("patched." + name, INTERCEPTED, began)
        return Action.RESUME

    def after_emulation(self, name: str, outcome: Outcome) -> None:
        """Follow IOPL too."""
        super().after_emulation(name, outcome)
        if name in _FLAG_CHANGES:
            self._follow_iopl()

    def emulation_row(self, name: str, code: bytes) -> ExitRow:
        """What would not have trapped by itself was made to."""
        if robin_irvine(code, 32) is None:
            return super().emulation_row(name, code)
        return self.exits.row("patched." + name, EMULATED)

    def _follow_iopl(self) -> None:
        wanted = bool(self.vcpu.flags.value & r.IOPL)
        if wanted != self._flags_armed:
            self._flags_armed = wanted
            (self.processor.intercepts.arm if wanted else self.processor.intercepts.disarm)(*_FLAGS)
