"""Intel 82441FX: the host bridge of the 440FX PCIset, function 00:00.0.

Modelled: identification, and the programmable attribute map (PAM) that decides which parts of
C0000h-FFFFFh are RAM and which are ROM; the machine applies it. Kept but without effect: SMRAM,
DRAM timing and boundaries. Not modelled: the error log registers.

Sources:
    [440FX] Intel 440FX PCIset: 82441FX PMC and 82442FX DBX (290549-001), §3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from devices.pci.config import (
    CACHE_LINE_SIZE,
    COMMAND,
    STATUS,
    ConfigSpace,
    FunctionIdentity,
    PciFunction,
    Register,
)

PAM0: Final = 0x59  # Programmable Attribute Map, 7 registers, [440FX] §3.2.15
PAM_REGISTERS: Final = 7
SMRAM: Final = 0x72

# Attribute bits of each nibble, [440FX] table 8
PAM_READ: Final = 0x1  # reads go to DRAM
PAM_WRITE: Final = 0x2  # writes go to DRAM
PAM_NIBBLES: Final = 0x77

_IDENTITY: Final = FunctionIdentity(vendor_id=0x8086, device_id=0x1237, class_code=0x060000, revision=2)

_REGISTERS: Final = (
    Register(COMMAND, 2, 0x0006, 0x0140),  # memory and master are always on
    Register(STATUS, 2, 0x0280, 0, 0xF900),
    Register(CACHE_LINE_SIZE, 1, 0, 0),
    Register(0x50, 2, 0x0000, 0xFFFF),  # PMCCFG
    Register(0x52, 1, 0x00, 0xFF),  # DETURBO
    Register(0x53, 1, 0x80, 0xFF),  # DBC
    Register(0x54, 1, 0x00, 0xFF),  # AXC
    Register(0x55, 2, 0x0000, 0xFFFF),  # DRT
    Register(0x57, 1, 0x01, 0xFF),  # DRAMC
    Register(0x58, 1, 0x00, 0xFF),  # DRAMT
    Register(PAM0, 1, 0x00, 0x70),
    Register(PAM0 + 1, 6, 0, int.from_bytes(bytes([PAM_NIBBLES]) * 6, "little")),
    Register(0x60, 8, 0x0101010101010101, 0xFFFF_FFFF_FFFF_FFFF),  # DRB[0:7]
    Register(0x68, 1, 0x00, 0xC0),  # FDHC
    Register(0x70, 1, 0x00, 0xFF),  # MTT
    Register(0x71, 1, 0x10, 0x70),  # CLT
    Register(SMRAM, 1, 0x02, 0x78),
    Register(0x90, 1, 0x00, 0xFF),  # ERRCMD
)


class PamSegment(NamedTuple):
    """A piece of the C0000h-FFFFFh area and where its reads and writes go."""

    address: int
    length: int
    read_ram: bool
    write_ram: bool


def pam_segments(registers: bytes) -> list[PamSegment]:
    """Decode PAM[0:6] into the 13 segments of [440FX] table 9, from low to high addresses."""
    nibbles = [nibble for value in registers[1:] for nibble in (value & 0xF, value >> 4)]
    segments = [_segment(0xC0000 + 0x4000 * at, 0x4000, nibble) for at, nibble in enumerate(nibbles)]
    return [*segments, _segment(0xF0000, 0x10000, registers[0] >> 4)]


def _segment(address: int, length: int, nibble: int) -> PamSegment:
    return PamSegment(address, length, bool(nibble & PAM_READ), bool(nibble & PAM_WRITE))


class I440fx(PciFunction):
    """The host bridge. `on_pam(PAM[0:6])` is called whenever the seven registers change.

    `subsystem` is the (vendor, id) pair of 2Ch; the silicon has zeros there, and SeaBIOS knows a
    virtual PC by 1AF4h:1100h.
    """

    def __init__(
        self,
        name: str,
        on_pam: Callable[[bytes], None],
        subsystem: tuple[int, int] = (0x1AF4, 0x1100),
    ) -> None:
        identity = _IDENTITY._replace(subsystem_vendor_id=subsystem[0], subsystem_id=subsystem[1])
        config = ConfigSpace(identity, _REGISTERS)
        config.watch(PAM0, PAM_REGISTERS, self._pam_written)
        self._on_pam = on_pam
        self._pam = b""
        super().__init__(name, config)

    def _pam_written(self) -> None:
        pam = self.config.snapshot()[PAM0 : PAM0 + PAM_REGISTERS]
        if pam != self._pam:
            self._pam = pam
            self._on_pam(pam)
