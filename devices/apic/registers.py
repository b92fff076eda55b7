"""The local APIC's registers: where they are, what their bits mean, and the state they make up.

Sources:
    [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, chapter 10.
"""

from __future__ import annotations

from typing import Final

from devices.apic.timer import TimerState
from devices.backplane import DeviceState

# Register offsets, [SDM3] table 10-1
ID: Final = 0x20
VERSION: Final = 0x30
TPR: Final = 0x80
APR: Final = 0x90
PPR: Final = 0xA0
EOI: Final = 0xB0
RRD: Final = 0xC0
LDR: Final = 0xD0
DFR: Final = 0xE0
SVR: Final = 0xF0
ISR: Final = 0x100
TMR: Final = 0x180
IRR: Final = 0x200
ESR: Final = 0x280
ICR_LOW: Final = 0x300
ICR_HIGH: Final = 0x310
LVT_TIMER: Final = 0x320
LVT_THERMAL: Final = 0x330
LVT_PERFORMANCE: Final = 0x340
LVT_LINT0: Final = 0x350
LVT_LINT1: Final = 0x360
LVT_ERROR: Final = 0x370
INITIAL_COUNT: Final = 0x380
CURRENT_COUNT: Final = 0x390
DIVIDE: Final = 0x3E0
REGISTER_BYTES: Final = 4096

# Bits of the LVT that can be written, [SDM3] figure 10-8
LVT_WRITABLE: Final = {
    LVT_TIMER: 0x3_00FF, LVT_THERMAL: 0x1_07FF, LVT_PERFORMANCE: 0x1_07FF, LVT_LINT0: 0x1_A7FF,
    LVT_LINT1: 0x1_A7FF, LVT_ERROR: 0x1_00FF,
}  # fmt: skip
LVT_PERIODIC: Final = 1 << 17
VERSION_VALUE: Final = (len(LVT_WRITABLE) - 1) << 16 | 0x14  # an integrated xAPIC, [SDM3] §10.4.8

SVR_ENABLE: Final = 1 << 8
SVR_BITS: Final = 0x3FF
SVR_RESET: Final = 0xFF
DFR_FLAT: Final = 0xF
ICR_BITS: Final = 0xC_CFFF
ICR_ASSERT: Final = 1 << 14
ICR_SHORTHAND_SHIFT: Final = 18
SHORTHANDS: Final = ("none", "self", "all", "others")
BSP_ID: Final = 0

# Error status, [SDM3] figure 10-9
ESR_SEND_VECTOR: Final = 1 << 5
ESR_RECEIVE_VECTOR: Final = 1 << 6
ESR_REGISTER: Final = 1 << 7

# IA32_APIC_BASE, [SDM3] figure 10-5
BASE_ADDRESS: Final = 0xFEE0_0000
BASE_BSP: Final = 1 << 8
BASE_ENABLE: Final = 1 << 11
BASE_MASK: Final = 0xF_FFFF_F000  # of 36 physical address bits
BASE_RESET: Final = BASE_ADDRESS | BASE_ENABLE | BASE_BSP


class LocalApicState(DeviceState, frozen=True, kw_only=True):
    """The registers. `lvt` by ascending offset, `pins` the levels of LINT0, LINT1 and of ExtINT messages."""

    base: int
    id: int
    tpr: int
    ldr: int
    dfr: int
    svr: int
    esr: int
    errors: int
    icr_low: int
    icr_high: int
    isr: bytes
    tmr: bytes
    irr: bytes
    lvt: tuple[int, ...]
    pins: tuple[bool, bool, bool]
    timer: TimerState
