"""Images that lie: each is refused in one line that names file, offset, field, expected and found."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disks.errors import DiskError, ImageFormatError
from disks.open import open_image
from tests.disks.damage import BLOCK, STRIDE, TABLE, in_footers, in_header, put

MakeVhd = Callable[..., Path]
FIRST_BLOCK = 2048 // 512


@pytest.fixture
def used(make_vhd: MakeVhd) -> Path:
    """A dynamic VHD of four blocks, the first two present."""
    path = make_vhd(4 * BLOCK, block_bytes=BLOCK)
    image = open_image(path)
    image.write(0, b"\x01" * 512)
    image.write(1024, b"\x02" * 512)
    image.close()
    return path


def refusal(path: Path) -> ImageFormatError:
    with pytest.raises(ImageFormatError) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (0, "from 4 on"),  # the footer copy
        (3, "from 4 on"),  # the BAT
        (FIRST_BLOCK + STRIDE // 512, "apart from block"),  # where block 1 is
        (FIRST_BLOCK + STRIDE // 512 - 1, "apart from block"),  # its last sector runs into block 1
        (FIRST_BLOCK + 2 * STRIDE // 512 + 1, "ends before"),
        (0x7FFF_FFFF, "ends before"),
    ],
)
def test_bat_entry_that_cannot_be_is_refused(used: Path, entry: int, expected: str) -> None:
    put(TABLE, struct.pack(">I", entry))(used)
    error = refusal(used)
    assert error.field.startswith("BAT entry")
    assert expected in str(error.expected)
    assert str(used) in str(error)


def test_offset_of_a_refused_bat_entry_is_that_of_the_entry(used: Path) -> None:
    put(TABLE + 8, struct.pack(">I", 1))(used)
    assert refusal(used).offset == TABLE + 8


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (0, b"cxspars!", "header cookie"),
        (16, struct.pack(">Q", 0), "header table offset"),
        (16, struct.pack(">Q", 1000), "header table offset"),
        (16, struct.pack(">Q", 1024), "header table offset"),
        (16, struct.pack(">Q", 1 << 60), "header max table entries"),
        (24, struct.pack(">I", 0x0002_0000), "header version"),
        (28, struct.pack(">I", 3), "header max table entries"),
        (28, struct.pack(">I", 0xFFFF_FFFF), "header max table entries"),
        (32, struct.pack(">I", 0), "header block size"),
        (32, struct.pack(">I", 2048), "header block size"),
        (32, struct.pack(">I", 3 << 20), "header block size"),
        (32, struct.pack(">I", 1 << 31), "header block size"),
    ],
)
def test_header_field_that_cannot_be_is_refused(used: Path, offset: int, value: bytes, field: str) -> None:
    in_header(offset, value)(used)
    assert refusal(used).field == field


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (12, struct.pack(">I", 0x0002_0000), "footer format version"),
        (16, struct.pack(">Q", 0), "footer data offset"),
        (16, struct.pack(">Q", 1 << 63), "footer data offset"),
        (48, struct.pack(">Q", 0), "footer current size"),
        (48, struct.pack(">Q", 1000), "footer current size"),
        (48, struct.pack(">Q", 1 << 50), "footer current size"),
        (48, struct.pack(">Q", 2040 << 30), "header max table entries"),
        (60, struct.pack(">I", 7), "footer disk type"),
    ],
)
def test_footer_field_that_cannot_be_is_refused(used: Path, offset: int, value: bytes, field: str) -> None:
    in_footers(offset, value)(used)
    assert refusal(used).field == field


def test_blocks_without_number_are_refused_before_any_is_read(used: Path) -> None:
    in_footers(48, struct.pack(">Q", 2040 << 30))(used)
    in_header(28, struct.pack(">I", 0x3FC0_0000))(used)
    in_header(32, struct.pack(">I", 4096))(used)
    footer = used.read_bytes()[:512]
    put((8 << 30) - 512, footer)(used)
    assert refusal(used).field == "header block size"


def test_header_with_a_wrong_checksum_is_refused(used: Path) -> None:
    put(512 + 700, b"x")(used)
    assert refusal(used).field == "header checksum"


def test_truncated_fixed_image_is_refused(make_vhd: MakeVhd) -> None:
    path = make_vhd(1 << 20, fixed=True)
    contents = path.read_bytes()
    path.write_bytes(contents[: 512 << 10] + contents[-512:])
    assert "truncated" in str(refusal(path))


def test_damaged_footer_lets_the_image_be_read_only(used: Path) -> None:
    put(used.stat().st_size - 512, b"garbage")(used)
    with pytest.raises(DiskError, match="reading only"):
        open_image(used)
    image = open_image(used, read_only=True)
    assert image.read(1024, 1) == b"\x02" * 512
    assert "damaged" in image.warnings[0]  # type: ignore[attr-defined]
    image.close()


def test_damaged_footer_copy_is_only_warned_of(used: Path) -> None:
    put(0, b"garbage")(used)
    image = open_image(used)
    assert "copy" in image.warnings[0]  # type: ignore[attr-defined]
    image.close()


@pytest.mark.parametrize("fixed", [True, False])
def test_footer_of_511_bytes_is_taken(make_vhd: MakeVhd, fixed: bool) -> None:
    path = make_vhd(1 << 20, fixed=fixed)
    path.write_bytes(path.read_bytes()[:-1])
    image = open_image(path)
    image.write(3, b"\x07" * 512)
    image.close()
    image = open_image(path)
    assert image.read(3, 1) == b"\x07" * 512
    image.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2047), st.binary(min_size=1, max_size=8)), min_size=1, max_size=3))
def test_any_damage_is_refused_or_harmless(used: Path, damages: list[tuple[int, bytes]]) -> None:
    path = used.with_name("damaged.vhd")
    path.write_bytes(used.read_bytes())
    for offset, data in damages:
        put(offset, data)(path)
    in_header(0, b"")(path)  # only the checksum
    with contextlib.suppress(DiskError):
        image = open_image(path, read_only=True)
        for lba in (0, 1024, image.size_bytes // 512 - 1):
            assert len(image.read(min(lba, image.size_bytes // 512 - 1), 1)) == 512
        image.close()


def test_a_table_of_more_blocks_than_the_file_holds_is_refused(make_vhd: MakeVhd) -> None:
    path = make_vhd(512 << 30, block_bytes=BLOCK)
    with path.open("r+b") as file:
        file.seek(TABLE)
        file.write(struct.pack(">I", 0x10_0000) * (1 << 20))

    assert refusal(path).field.startswith("BAT entry")
    assert refusal(path).offset == TABLE + 4
