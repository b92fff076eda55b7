"""`check --repair`: what is mended is mended, nothing a guest sees changes, and a crash leaves an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from disks.errors import DiskError
from disks.hostfile import HostFile
from disks.open import open_image
from disks.vhd.check import Level, check_chain, check_data, dissect
from disks.vhd.check_repair import apply, hindrance, plan
from disks.vhd.check_rules import RULES, Severity
from disks.vhd.opening import open_vhd
from tests.disks.crash_recorder import RecordingFile
from tests.disks.damage import (
    BLOCK,
    FIRST_BLOCK,
    TABLE,
    Damage,
    both,
    entry,
    in_footers,
    put,
    u32,
    u64,
)
from tests.disks.scribbles import contents_of

MakeVhd = Callable[..., Path]
PARTIAL = BLOCK + 512


def cut(length: int) -> Damage:
    def damage(path: Path) -> None:
        contents = path.read_bytes()
        path.write_bytes(contents[:length])

    return damage


def partial_disk(path: Path) -> None:
    """Let the disk end inside the second block, all of whose sectors are marked present."""
    in_footers(48, u64(PARTIAL))(path)
    put(FIRST_BLOCK + 512 + BLOCK, b"\xff" * 128)(path)


MENDED: list[tuple[str, Damage]] = [
    ("footer-damaged", put(-512, b"garbage!")),
    ("footer-damaged", cut(-512)),
    ("footer-damaged", cut(-300)),
    ("copy-damaged", put(0, b"garbage!")),
    ("copy-differs", in_footers(40, u64(512), copy=False)),
    ("footer-features", in_footers(8, u32(0))),
    ("footer-features", both(in_footers(8, u32(0x80)), put(-512, b"garbage!"))),
    ("footer-511", cut(-1)),
    ("table-padding", put(TABLE + 20, b"\0" * 8)),
    ("bits-beyond-end", partial_disk),
    ("tail-room", entry(1, 0xFFFF_FFFF)),
    ("tail-room", both(entry(0, 0xFFFF_FFFF), entry(1, 0xFFFF_FFFF), put(0, b"garbage!"))),
]
REFUSED: list[tuple[str, Damage]] = [
    ("bat-overlap", both(entry(1, FIRST_BLOCK // 512), put(0, b"garbage!"))),
    ("bat-headers", both(entry(1, 0), put(TABLE + 20, b"\0"))),
    ("bat-outside", both(entry(1, 0x7FFF_FFFF), put(0, b"garbage!"))),
    ("header-checksum", both(put(512 + 700, b"x"), put(0, b"garbage!"))),
    ("bat-outside", cut(-1024)),  # the last block has lost sectors: the footer's place is taken
]
mended = pytest.mark.parametrize(("rule", "damage"), MENDED, ids=[rule for rule, _ in MENDED])


def look(file: HostFile | RecordingFile) -> Level:
    level = dissect(file)
    check_data(file, level, None, None)
    return level


def repaired(path: Path) -> Level:
    file = HostFile.open(path, read_only=False)
    level = look(file)
    apply(file, plan(level))
    file.close()
    return level


@mended
def test_what_is_mended_is_gone_and_the_contents_stay(dynamic: Path, rule: str, damage: Damage) -> None:
    damage(dynamic)
    assert rule in check_chain(dynamic)[0].findings.counts
    before = contents_of(dynamic)
    repaired(dynamic)
    left = check_chain(dynamic)[0].findings
    assert not [finding for finding in left.listed if finding.rule.repair], left.listed
    assert contents_of(dynamic) == before
    open_image(dynamic).close()  # for writing, too


@mended
def test_a_crash_of_a_repair_leaves_the_contents(dynamic: Path, rule: str, damage: Damage) -> None:
    damage(dynamic)
    start = dynamic.read_bytes()
    file = RecordingFile(start)
    apply(file, plan(look(file)))
    expected, states, was_writable = contents_in(start), 0, is_writable(start)
    for _, contents in file.crashes():
        assert contents_in(contents) == expected
        assert is_writable(contents) or not was_writable
        states += 1
    assert states >= 3


def is_writable(image: bytes) -> bool:
    try:
        open_vhd(RecordingFile(image))
    except DiskError:
        return False
    return True


def contents_in(image: bytes) -> bytes:
    file = RecordingFile(image)
    file.read_only = True  # a footer that is damaged still may be read
    opened = open_vhd(file)
    return opened.read(0, opened.size_bytes // 512)


@pytest.mark.parametrize(("rule", "damage"), REFUSED, ids=[rule for rule, _ in REFUSED])
def test_what_needs_a_decision_is_left_alone(dynamic: Path, rule: str, damage: Damage) -> None:
    damage(dynamic)
    before = dynamic.read_bytes()
    assert hindrance(repaired(dynamic)) == rule
    assert dynamic.read_bytes() == before


def test_data_behind_clear_bits_is_somebodys_and_stays(dynamic: Path) -> None:
    put(FIRST_BLOCK, bytes(1))(dynamic)
    before = dynamic.read_bytes()
    assert "hidden-data" in repaired(dynamic).findings.counts
    assert dynamic.read_bytes() == before


def test_every_rule_that_says_it_is_mended_is(dynamic: Path) -> None:
    assert {rule.name for rule in RULES.values() if rule.repair} == {rule for rule, _ in MENDED}


def test_no_error_but_a_damaged_footer_is_ever_mended() -> None:
    errors = [rule.name for rule in RULES.values() if rule.repair and rule.severity is Severity.ERROR]
    assert errors == ["footer-damaged"]


def test_room_that_a_crash_left_is_cut_off(make_vhd: MakeVhd) -> None:
    file = RecordingFile(make_vhd(4 * BLOCK, block_bytes=BLOCK).read_bytes())
    open_vhd(file).write(0, b"\x01" * 512)  # never flushed, never closed
    survivor = RecordingFile(bytes(file.contents))
    apply(survivor, plan(look(survivor)))
    assert survivor.size() == FIRST_BLOCK + 512


def test_a_fixed_disk_with_an_old_footer_gets_a_whole_one(make_vhd: MakeVhd) -> None:
    path = make_vhd(1 << 20, fixed=True)
    cut(-1)(path)
    repaired(path)
    assert path.stat().st_size == (1 << 20) + 512
    assert check_chain(path)[0].findings.counts == {}


def test_a_block_written_behind_an_old_footer_makes_it_whole(make_vhd: MakeVhd) -> None:
    path = make_vhd(1 << 20, block_bytes=BLOCK)
    cut(-1)(path)
    image = open_image(path)
    image.write(0, b"\x01" * 512)
    image.close()
    assert check_chain(path)[0].findings.counts == {}
