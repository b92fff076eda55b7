"""The mode pages of a disk. What can be changed is whether the write cache is enabled.

Sources:
    [SBC-2] T10/1417D revision 16, §6.3 mode pages of direct-access devices.
    [SCSI-2] X3.131-1994, §9.3.3.3 format device page, §9.3.3.7 rigid disk geometry page.
    [SPC-2] T10/1236D revision 20, §8.3.6 control page, §8.3.7 disconnect-reconnect page.
"""

from __future__ import annotations

import struct
from typing import Final

from devices.scsi.mode import Pages

ERROR_RECOVERY: Final = 0x01
DISCONNECT_RECONNECT: Final = 0x02
FORMAT_DEVICE: Final = 0x03
GEOMETRY: Final = 0x04
CACHING: Final = 0x08
CONTROL: Final = 0x0A

WCE: Final = 0x04  # first byte of the caching page's body
HARD_SECTORS: Final = 0x40  # format device page, byte 20
GLTSD: Final = 0x02  # control page: no log parameters are saved
ROTATION: Final = 7200

WRITE_PROTECTED: Final = 0x80  # device-specific parameter
DPOFUA: Final = 0x10

SMALL_BLOCKS: Final = 1 << 21  # 1 GiB: up to here an Adaptec BIOS translates to 64 heads of 32 sectors
MOST_CYLINDERS: Final = 0xFF_FFFF


def geometry(blocks: int) -> tuple[int, int, int]:
    """Return cylinders, heads and sectors a track that a disk of so many blocks shows."""
    heads, sectors = (64, 32) if blocks <= SMALL_BLOCKS else (255, 63)
    return min(max(blocks // (heads * sectors), 1), MOST_CYLINDERS), heads, sectors


def pages(blocks: int, block_bytes: int, write_cache: bool) -> Pages:
    """Return the pages of a disk."""
    cylinders, heads, sectors = geometry(blocks)
    rigid = cylinders.to_bytes(3, "big") + struct.pack(">B14xHxx", heads, ROTATION)
    default = {
        ERROR_RECOVERY: bytes(10),
        DISCONNECT_RECONNECT: bytes(14),
        FORMAT_DEVICE: struct.pack(">8xHHH4xB3x", sectors, block_bytes, 1, HARD_SECTORS),
        GEOMETRY: rigid,
        CACHING: bytes([WCE]) + bytes(17),
        CONTROL: bytes([GLTSD]) + bytes(9),
    }
    changeable = {code: bytes(len(body)) for code, body in default.items()}
    changeable[CACHING] = default[CACHING]
    current = default if write_cache else {**default, CACHING: bytes(18)}
    return Pages(current, changeable, default)


def descriptor(blocks: int, block_bytes: int) -> bytes:
    """Return the block descriptor: so many blocks, all ones if more than it can tell, of such a length."""
    return struct.pack(">II", min(blocks, 0xFFFF_FFFF), block_bytes)
