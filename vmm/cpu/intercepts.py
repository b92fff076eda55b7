"""Intercepts: having chosen instructions leave the guest on any processor model, and emulating them.

The engine's SVM intercepts are live once the guest-mode flag is set. An armed instruction arrives
before it runs; it is then emulated on the CPU view, counted and named. A few are always armed, for
safety: LTR (a null or busy TR makes the engine abort the whole process at the next ring change) and
access to MSRs that the engine does not have, and RDPMC, which it has not either; MONITOR and MWAIT,
which CPUID hides, are refused. The
portable engine adds HLT and RDTSC, its only way to see them. With a local APIC there are accesses to CR8, its
task priority, which the engine would keep for itself. All others cost nothing until armed.
Source: [AMD-V] AMD64 Architecture Programmer's Manual volume 2, appendix C (exit codes).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.engine import INTERCEPT_VECTOR, Engine

EXIT_CODES: Final = {
    **{f"cr{n}-read": n for n in (0, 2, 3, 4, 8)},
    **{f"cr{n}-write": 0x10 + n for n in (0, 2, 3, 4, 8)},
    **{f"dr{n}-read": 0x20 + n for n in range(8)},
    **{f"dr{n}-write": 0x30 + n for n in range(8)},
    "sidt": 0x66, "sgdt": 0x67, "sldt": 0x68, "str": 0x69,
    "lidt": 0x6A, "lgdt": 0x6B, "lldt": 0x6C, "ltr": 0x6D,
    "rdtsc": 0x6E, "rdpmc": 0x6F, "pushf": 0x70, "popf": 0x71, "cpuid": 0x72, "iret": 0x74, "int": 0x75,
    "invd": 0x76, "hlt": 0x78, "invlpg": 0x79, "msr": 0x7C, "wbinvd": 0x89, "monitor": 0x8A, "mwait": 0x8B,
}  # fmt: skip
EXCEPTIONS: Final = {  # the exception bitmap: only a technique arms these
    name.removeprefix("#").lower(): 0x40 + vector
    for vector, name in r.EXCEPTION_NAMES.items()
    if vector != r.NMI
}
NAMES: Final = {code: name for name, code in (EXIT_CODES | EXCEPTIONS).items()}
GROUPS: Final = {
    "descriptor-reads": ("sidt", "sgdt", "sldt", "str"),
    "descriptor-writes": ("lidt", "lgdt", "lldt"),
    "cr": tuple(name for name in EXIT_CODES if name.startswith("cr")),
}
_CODES: Final = EXIT_CODES | EXCEPTIONS
ALWAYS: Final = frozenset({"ltr", "msr", "rdpmc", "monitor", "mwait"})
TASK_PRIORITY: Final = ("cr8-read", "cr8-write")


def name_of(vector: int) -> str:
    """Return the name of an intercept from its vector, `100h + exit code`."""
    code = vector - INTERCEPT_VECTOR
    return NAMES.get(code, f"exit {code:#x}")


class Intercepts:
    """What is armed on one engine. Arming survives a reset of the processor."""

    def __init__(self, engine: Engine, more: Iterable[str] = ()) -> None:
        """`more` are armed for as long as the engine lives."""
        self._engine = engine
        self._more = set(more)
        self._always = ALWAYS | engine.needs | self._more
        self._armed = set(self._always)
        self.apply()

    @property
    def armed(self) -> frozenset[str]:
        """The names of all that is armed."""
        return frozenset(self._armed)

    def arm(self, *names: str) -> None:
        """Arm intercepts or groups of them by name."""
        self._armed.update(self._expand(names))
        self.apply()

    def disarm(self, *names: str) -> None:
        """Disarm intercepts; those for safety stay."""
        self._armed.difference_update(self._expand(names) - self._always)
        self.apply()

    def replace(self, names: Iterable[str], needed: Iterable[str]) -> None:
        """Arm exactly these and what safety needs, to which `needed` is added; a technique's way."""
        self._always = ALWAYS | self._engine.needs | self._more | set(needed)
        self._armed = set(names) | self._always
        self.apply()

    @property
    def needed(self) -> frozenset[str]:
        """The names that stay armed whatever is disarmed."""
        return frozenset(self._always)

    def _expand(self, names: tuple[str, ...]) -> set[str]:
        expanded: set[str] = set()
        for name in names:
            members = GROUPS.get(name, (name,))
            for member in members:
                if member not in EXIT_CODES:
                    raise ValueError(f"no intercept {member!r}")
                expanded.add(member)
        return expanded

    def apply(self) -> None:
        """Write the intercept bitmaps into the processor; again after each reset."""
        state = self._engine.fetch().state
        codes = [_CODES[name] for name in self._armed]
        state.intercept_cr_read = sum(1 << c for c in codes if c < 0x10)
        state.intercept_cr_write = sum(1 << (c - 0x10) for c in codes if 0x10 <= c < 0x20)
        state.intercept_dr_read = sum(1 << (c - 0x20) for c in codes if 0x20 <= c < 0x30)
        state.intercept_dr_write = sum(1 << (c - 0x30) for c in codes if 0x30 <= c < 0x40)
        state.intercept_exceptions = sum(1 << (c - 0x40) for c in codes if 0x40 <= c < 0x60)
        state.intercept = sum(1 << (c - 0x60) for c in codes if 0x60 <= c < 0xA0)
        self._engine.commit()
