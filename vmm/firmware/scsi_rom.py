"""The option ROM of an AIC-7870 on a machine whose BIOS is not ours: INT 13h on the chip.

`scsi_rom.bin` is committed, so a user needs no assembler; a test proves that the source gives the same
bytes. After a change, in this folder: `nasm -w+all -f bin -o scsi_rom.bin scsi_rom.asm`.

Sources: [PCI-2.1] PCI Local Bus Specification, revision 2.1, §6.3.1: the image's sum is 0; [PNPBIOS]
Plug and Play BIOS Specification 1.0A §3.2: that of the expansion header.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

IMAGE: Final = Path(__file__).with_name("scsi_rom.bin")
EXPANSION_POINTER: Final = 0x1A
EXPANSION_UNIT: Final = 16
EXPANSION_LENGTH: Final = 5
EXPANSION_SUM: Final = 9


def scsi_rom() -> bytes:
    """Return the ROM with its sums."""
    image = bytearray(IMAGE.read_bytes())
    header = int.from_bytes(image[EXPANSION_POINTER : EXPANSION_POINTER + 2], "little")
    end = header + image[header + EXPANSION_LENGTH] * EXPANSION_UNIT
    image[header + EXPANSION_SUM] = -sum(image[header:end]) & 0xFF
    image[-1] = -sum(image) & 0xFF
    return bytes(image)
