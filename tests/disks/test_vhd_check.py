"""`check`: every rule is told when it is broken, and nothing is told of images in order."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from disks.open import open_image
from disks.vhd.check import check_chain, worst
from disks.vhd.check_rules import RULES, Severity
from tests.disks.conftest import make_child
from tests.disks.damage import (
    BLOCK,
    CHILD_BLOCK,
    FIRST_BLOCK,
    STRIDE,
    TABLE,
    Damage,
    both,
    entry,
    in_footers,
    in_header,
    put,
    u32,
    u64,
)
from tests.disks.scribbles import scribble
from tests.oracles import run_tool

MakeVhd = Callable[..., Path]
MakeChain = Callable[..., list[Path]]
SECOND = (FIRST_BLOCK + STRIDE) // 512


def cut(length: int) -> Damage:
    return lambda path: os.truncate(path, path.stat().st_size + length)


def sibling(path: Path) -> None:
    path.with_suffix(".v01").touch()


def insert_gap(path: Path) -> None:
    contents = path.read_bytes()
    path.write_bytes(contents[:-512] + bytes(512) + contents[-512:])


def no_parent(path: Path) -> None:
    path.with_name("base.vhd").unlink()


def older_parent(path: Path) -> None:
    os.utime(path.with_name("base.vhd"), (0, 10**9))


def locator(position: int, data: bytes) -> Damage:
    return in_header(576 + position, data)


DYNAMIC: list[tuple[str, Damage]] = [
    ("no-vhd", both(put(0, b"garbage!"), put(-512, b"garbage!"))),
    ("split-piece", sibling),
    ("footer-damaged", put(-512, b"garbage!")),
    ("footer-checksum", both(put(40, b"\1"), put(-512 + 40, b"\1"))),
    ("footer-version", in_footers(12, u32(0x2_0000))),
    ("disk-type", in_footers(60, u32(7))),
    ("disk-size", in_footers(48, u64(1000))),
    ("footer-511", cut(-1)),
    ("copy-damaged", put(0, b"garbage!")),
    ("copy-differs", in_footers(40, u64(512), copy=False)),
    ("footer-features", in_footers(8, u32(0))),
    ("timestamp-future", in_footers(24, u32(0xFFFF_FFFF))),
    ("geometry", in_footers(56, bytes([0, 1, 1, 1]))),
    ("saved-state", in_footers(84, b"\2")),
    ("footer-reserved", in_footers(100, b"\1")),
    ("footer-temporary", in_footers(8, u32(3))),
    ("creator", in_footers(28, b"none")),
    ("creator-host", in_footers(36, b"none")),
    ("original-size", in_footers(40, u64(0))),
    ("state-saved", in_footers(84, b"\1")),
    ("header-place", in_footers(16, u64(1 << 60))),
    ("header-cookie", in_header(0, b"garbage!")),
    ("header-checksum", put(512 + 700, b"x")),
    ("header-version", in_header(24, u32(0x2_0000))),
    ("block-size", in_header(32, u32(3 << 20))),
    ("table-place", in_header(16, u64(1024))),
    ("table-place", in_header(16, u64(1 << 60))),
    ("table-short", in_header(28, u32(3))),
    ("header-data-offset", in_header(8, u64(0))),
    ("block-size-rare", in_header(32, u32(1 << 20))),
    ("parent-fields", in_header(40, b"\1" * 16)),
    ("header-reserved", in_header(60, u32(1))),
    ("header-reserved", in_header(800, u32(1))),
    ("bat-headers", entry(0, 0)),
    ("bat-headers", entry(0, 3)),
    ("bat-overlap", entry(0, SECOND)),
    ("bat-overlap", entry(0, SECOND - 1)),
    ("bat-outside", entry(1, 0x7FFF_FFFF)),
    ("bat-outside", entry(1, SECOND + 1)),
    ("bat-unused", in_footers(48, u64(BLOCK))),
    ("leak", entry(0, 0xFFFF_FFFF)),
    ("tail-room", entry(1, 0xFFFF_FFFF)),
    ("gap", insert_gap),
    ("table-padding", put(TABLE + 16, b"\0")),
    ("hidden-data", put(FIRST_BLOCK, bytes(1))),
    ("bits-beyond-end", in_footers(48, u64(BLOCK + 512))),
    ("bitmap-padding", put(FIRST_BLOCK + 200, b"\1")),
    ("zeros-held", put(FIRST_BLOCK + 512, bytes(BLOCK))),
]
FIXED: list[tuple[str, Damage]] = [
    ("fixed-truncated", in_footers(48, u64(2 << 20), copy=False)),
    ("fixed-slack", in_footers(48, u64(1 << 19), copy=False)),
    ("fixed-data-offset", in_footers(16, u64(512), copy=False)),
]
CHILD: list[tuple[str, Damage]] = [
    ("parent-id", in_header(40, bytes(16))),
    ("parent-unusable", in_header(40, b"\1" * 16)),
    ("parent-unusable", no_parent),
    ("locator-overlap", locator(16, u64(CHILD_BLOCK))),
    ("locator-overlap", locator(16, u64(TABLE))),
    ("parent-name", in_header(64, bytes(512))),
    ("locator-none", both(locator(0, b"none"), locator(24, b"none"))),
    ("locator-code", locator(0, b"none")),
    ("locator-space", locator(4, u32(1000))),
    ("locator-text", locator(8, u32(2000))),
    ("locator-text", locator(16, u64(1 << 60))),
    ("locator-text", put(FIRST_BLOCK, b"\0\xd8")),
    ("parent-size", in_footers(48, u64(3 * BLOCK))),
    ("parent-odd", older_parent),
    ("locator-sectors", locator(4, u32(1))),
    ("locator-reserved", locator(12, u32(1))),
    ("locator-old", locator(0, b"Wi2r")),
    ("qemu-poison", put(CHILD_BLOCK, b"\xff" * 128)),
]
ELSEWHERE = {"bat-many"}  # a test of its own


def rules_broken(path: Path) -> dict[str, int]:
    return dict(check_chain(path)[0].findings.counts)


@pytest.mark.parametrize(("rule", "damage"), DYNAMIC, ids=[rule for rule, _ in DYNAMIC])
def test_a_damaged_dynamic_image_breaks_its_rule(dynamic: Path, rule: str, damage: Damage) -> None:
    assert rules_broken(dynamic) == {}
    damage(dynamic)
    assert rule in rules_broken(dynamic)


@pytest.mark.parametrize(("rule", "damage"), FIXED, ids=[rule for rule, _ in FIXED])
def test_a_damaged_fixed_image_breaks_its_rule(make_vhd: MakeVhd, rule: str, damage: Damage) -> None:
    path = make_vhd(1 << 20, fixed=True)
    assert rules_broken(path) == {}
    damage(path)
    assert rule in rules_broken(path)


@pytest.mark.parametrize(("rule", "damage"), CHILD, ids=[rule for rule, _ in CHILD])
def test_a_damaged_child_breaks_its_rule(child: Path, rule: str, damage: Damage) -> None:
    assert rules_broken(child) == {}
    damage(child)
    assert rule in rules_broken(child)


def test_every_rule_has_an_image_that_breaks_it() -> None:
    assert {rule for rule, _ in (*DYNAMIC, *FIXED, *CHILD)} | ELSEWHERE == set(RULES)


def test_all_damages_are_told_at_once(dynamic: Path) -> None:
    for damage in (
        put(0, b"garbage!"),
        put(512 + 700, b"x"),
        entry(0, 0),
        entry(2, 0x7FFF_FFFF),
        put(TABLE + 16, b"\0"),
    ):
        damage(dynamic)
    expected = {"copy-damaged", "header-checksum", "bat-headers", "bat-outside", "table-padding"}
    assert expected <= rules_broken(dynamic).keys()


def test_a_finding_names_file_offset_field_expected_and_found(dynamic: Path) -> None:
    entry(0, SECOND)(dynamic)
    (found,) = check_chain(dynamic)[0].findings.listed[:1]
    assert (found.offset, found.field) == (TABLE + 4, "BAT entry 1")
    assert (
        f"{dynamic}: at offset 0x604, BAT entry 1: expected a place of its own, found the place of block 0"
        in str(found)
    )


def test_a_circle_is_told_and_does_not_go_round(make_chain: MakeChain) -> None:
    _, middle, top = make_chain(3, 1 << 20)
    in_header(40, open_id(top))(middle)  # the middle one now stands on the top one
    put(512 + 64, "level2.vhd".encode("utf-16-be").ljust(64, b"\0"))(middle)
    in_header(576, bytes(48))(middle)
    levels = check_chain(top)
    assert [level.path.name for level in levels] == ["level2.vhd", "level1.vhd"]
    assert "circle" in str(next(f for f in levels[1].findings.listed if f.rule.name == "parent-unusable"))


def open_id(path: Path) -> bytes:
    return path.read_bytes()[-512 + 68 : -512 + 84]


def test_a_parent_is_checked_too(child: Path) -> None:
    entry(1, 0)(child.with_name("base.vhd"))
    levels = check_chain(child)
    assert "bat-headers" in levels[1].findings.counts
    assert worst(levels) is Severity.ERROR


@pytest.mark.parametrize("base", [{"block_bytes": 2 << 20}, {"block_bytes": BLOCK}, {"fixed": True}])
def test_images_we_wrote_are_clean(make_chain: MakeChain, base: dict[str, object]) -> None:
    chain = make_chain(1, 11 << 20, **base)
    scribble(chain[0], seed=1)
    for level in (1, 2):
        chain.append(make_child(chain[0].with_name(f"above{level}.vhd"), chain[-1]))
        scribble(chain[-1], seed=level)
    levels = check_chain(chain[-1])
    assert len(levels) == 3
    assert {rule for level in levels for rule in level.findings.counts} <= {"zeros-held"}


@pytest.mark.oracle
@pytest.mark.parametrize("subformat", ["fixed", "dynamic"])
def test_images_of_qemu_are_clean(tmp_path: Path, subformat: str) -> None:
    path = tmp_path / "qemu.vhd"
    run_tool("qemu-img", "create", "-f", "vpc", "-o", f"subformat={subformat}", path, "9M")
    run_tool("qemu-io", "-f", "vpc", "-c", "write -P 1 1M 3M", "-c", "write -P 2 8M 1M", path)
    assert worst(check_chain(path)) in (None, Severity.INFO)


@pytest.mark.oracle
def test_a_child_that_qemu_wrote_to_is_known(child: Path) -> None:
    run_tool("qemu-io", "-f", "vpc", "-c", "write -P 1 512K 4k", child)
    assert "qemu-poison" not in rules_broken(child)  # its zeros hide nothing
    image = open_image(child.with_name("base.vhd"))
    image.write(2048, b"\x03" * BLOCK)
    image.close()
    run_tool("qemu-io", "-f", "vpc", "-c", "write -P 1 1M 4k", child)
    assert set(rules_broken(child)) - {"parent-odd"} == {"qemu-poison", "zeros-held", "bitmap-padding"}
    base = child.with_name("base.vhd")
    empty = make_child(child.with_name("empty.vhd"), base)
    run_tool("qemu-io", "-f", "vpc", "-c", "write -P 1 64K 4k", empty)
    found = rules_broken(empty)
    assert found["qemu-poison"] == 1
    assert found["locator-overlap"] == 2


def test_a_child_written_over_as_a_whole_is_not_taken_for_poisoned(child: Path) -> None:
    image = open_image(child)
    image.write(0, b"\x05" * (BLOCK - 512) + bytes(512))
    image.close()
    assert set(rules_broken(child)) == {"zeros-held"}
