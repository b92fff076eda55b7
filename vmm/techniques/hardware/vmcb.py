"""The virtual machine control block: its layout, and its fields by name.

The engine reads and writes four fields of it itself: MSRPM_BASE_PA, EXITINFO2 (the address of a page fault
or nested page fault), EXITINTINFO and EVENTINJ. All others are filled when they are looked at, and what is
written to them takes effect at once: see `control_block.py`. Not modelled: what of the VMCB belongs to
AVIC, SEV, LBR virtualization and the pause filter.

Sources: [AMD-V] AMD64 Architecture Programmer's Manual, volume 2, appendix B.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final, NamedTuple

_U8, _U16, _U32, _U64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
SAVE_AREA: Final = 0x400  # [AMD-V] table B-2
_SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr")


class Field(NamedTuple):
    """A field by its data-sheet name in small letters; `offset` counts from the VMCB's first byte."""

    name: str
    offset: int
    size: int


def _segment_fields() -> list[Field]:
    """[AMD-V] table B-2, 000h to 09Fh: sixteen bytes each."""
    parts = (("selector", 0, 2), ("attrib", 2, 2), ("limit", 4, 4), ("base", 8, 8))
    return [
        Field(f"{name}.{part}", SAVE_AREA + 16 * number + offset, size)
        for number, name in enumerate(_SEGMENTS)
        for part, offset, size in parts
    ]


CONTROL_FIELDS: Final = tuple(
    Field(*entry)
    for entry in (
        ("intercept_cr_read", 0x00, 2), ("intercept_cr_write", 0x02, 2),
        ("intercept_dr_read", 0x04, 2), ("intercept_dr_write", 0x06, 2),
        ("intercept_exceptions", 0x08, 4), ("intercept_misc1", 0x0C, 4), ("intercept_misc2", 0x10, 4),
        ("iopm_base_pa", 0x40, 8), ("msrpm_base_pa", 0x48, 8), ("tsc_offset", 0x50, 8),
        ("guest_asid", 0x58, 4), ("tlb_control", 0x5C, 1), ("v_intr", 0x60, 8), ("interrupt_shadow", 0x68, 8),
        ("exitcode", 0x70, 8), ("exitinfo1", 0x78, 8), ("exitinfo2", 0x80, 8), ("exitintinfo", 0x88, 8),
        ("np_enable", 0x90, 8), ("eventinj", 0xA8, 8), ("n_cr3", 0xB0, 8), ("nrip", 0xC8, 8),
        ("fetched", 0xD0, 1), ("instruction", 0xD1, 15),
    )
)  # fmt: skip
SAVE_FIELDS: Final = (
    *_segment_fields(),
    *(
        Field(name, SAVE_AREA + offset, size)
        for name, offset, size in (
            ("cpl", 0xCB, 1), ("efer", 0xD0, 8), ("cr4", 0x148, 8), ("cr3", 0x150, 8), ("cr0", 0x158, 8),
            ("dr7", 0x160, 8), ("dr6", 0x168, 8), ("rflags", 0x170, 8), ("rip", 0x178, 8),
            ("rsp", 0x1D8, 8), ("rax", 0x1F8, 8), ("star", 0x200, 8), ("lstar", 0x208, 8),
            ("cstar", 0x210, 8), ("sfmask", 0x218, 8), ("sysenter_cs", 0x228, 8),
            ("sysenter_esp", 0x230, 8), ("sysenter_eip", 0x238, 8), ("cr2", 0x240, 8),
        )
    ),
)  # fmt: skip
FIELDS: Final = {field.name: field for field in (*CONTROL_FIELDS, *SAVE_FIELDS)}

# EVENTINJ and EXITINTINFO, [AMD-V] §15.20, §15.7.2
EVENT_VALID: Final = 1 << 31
EVENT_ERROR_VALID: Final = 1 << 11
EVENT_TYPE_SHIFT: Final = 8
EVENT_INTERRUPT, EVENT_NMI, EVENT_EXCEPTION, EVENT_SOFTWARE = 0, 2, 3, 4
EXITINFO2_OFFSET: Final = FIELDS["exitinfo2"].offset
EXITINTINFO_OFFSET: Final = FIELDS["exitintinfo"].offset
EVENTINJ_OFFSET: Final = FIELDS["eventinj"].offset


def event(vector: int, kind: int, error_code: int | None = None) -> int:
    """Return the value of EVENTINJ that delivers `vector`."""
    value = EVENT_VALID | kind << EVENT_TYPE_SHIFT | vector
    return value if error_code is None else value | EVENT_ERROR_VALID | error_code << 32


class VmcbMemory:
    """The block as bytes at a host address. The hot fields are overlays made once."""

    def __init__(self, host: int) -> None:
        self._bytes: Any = (ctypes.c_uint8 * 0x1000).from_address(host)
        self.exitinfo2 = _U64.from_address(host + EXITINFO2_OFFSET)
        self.exitintinfo = _U64.from_address(host + EXITINTINFO_OFFSET)
        self.eventinj = _U64.from_address(host + EVENTINJ_OFFSET)

    def read(self, field: Field) -> int:
        """Return a field as it stands."""
        return int.from_bytes(bytes(self._bytes[field.offset : field.offset + field.size]), "little")

    def write(self, field: Field, value: int) -> None:
        """Store a field, cut to its size."""
        data = (value & (1 << field.size * 8) - 1).to_bytes(field.size, "little")
        self._bytes[field.offset : field.offset + field.size] = list(data)
