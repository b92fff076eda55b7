"""What our engine does by itself, and a monitor on a processor would have an exit for: its mechanisms.

Ports, memory of devices, CPUID and RDTSC leave the guest by the engine's own hooks under every technique, the
technique aside. On a processor they would come to the monitor in the technique's way; the modelled cycles
say what that costs. While the guest is in real mode, which runs bare, they are counted all the same.
"""

from __future__ import annotations

from typing import Final

from vmm.techniques.cost import cycles_of

Mechanisms = tuple[str, ...]
_TRAPPED: Final = ("fault-entry", "decode", "emulate", "resume")
_DEVICE_MEMORY: Final = ("fault-entry", "page-walk", "decode", "emulate", "resume")
_CALLED: Final = ("callout", "emulate")
VM_EXIT: Final = ("vm-exit", "vmread", "vmread", "emulate", "vmwrite", "vm-entry")
_VM_DEVICE_MEMORY: Final = (
    "vm-exit",
    "vmread",
    "vmread",
    "page-walk",
    "decode",
    "emulate",
    "vmwrite",
    "vm-entry",
)
_PORTS: Final = ("io.in", "io.out")
_MEMORY: Final = ("mmio.read", "mmio.write")

_DEPRIVILEGED: Final[dict[str, Mechanisms]] = {
    **dict.fromkeys(_PORTS, _TRAPPED),
    **dict.fromkeys(_MEMORY, _DEVICE_MEMORY),
}
_HARDWARE: Final[dict[str, Mechanisms]] = {
    **dict.fromkeys((*_PORTS, "cpuid"), VM_EXIT),
    **dict.fromkeys(_MEMORY, _VM_DEVICE_MEMORY),
}
BY_TECHNIQUE: Final[dict[str, dict[str, Mechanisms]]] = {
    "trap": _DEPRIVILEGED,
    "translation-patch": _DEPRIVILEGED,
    "translation-cache": {**_DEPRIVILEGED, **dict.fromkeys(_PORTS, _CALLED)},
    "hardware-shadow": _HARDWARE,
    "hardware-nested": _HARDWARE,
    "para": _DEPRIVILEGED,
}


def engine_cycles(technique: str, reason: str) -> int:
    """Return the modelled cycles of one exit that the engine itself makes; 0 where it would be none."""
    return cycles_of(BY_TECHNIQUE.get(technique, {}).get(reason, ()))
