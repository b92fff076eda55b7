"""INQUIRY: standard data and the vital product data pages.

Sources:
    [SPC-2] T10/1236D revision 20, §7.3 INQUIRY, §8.4 vital product data.
    [SBC-2] T10/1417D revision 16, §6.4 block limits.
    [SBC-3] T10/1799-D revision 25, §6.5.2 block device characteristics.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

DEVICE_DISK: Final = 0x00  # peripheral device type
DEVICE_CD: Final = 0x05
NO_DEVICE: Final = 0x7F  # nothing can be at this logical unit, [SPC-2] table 47
REMOVABLE: Final = 0x80  # byte 1
EVPD: Final = 0x01  # CDB byte 1
CMDDT: Final = 0x02  # command support data, which nothing here has

VERSION_NONE: Final = 0x00
VERSION_SCSI_2: Final = 0x02
VERSION_SPC_2: Final = 0x04
FORMAT_SPC: Final = 0x02  # response data format
FORMAT_ATAPI: Final = 0x21  # and the version of the ATAPI standard above it

CMD_QUE: Final = 0x02  # byte 7
SYNC: Final = 0x10
WBUS16: Final = 0x20

STANDARD_BYTES: Final = 36
SUPPORTED_PAGES: Final = 0x00
SERIAL_NUMBER: Final = 0x80
IDENTIFICATION: Final = 0x83
BLOCK_LIMITS: Final = 0xB0
CHARACTERISTICS: Final = 0xB1
PAGES: Final = (SUPPORTED_PAGES, SERIAL_NUMBER, IDENTIFICATION, BLOCK_LIMITS, CHARACTERISTICS)
LONGEST_SERIAL: Final = 32
ASCII: Final = 0x02  # code set of an identification descriptor
T10_VENDOR: Final = 0x01  # its identifier type


class InquiryIdentity(NamedTuple):
    """What INQUIRY says of a unit. Versions and `transport`, byte 7, are those of its transport."""

    vendor: str = "TRAPLINE"
    product: str = "CD-ROM"
    revision: str = "1.0"
    version: int = VERSION_NONE
    response_format: int = FORMAT_ATAPI
    transport: int = 0
    serial: str = "TL00001"


def disk_identity(serial: str, transport: int = 0) -> InquiryIdentity:
    """Return the identity of a disk; `transport` adds what the bus can do (SYNC, WBUS16)."""
    return InquiryIdentity(
        product="HARDDISK",
        version=VERSION_SPC_2,
        response_format=FORMAT_SPC,
        transport=CMD_QUE | transport,
        serial=serial,
    )


def cd_identity(transport: int = 0) -> InquiryIdentity:
    """Return the identity of a CD-ROM drive that is not ATAPI's."""
    return InquiryIdentity(version=VERSION_SCSI_2, response_format=FORMAT_SPC, transport=transport)


def standard(device: int, identity: InquiryIdentity, flags: int = 0) -> bytes:
    """Return the 36 bytes of standard inquiry data, [SPC-2] table 46; `flags` is byte 1."""
    head = bytes([device, flags, identity.version, identity.response_format, STANDARD_BYTES - 5, 0, 0])
    head += bytes([identity.transport])
    return head + _text(identity.vendor, 8) + _text(identity.product, 16) + _text(identity.revision, 4)


def vital(page: int, device: int, identity: InquiryIdentity, most_blocks: int) -> bytes | None:
    """Return a page of vital product data, None for one that does not exist."""
    serial = identity.serial.encode("ascii", "replace")[:LONGEST_SERIAL]
    name = _text(identity.vendor, 8) + _text(identity.product, 16) + serial
    bodies = {
        SUPPORTED_PAGES: bytes(PAGES),
        SERIAL_NUMBER: serial,
        IDENTIFICATION: bytes([ASCII, T10_VENDOR, 0, len(name)]) + name,
        BLOCK_LIMITS: struct.pack(">HHII", 0, 0, most_blocks, 0),
        CHARACTERISTICS: bytes(60),  # no rotation rate is told
    }
    body = bodies.get(page)
    return None if body is None else struct.pack(">BBH", device, page, len(body)) + body


def _text(text: str, length: int) -> bytes:
    return text.encode("ascii", "replace").ljust(length)[:length]
