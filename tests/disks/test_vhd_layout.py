"""Tables of the VHD specification against our declarations."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from disks.errors import ImageFormatError
from disks.vhd import layout
from disks.vhd.footer import Footer
from disks.vhd.geometry import geometry_for
from disks.vhd.header import DynamicHeader
from disks.vhd.record import checksum, with_checksum

HERE = Path("x.vhd")


def footer() -> Footer:
    return Footer.new(layout.TYPE_DYNAMIC, 10 << 20, datetime(2026, 1, 1, tzinfo=UTC), uuid.UUID(int=0x1234))


def test_structures_have_the_sizes_of_the_specification() -> None:
    assert layout.FOOTER.sizeof() == 512
    assert layout.HEADER.sizeof() == 1024
    assert layout.LOCATOR.sizeof() == 24


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (0, b"conectix"),
        (8, bytes.fromhex("00000002")),
        (12, bytes.fromhex("00010000")),
        (16, (512).to_bytes(8, "big")),
        (24, (820540800).to_bytes(4, "big")),  # 9497 days of 86,400 s since 2000
        (40, (10 << 20).to_bytes(8, "big")),
        (48, (10 << 20).to_bytes(8, "big")),
        (56, bytes.fromhex("012d 04 11")),
        (60, (3).to_bytes(4, "big")),
        (68, uuid.UUID(int=0x1234).bytes),
    ],
)
def test_footer_fields_lie_where_the_specification_says(offset: int, expected: bytes) -> None:
    assert footer().to_bytes()[offset : offset + len(expected)] == expected


def test_footer_survives_bytes() -> None:
    assert Footer.parse(footer().to_bytes(), HERE, 0) == footer()


def test_header_survives_bytes() -> None:
    header = DynamicHeader(table_offset=1536, max_table_entries=5)
    assert DynamicHeader.parse(header.to_bytes(), HERE, 512) == header


def test_checksum_is_the_complement_of_the_sum_of_the_other_bytes() -> None:
    record = bytes([1, 2, 3, 4]) + b"\xff" * 4 + bytes([5])
    assert checksum(record, 4) == 0xFFFF_FFFF - 15
    assert with_checksum(record, 4)[4:8] == (0xFFFF_FFFF - 15).to_bytes(4, "big")


@pytest.mark.parametrize("byte", [0, 9, 50, 300])
def test_any_changed_byte_of_a_footer_is_noticed(byte: int) -> None:
    record = bytearray(footer().to_bytes())
    record[byte] ^= 0x40
    with pytest.raises(ImageFormatError, match=r"footer (cookie|checksum)"):
        Footer.parse(bytes(record), HERE, 0)


@pytest.mark.parametrize(
    ("mebibytes", "expected"),
    [
        (10, (301, 4, 17)),
        (100, (1003, 12, 17)),
        (504, (1024, 16, 63)),
        (1024, (2080, 16, 63)),
        (2048, (4161, 16, 63)),
        (32256, (16191, 16, 255)),
        (130560, (65535, 16, 255)),
        (2040 << 10, (65535, 16, 255)),
    ],
)
def test_geometry_follows_the_appendix(mebibytes: int, expected: tuple[int, int, int]) -> None:
    assert geometry_for(mebibytes << 11) == expected


def test_bitmap_of_a_2_mib_block_takes_one_sector() -> None:
    assert DynamicHeader(table_offset=1536, max_table_entries=1).bitmap_bytes == 512


def test_bitmap_of_a_small_block_is_padded_to_a_sector() -> None:
    header = DynamicHeader(table_offset=1536, max_table_entries=1, block_bytes=4096)
    assert header.bitmap_bytes == 512
