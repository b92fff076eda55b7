"""Which techniques there are, and which one a machine asks for."""

from __future__ import annotations

from typing import Final

from vmm.config import MachineConfig
from vmm.techniques.base import Bare, Technique
from vmm.techniques.hardware.technique import HardwareNested, HardwareShadow
from vmm.techniques.para.technique import Para
from vmm.techniques.translation.cache import Cache
from vmm.techniques.translation.patch import Patch
from vmm.techniques.trap import Trap

_KINDS: Final[dict[str, type[Technique]]] = {
    kind.name: kind for kind in (Bare, Trap, Patch, Cache, HardwareNested, HardwareShadow, Para)
}


def technique_of(config: MachineConfig) -> type[Technique]:
    """Return the technique that a configuration names."""
    return _KINDS[config.full_technique]
