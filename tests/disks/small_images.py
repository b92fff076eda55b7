"""Images in memory with blocks of 4 KiB, which we open but do not make: small enough to try every crash."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Final

from disks.sync import SyncPolicy
from disks.vhd import layout
from disks.vhd.footer import Footer
from disks.vhd.header import DynamicHeader
from disks.vhd.opening import find_footer, open_level, read_parts
from disks.vhd.rewrite import leading_to
from disks.vhd.sparse import SparseVhd
from tests.disks.crash_recorder import RecordingFile

BLOCK: Final = 4 << 10
PER_BLOCK: Final = BLOCK // 512
BASE_ID: Final = uuid.UUID(int=0xBA5E)
CHILD_ID: Final = uuid.UUID(int=0xC41D)


def blank(blocks: int, parent: uuid.UUID | None = None) -> bytes:
    """Return an empty dynamic image, or with `parent` a differencing one without locators."""
    kind = layout.TYPE_DIFFERENCING if parent else layout.TYPE_DYNAMIC
    header = DynamicHeader(1536, blocks, BLOCK, *([parent] if parent else []))
    own = CHILD_ID if parent else BASE_ID
    footer = Footer.new(kind, blocks * BLOCK, datetime(2026, 1, 1, tzinfo=UTC), own).to_bytes()
    return footer + header.to_bytes() + b"\xff" * header.table_bytes + footer


def filled(blocks: int, seed: int) -> tuple[bytes, bytes]:
    """Return a dynamic image that holds random sectors here and there, and its contents."""
    chance, file = Random(seed), RecordingFile(blank(blocks))
    image = open_small(file)
    model = bytearray(blocks * BLOCK)
    for _ in range(blocks * 2):
        lba = chance.randrange(blocks * PER_BLOCK)
        data = bytes([chance.randrange(1, 256)]) * 512
        image.write(lba, data)
        model[lba * 512 : lba * 512 + 512] = data
    image.close()
    return bytes(file.contents), bytes(model)


def with_header_last(image: bytes) -> bytes:
    """Return an image without texts, its table where its header was, and its header behind the blocks."""
    file = RecordingFile(image)
    found = find_footer(file)
    header, _, table, _ = read_parts(file, found)
    for _, block in table.used():
        table[block] -= layout.HEADER_BYTES // 512
    blocks = image[header.table_offset + header.table_bytes : found.offset]
    header = replace(header, table_offset=layout.FOOTER_BYTES)
    record = leading_to(found.record, header.table_offset + header.table_bytes + len(blocks))
    return record + table.to_bytes() + blocks + header.to_bytes() + record


def open_small(
    file: RecordingFile, parent: bytes | None = None, sync: SyncPolicy = SyncPolicy.ON_FLUSH
) -> SparseVhd:
    """Open the image in `file`, on the image `parent` where there is one."""
    image = open_level(file, sync)
    assert isinstance(image, SparseVhd)
    if parent is not None:
        below = RecordingFile(parent)
        below.read_only = True
        image.stand_on(open_level(below))
    return image
