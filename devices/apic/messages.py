"""What APICs say to each other: delivery modes, and destinations.

Sources:
    [SDM3]    Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, chapter 10.
    [82093AA] Intel 82093AA I/O Advanced Programmable Interrupt Controller, 290566-001, May 1996.
"""

from __future__ import annotations

from typing import Final

# Fields that ICR, LVT and redirection entries share, [SDM3] figures 10-8 and 10-12, [82093AA] §3.2.4
VECTOR: Final = 0xFF
MODE_SHIFT: Final = 8
MODE: Final = 7 << MODE_SHIFT
LOGICAL: Final = 1 << 11
ACTIVE_LOW: Final = 1 << 13
REMOTE_IRR: Final = 1 << 14
LEVEL: Final = 1 << 15
MASKED: Final = 1 << 16

# Delivery modes
FIXED: Final = 0
LOWEST: Final = 1
SMI: Final = 2
NMI: Final = 4
INIT: Final = 5
STARTUP: Final = 6
EXTINT: Final = 7

VECTORS: Final = 256
ILLEGAL_VECTORS: Final = 16  # 0 to 15 are exceptions of the processor, [SDM3] §10.5.2
EVERYBODY: Final = 0xFF


def delivery_mode(word: int) -> int:
    """Return the delivery mode of an ICR, LVT or redirection entry."""
    return word >> MODE_SHIFT & 7
