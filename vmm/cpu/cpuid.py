"""What CPUID tells the guest: the engine's processor models, less what the machine does not have.

Unicorn's models claim an APIC, MONITOR and a hypervisor whatever the machine holds; a guest that
believes them looks for hardware that is not there.
Sources: [SDM2A] CPUID; [SDM3] volume 3A. The leaves are those of QEMU's models in Unicorn 2.1.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from unicorn import x86_const as x86

from vmm.errors import ConfigError

Leaf = tuple[int, int, int, int]  # EAX EBX ECX EDX

EDX_APIC: Final = 1 << 9
ECX_MONITOR: Final = 1 << 3
ECX_X2APIC: Final = 1 << 21
ECX_TSC_DEADLINE: Final = 1 << 24
ECX_HYPERVISOR: Final = 1 << 31
EDX_ACPI: Final = 1 << 22  # thermal control through MSRs that the engine lacks
EDX_INVARIANT_TSC: Final = 1 << 8  # of leaf 8000_0007h
MONITOR_FIRST: Final = 0x4000_0000  # no processor will ever use these, [SDM2A] CPUID
MONITOR_END: Final = 0x5000_0000
EXTENDED: Final = 0x8000_0000
TSC_HZ: Final = 10**9  # RDTSC counts nanoseconds of virtual time
CRYSTAL_HZ: Final = TSC_HZ  # also the rate of the local APIC's timer, [SDM3] §10.5.4
_NONE: Final[Leaf] = (0, 0, 0, 0)


def _text(text: str) -> list[Leaf]:
    """Return the three leaves of a processor brand string."""
    raw = text.encode().ljust(48, b"\0")
    words = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, 48, 4)]
    return [(words[i], words[i + 1], words[i + 2], words[i + 3]) for i in (0, 4, 8)]


_INTEL: Final = (0x756E_6547, 0x6C65_746E, 0x4965_6E69)  # EBX ECX EDX of leaf 0


@dataclass(frozen=True)
class CpuModel:
    """A processor that a machine may have. Feature words are those the engine implements."""

    name: str
    engine_model: int
    leaves: Mapping[int, Leaf]


def _model(name: str, engine_model: int, top: int, leaf1: Leaf, extended: Leaf, brand: str) -> CpuModel:
    leaves: dict[int, Leaf] = {
        0: (top, *_INTEL),
        1: leaf1,
        2: (1, 0, 0, 0x2C_307D),
        EXTENDED: (EXTENDED + 8, *_INTEL),
        EXTENDED + 1: extended,
        0x15: (1, TSC_HZ // CRYSTAL_HZ, CRYSTAL_HZ, 0),
        0x16: (TSC_HZ // 10**6, TSC_HZ // 10**6, 100, 0),
        EXTENDED + 7: (0, 0, 0, EDX_INVARIANT_TSC),
        EXTENDED + 8: (0x3028, 0, 0, 0),
    }
    leaves.update(zip(range(EXTENDED + 2, EXTENDED + 5), _text(brand), strict=True))
    return CpuModel(name, engine_model, leaves)


MODELS: Final = {
    model.name: model
    for model in (
        _model(
            "core2duo", x86.UC_CPU_X86_CORE2DUO, 0x16,  # so that leaf 15h tells the rate of the TSC
            (0x6FB, 0x800, 0x8000_2209, 0xFCB_FBFD), (0x6FB, 0, 0x1, 0x2010_0800),
            "Trapline virtual CPU (Core 2 class)",
        ),
        _model(
            "pentium3", x86.UC_CPU_X86_PENTIUM3, 2,
            (0x673, 0x800, 0x8000_0000, 0x383_FBFD), (0, 0, 0, 0),
            "Trapline virtual CPU (Pentium III class)",
        ),
    )
}  # fmt: skip
DEFAULT_MODEL: Final = "core2duo"


def model(name: str) -> CpuModel:
    """Return the model called `name`; ConfigError lists those there are."""
    if name not in MODELS:
        raise ConfigError(f"no CPU model {name!r}; there are: {', '.join(MODELS)}")
    return MODELS[name]


class Cpuid:
    """CPUID of one machine. `monitor` answers for the leaves 4000_0000h-4FFF_FFFFh, where there is one.

    `has_apic` is asked each time, as an APIC that IA32_APIC_BASE turns off is not shown, [SDM3] §10.4.3.
    """

    def __init__(self, cpu: CpuModel, *, has_apic: Callable[[], bool] = lambda: False) -> None:
        self._has_apic = has_apic
        self.monitor: Callable[[int, int], Leaf | None] | None = None
        self._leaves = dict(cpu.leaves)
        eax, ebx, ecx, edx = self._leaves[1]
        ecx &= ~(ECX_MONITOR | ECX_X2APIC | ECX_TSC_DEADLINE | ECX_HYPERVISOR)
        self._leaves[1] = (eax, ebx, ecx, edx & ~(EDX_ACPI | EDX_APIC))

    def show_monitor(self) -> None:
        """Have leaf 1 say that there is one, so that a guest looks for its leaves."""
        eax, ebx, ecx, edx = self._leaves[1]
        self._leaves[1] = (eax, ebx, ecx | ECX_HYPERVISOR, edx)

    def __call__(self, leaf: int, subleaf: int) -> Leaf:
        """Return EAX, EBX, ECX, EDX. A basic leaf beyond the last answers as the last, as Intel's do."""
        if leaf == 1 and self._has_apic():
            eax, ebx, ecx, edx = self._leaves[1]
            return eax, ebx, ecx, edx | EDX_APIC
        if leaf in self._leaves:
            return self._leaves[leaf]
        if MONITOR_FIRST <= leaf < MONITOR_END:
            return (self.monitor and self.monitor(leaf, subleaf)) or _NONE
        if leaf < EXTENDED and leaf > self._leaves[0][0]:
            return self._leaves[self._leaves[0][0]]
        return _NONE
