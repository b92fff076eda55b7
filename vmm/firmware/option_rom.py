"""The option ROM that brings a kernel into the boot order of a BIOS that is not ours.

A PCI expansion ROM with a *bootstrap entry vector*: the BIOS copies it below 1 MiB, lists it among what
can be booted, and calls the vector, which is `kernel_stub`. Its initialisation does nothing.

Sources: [PCI-2.1] PCI Local Bus Specification, revision 2.1, §6.3.1 (ROM header, PCI data structure);
[PNPBIOS] Plug and Play BIOS Specification 1.0A §3.2 (expansion header), §3.3 (what initialisation returns);
[BBS] BIOS Boot Specification 1.01 §3.3.
"""

from __future__ import annotations

import struct
from typing import Final

from devices.pci.config import FunctionIdentity
from vmm.firmware.kernel_stub import kernel

UNIT: Final = 512
ROM_BYTES: Final = 2048  # the steps in which a BIOS looks for ROMs
SIGNATURE: Final = b"\x55\xaa"
POINTERS_AT: Final = 0x18  # to the PCI data structure and to the expansion header
PCI_DATA_AT: Final = 0x1C
EXPANSION_AT: Final = 0x40
EXPANSION: Final = struct.Struct("<4sBBHBBIHH3sBHHHHH")
EXPANSION_REVISION: Final = 0x10
STRINGS_AT: Final = 0x60
CODE_AT: Final = 0x100
CODE_TYPE_PC: Final = 0x00
LAST_IMAGE: Final = 0x80
INDICATORS: Final = 0x64  # may be shadowed, may be cached, is a boot device
INITIALISE: Final = b"\xb8\x20\x00\xcb"  # mov ax, 20h (a boot device is attached); retf
MANUFACTURER: Final = b"Trapline\0"


def kernel_rom(identity: FunctionIdentity, product: str) -> bytes:
    """Return the ROM of a PCI function; `product` is what a boot menu shows."""
    image = bytearray(ROM_BYTES)
    image[:3] = SIGNATURE + bytes((ROM_BYTES // UNIT,))
    image[3 : 3 + len(INITIALISE)] = INITIALISE
    struct.pack_into("<HH", image, POINTERS_AT, PCI_DATA_AT, EXPANSION_AT)
    kind = identity.class_code.to_bytes(3, "little")
    data = b"PCIR" + struct.pack("<HHHHB", identity.vendor_id, identity.device_id, 0, 0x18, 0) + kind
    data += struct.pack("<HHBBH", ROM_BYTES // UNIT, 0, CODE_TYPE_PC, LAST_IMAGE, 0)
    image[PCI_DATA_AT : PCI_DATA_AT + len(data)] = data
    name = product.encode("ascii", "replace")[: CODE_AT - STRINGS_AT - len(MANUFACTURER) - 1] + b"\0"
    image[STRINGS_AT : STRINGS_AT + len(MANUFACTURER + name)] = MANUFACTURER + name
    header = bytearray(
        EXPANSION.pack(
            b"$PnP", EXPANSION_REVISION, EXPANSION.size // 16, 0, 0, 0, 0,
            STRINGS_AT, STRINGS_AT + len(MANUFACTURER), kind, INDICATORS, 0, 0, CODE_AT, 0, 0,
        )
    )  # fmt: skip
    header[9] = -sum(header) & 0xFF
    image[EXPANSION_AT : EXPANSION_AT + len(header)] = header
    code = kernel()
    image[CODE_AT : CODE_AT + len(code)] = code
    image[-1] = -sum(image) & 0xFF
    return bytes(image)
