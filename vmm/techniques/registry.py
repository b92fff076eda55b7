"""Which techniques there are, and which one a machine asks for."""

from __future__ import annotations

from vmm.config import MachineConfig
from vmm.techniques.base import Bare, Technique
from vmm.techniques.hardware.technique import HardwareNested, HardwareShadow
from vmm.techniques.para.technique import Para
from vmm.techniques.translation.cache import Cache
from vmm.techniques.translation.patch import Patch
from vmm.techniques.trap import Trap


def technique_of(config: MachineConfig) -> type[Technique]:
    """Return the technique that a configuration names."""
    kinds: dict[str, type[Technique]] = {
        "bare": Bare,
        "trap": Trap,
        "translation-patch": Patch,
        "translation-cache": Cache,
        "hardware-nested": HardwareNested,
        "hardware-shadow": HardwareShadow,
        "para": Para,
    }
    return kinds[config.full_technique]
