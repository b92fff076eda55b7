"""The seeds of the VHD fuzzer: small images of every kind, sound and spoiled."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

from disks.vhd import layout
from disks.vhd.footer import Footer
from disks.vhd.header import DynamicHeader, Locator
from disks.vhd.layout import TYPE_FIXED
from disks.vhd.locators import MAC_URL
from tests.disks.crash_recorder import RecordingFile
from tests.disks.small_images import BASE_ID, BLOCK, CHILD_ID, blank, filled, open_small
from tests.fuzz.vhd_target import FIX_CHECKSUMS, FIX_PARENTS, IGNORE_ID, NAMES, pack

BLOCKS = 3


def seeds() -> dict[str, bytes]:
    """Return the inputs by name."""
    base = filled(BLOCKS, 1)[0]
    child = on(NAMES[2], base)
    top = on(NAMES[1], child, uuid.UUID(int=0x707))
    fix = FIX_CHECKSUMS | FIX_PARENTS
    middle = on(NAMES[2], base)
    return {
        "fixed": pack(FIX_CHECKSUMS, [fixed()]),
        "dynamic": pack(FIX_CHECKSUMS, [base]),
        "dynamic-plain": pack(0, [base]),
        "empty": pack(FIX_CHECKSUMS, [blank(BLOCKS)]),
        "old-footer": pack(0, [base[:-1]]),
        "copy-only": pack(0, [base[:-512]]),
        "chain-2": pack(fix, [on(NAMES[1], base), base]),
        "chain-3": pack(fix, [on(NAMES[1], middle, uuid.UUID(int=0x707)), middle, base]),
        "chain-on-fixed": pack(fix, [on(NAMES[1], fixed()), fixed()]),
        "circle": pack(FIX_CHECKSUMS, [top, on(NAMES[0], top)]),
        "other-parent": pack(FIX_CHECKSUMS | IGNORE_ID, [on(NAMES[2], base), b"", blank(1)]),
        "escape": pack(FIX_CHECKSUMS, [on("..\\..\\etc\\passwd", base)]),
        "device": pack(FIX_CHECKSUMS, [on("\\\\.\\PhysicalDrive0", base)]),
        "network": pack(FIX_CHECKSUMS, [on("\\\\server\\share\\a.vhd", base)]),
        "url": pack(fix, [with_url(b"file:///base.vhd", base), base]),
        "url-broken": pack(fix, [with_url(b"file://[x", base), base]),
    }


def with_url(url: bytes, parent: bytes) -> bytes:
    """Return a differencing image that names its parent by a MacX locator alone."""
    image = on("unnamed", parent)
    header = DynamicHeader.parse(image[512:1536], RecordingFile(b"").path, 512)
    at = header.locators[0].data_offset
    locator = Locator(MAC_URL, 512, len(url), at)
    header = replace(header, locators=(locator, *[Locator()] * 7), parent_name=bytes(512))
    return image[:512] + header.to_bytes() + image[1536:at] + url.ljust(512, b"\0") + image[at + 512 :]


def fixed() -> bytes:
    """Return a fixed image of 16 sectors."""
    footer = Footer.new(TYPE_FIXED, 16 * 512, datetime(2026, 1, 1, tzinfo=UTC), BASE_ID)
    return b"\x5a" * (16 * 512) + footer.to_bytes()


def on(name: str, parent: bytes, own: uuid.UUID = CHILD_ID) -> bytes:
    """Return a differencing image that names its parent by a relative locator and in its header."""
    text = f".\\{name}".encode("utf-16-le")
    empty = blank(BLOCKS, uuid.UUID(bytes=parent[-512 + 68 : -512 + 84]))
    header = DynamicHeader.parse(empty[512:1536], RecordingFile(b"").path, 512)
    body = empty[1536:-512]
    locator = Locator(b"W2ru", 512, len(text), 1536 + len(body))
    header = replace(
        header, locators=(locator, *[Locator()] * 7), parent_name=name.encode("utf-16-be").ljust(512, b"\0")
    )
    footer = Footer.new(
        layout.TYPE_DIFFERENCING, BLOCKS * BLOCK, datetime(2026, 1, 1, tzinfo=UTC), own
    ).to_bytes()
    file = RecordingFile(footer + header.to_bytes() + body + text.ljust(512, b"\0") + footer)
    image = open_small(file, blank(BLOCKS))
    image.write(5, b"\x77" * 1024)
    image.close()
    return bytes(file.contents)
