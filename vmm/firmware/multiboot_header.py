"""The Multiboot header: what a kernel tells its boot loader, and the errors in it.

Sources: [MB1] Multiboot Specification 0.6.96 §3.1; [MB2] Multiboot2 Specification 2.0 §3.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from vmm.errors import ConfigError
from vmm.firmware.elf import MAGIC as ELF_MAGIC
from vmm.firmware.post_state import VideoWish

MAGIC: Final = 0x1BADB002
MAGIC_BYTES: Final = MAGIC.to_bytes(4, "little")
SEARCHED: Final = 8192  # the header lies wholly within so many bytes
ALIGN: Final = 4
# Flags, [MB1] §3.1.2; the kernel insists on what bits 0 to 15 ask for
PAGE_ALIGNED: Final = 0x0001
MEMORY_INFO: Final = 0x0002
VIDEO_MODE: Final = 0x0004
KNOWN: Final = PAGE_ALIGNED | MEMORY_INFO | VIDEO_MODE
MANDATORY: Final = 0xFFFF
ADDRESSES: Final = 0x0001_0000
ADDRESS_FIELDS_AT: Final = 12
VIDEO_FIELDS_AT: Final = 32
HEADER_BYTES: Final = 12
WITH_ADDRESSES: Final = 32
WITH_VIDEO: Final = 48
MODE_TEXT: Final = 1
MAGIC_2: Final = 0xE85250D6.to_bytes(4, "little")
SEARCHED_2: Final = 32768


class Addresses(NamedTuple):
    """The address fields; 0 for `load_end` means all of the file, for `bss_end` none."""

    header: int
    load: int
    load_end: int
    bss_end: int
    entry: int


class Header(NamedTuple):
    """A header whose checksum is right, at `offset` in the file."""

    offset: int
    flags: int
    addresses: Addresses | None
    video: VideoWish | None


def _magics(data: bytes) -> Iterator[int]:
    """Yield every place of the magic number, as far as a header is looked for."""
    at = data.find(MAGIC_BYTES, 0, SEARCHED)
    while at >= 0:
        yield at
        at = data.find(MAGIC_BYTES, at + 1, SEARCHED)


def _words(data: bytes, at: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", data, at)


def _is_header(data: bytes, at: int) -> bool:
    if at % ALIGN or at + HEADER_BYTES > min(len(data), SEARCHED):
        return False
    return not sum(_words(data, at, 3)) & 0xFFFF_FFFF


def find_header(data: bytes, name: str) -> Header | None:
    """Return the Multiboot header; None if there is none.

    Raises:
        ConfigError: it asks for something that is not known, or is cut short.
    """
    at = next((at for at in _magics(data) if _is_header(data, at)), None)
    if at is None:
        return None
    _, flags, _ = _words(data, at, 3)
    if unknown := flags & MANDATORY & ~KNOWN:
        raise ConfigError(
            f"{name}: the Multiboot header at {at:#x} insists on flags {unknown:#06x}, "
            f"which are not known; known are {KNOWN:#06x}"
        )
    length = WITH_VIDEO if flags & VIDEO_MODE else WITH_ADDRESSES if flags & ADDRESSES else HEADER_BYTES
    if at + length > min(len(data), SEARCHED):
        raise ConfigError(
            f"{name}: the Multiboot header at {at:#x} has {length} bytes by its flags {flags:#x}; "
            f"they must lie within the first {SEARCHED} bytes of the file, which has {len(data)}"
        )
    addresses = Addresses(*_words(data, at + ADDRESS_FIELDS_AT, 5)) if flags & ADDRESSES else None
    video = None
    if flags & VIDEO_MODE:
        kind, width, height, depth = _words(data, at + VIDEO_FIELDS_AT, 4)
        video = VideoWish(kind == MODE_TEXT, width, height, depth)
    return Header(at, flags, addresses, video)


def refuse(data: bytes, name: str) -> None:
    """Say why a file that looks as if it wanted to be a Multiboot kernel is none.

    Raises:
        ConfigError: it does look so.
    """
    for at in _magics(data):
        if at % ALIGN:
            raise ConfigError(f"{name}: Multiboot header at {at:#x}: expected a multiple of {ALIGN}")
        if at + HEADER_BYTES <= len(data):
            _, flags, checksum = _words(data, at, 3)
            raise ConfigError(
                f"{name}: Multiboot header at {at:#x}: checksum {checksum:#010x}, "
                f"expected {-(MAGIC + flags) & 0xFFFF_FFFF:#010x} for flags {flags:#x}"
            )
    if MAGIC_2 in data[:SEARCHED_2]:
        raise ConfigError(
            f"{name}: a Multiboot 2 kernel (header at {data.find(MAGIC_2):#x}), expected Multiboot 1: "
            "boot it by GRUB from a disk or CD image"
        )
    if data.startswith(ELF_MAGIC):
        late = data.find(MAGIC_BYTES)
        where = f"one at {late:#x} is too late" if late >= 0 else "and none anywhere else"
        raise ConfigError(
            f"{name}: an ELF file without a Multiboot header in its first {SEARCHED} bytes ({where}): "
            "link the header's section first"
        )
