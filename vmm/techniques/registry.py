"""Which techniques there are, and which one a machine asks for: only that one is loaded."""

from __future__ import annotations

import importlib
from typing import Final

from vmm.config import MachineConfig
from vmm.techniques.base import Technique

_CLASSES: Final = {
    "bare": ("base", "Bare"),
    "trap": ("trap", "Trap"),
    "translation-patch": ("translation.patch", "Patch"),
    "translation-cache": ("translation.cache", "Cache"),
    "hardware-nested": ("hardware.technique", "HardwareNested"),
    "hardware-shadow": ("hardware.technique", "HardwareShadow"),
    "para": ("para.technique", "Para"),
}
"""By full name: the module below `vmm.techniques`, and the class."""


def technique_of(config: MachineConfig) -> type[Technique]:
    """Return the technique that a configuration names."""
    module, name = _CLASSES[config.full_technique]
    kind: type[Technique] = getattr(importlib.import_module(f"vmm.techniques.{module}"), name)
    return kind
