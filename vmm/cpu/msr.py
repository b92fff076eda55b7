"""Model-specific registers: which the engine has, which we add, and what an unknown one does.

The engine reads an unknown MSR as 0 and drops writes to it; a real processor raises #GP. So all
but the engine's own are intercepted, by the MSR permission map of [AMD-V] §15.11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from vmm.cpu.cpuid import CpuModel

IA32_TSC: Final = 0x10
IA32_PLATFORM_ID: Final = 0x17
IA32_APIC_BASE: Final = 0x1B
EBL_CR_POWERON: Final = 0x2A
FEATURE_CONTROL: Final = 0x3A
IA32_BIOS_UPDT_TRIG: Final = 0x79
IA32_BIOS_SIGN_ID: Final = 0x8B
MSR_FSB_FREQ: Final = 0xCD

# What QEMU's helper_rdmsr and helper_wrmsr implement
ENGINE_MSRS: Final = frozenset(
    [
        0xFE,
        *range(0x174, 0x177),
        *range(0x179, 0x17C),
        0x1A0,
        0x198,
        *range(0x200, 0x210),
        0x250,
        0x258,
        0x259,
        *range(0x268, 0x270),
        0x277,
        0x2FF,
        *range(0x400, 0x428),
        *range(0xC000_0080, 0xC000_0085),
        *range(0xC000_0100, 0xC000_0104),
    ]
)


class PermissionMap(Protocol):
    """Eight KiB, two bits an MSR: bit 0 intercepts reads, bit 1 writes."""

    def __getitem__(self, index: int) -> int: ...

    def __setitem__(self, index: int, value: int) -> None: ...


def permission_bit(msr: int) -> int | None:
    """Return the bit number of an MSR's read permission, or None: always intercepted. [AMD-V] §15.11."""
    for number, first in enumerate((0, 0xC000_0000, 0xC001_0000)):
        if first <= msr < first + 0x2000:
            return number * 0x4000 + (msr - first) * 2
    return None


def let_pass(permissions: PermissionMap, msrs: Iterable[int]) -> None:
    """Intercept every MSR but `msrs`."""
    for index in range(0x2000):
        permissions[index] = 0xFF
    for msr in msrs:
        bit = permission_bit(msr)
        if bit is not None:
            permissions[bit >> 3] = permissions[bit >> 3] & ~(3 << (bit & 7)) & 0xFF


class LocalApic(Protocol):
    """What of its local APIC a processor reaches without memory."""

    tpr: int

    @property
    def enabled(self) -> bool:
        """Whether IA32_APIC_BASE leaves it on."""

    def read_base(self) -> int:
        """Return IA32_APIC_BASE."""

    def write_base(self, value: int) -> bool:
        """Set IA32_APIC_BASE; False: #GP."""

    def write_tpr(self, value: int) -> None:
        """Set the task priority."""


class MonitorMsrs(Protocol):
    """MSRs that a technique has for its guest."""

    def __call__(self, msr: int, value: int, /) -> bool:
        """Take a write; False: it is none of them."""

    def reset(self) -> None:
        """Forget what was written."""


class Msrs:
    """The MSRs that are ours. `ignore_unknown`: read 0 and drop writes instead of #GP."""

    def __init__(
        self,
        cpu: CpuModel,
        *,
        read_tsc: Callable[[], int],
        write_tsc: Callable[[int], None],
        ignore_unknown: bool,
        apic: LocalApic | None = None,
    ) -> None:
        self._read_tsc = read_tsc
        self._write_tsc = write_tsc
        self.ignore_unknown = ignore_unknown
        self._apic = apic
        self.monitor: MonitorMsrs | None = None
        self._values = {
            IA32_PLATFORM_ID: 0,
            EBL_CR_POWERON: 0,
            FEATURE_CONTROL: 1,  # locked, VMX off
            IA32_BIOS_UPDT_TRIG: 0,
            IA32_BIOS_SIGN_ID: 1 << 32,
            MSR_FSB_FREQ: 0,
        }
        self._long_mode = bool(cpu.leaves[0x8000_0001][3] & (1 << 29))

    def reset(self) -> None:
        """Let a technique's forget what they were told."""
        if self.monitor is not None:
            self.monitor.reset()

    def read(self, msr: int) -> int | None:
        """Return the value, or None: #GP."""
        if msr == IA32_TSC:
            return self._read_tsc()
        if msr == IA32_APIC_BASE and self._apic is not None:
            return self._apic.read_base()
        value = self._values.get(msr)
        return 0 if value is None and self.ignore_unknown else value

    def write(self, msr: int, value: int) -> bool:
        """Store `value`; False: #GP."""
        if msr == IA32_TSC:
            self._write_tsc(value)
            return True
        if msr == IA32_APIC_BASE and self._apic is not None:
            return self._apic.write_base(value)
        if msr in (IA32_BIOS_SIGN_ID, IA32_BIOS_UPDT_TRIG):
            return True  # asking for the microcode revision; there is no microcode
        if msr in self._values:
            return False
        return (self.monitor is not None and self.monitor(msr, value)) or self.ignore_unknown
