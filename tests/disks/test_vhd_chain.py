"""Differencing chains: who holds a sector, how a parent is found, what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from disks.errors import DiskError, ImageBusyError, ImageFormatError, ParentError
from disks.hostfile import HostFile
from disks.image import SECTOR_BYTES as SECTOR
from disks.open import open_image
from disks.vhd.facts import level_facts
from disks.vhd.family import children_of, member
from disks.vhd.locators import clues
from disks.vhd.parents import ParentRules
from disks.vhd.sparse import SparseVhd
from tests.disks.conftest import make_child
from tests.disks.damage import in_footers, u64
from tests.disks.scribbles import contents_of, scribble, seven_zip

MakeVhd = Callable[..., Path]
MakeChain = Callable[..., list[Path]]
SIZE = 11 * (1 << 20) + 512 * 3


@pytest.mark.oracle
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("base", [{"block_bytes": 2 << 20}, {"block_bytes": 512 << 10}, {"fixed": True}])
def test_seven_zip_reads_a_chain_as_we_do(make_chain: MakeChain, depth: int, base: dict[str, object]) -> None:
    chain = make_chain(depth, SIZE, **base)
    for level in range(1, depth):  # the base of a written chain is written first
        chain[level].unlink()
    expected = scribble(chain[0], seed=depth)
    for level in range(1, depth):
        make_child(chain[level], chain[level - 1])
        expected = scribble(chain[level], seed=depth * 10 + level)
    assert contents_of(chain[-1]) == expected
    assert seven_zip(chain[-1]) == expected


def test_a_write_of_zeros_hides_what_the_parent_holds(make_chain: MakeChain) -> None:
    base = make_chain(1, SIZE)[0]
    image = open_image(base)
    image.write(100, b"\x11" * 4096)
    image.close()
    child = make_child(base.with_name("child.vhd"), base)
    image = open_image(child)
    image.write(102, bytes(1024))
    image.close()
    assert contents_of(child)[100 * 512 : 108 * 512] == b"\x11" * 1024 + bytes(1024) + b"\x11" * 2048


def test_only_the_child_changes(make_chain: MakeChain) -> None:
    chain = make_chain(3, SIZE)
    before = [path.read_bytes() for path in chain[:-1]]
    scribble(chain[-1], seed=3)
    assert [path.read_bytes() for path in chain[:-1]] == before


def test_extents_name_the_level_that_holds_a_sector(make_chain: MakeChain) -> None:
    child = make_chain(2, SIZE)[1]
    image = open_image(child)
    assert isinstance(image, SparseVhd)
    image.write(8, b"\x22" * 512)
    assert [(extent.sectors, extent.file is None, extent.level) for extent in image.extents(0, 16)] == [
        (8, True, 1),
        (1, False, 0),
        (7, True, 1),
    ]
    image.close()


def test_blocks_never_cover_what_a_child_says_of_its_parent(make_chain: MakeChain) -> None:
    child = make_chain(2, SIZE)[1]
    image = open_image(child)
    assert isinstance(image, SparseVhd)
    header = image.store.header
    image.write(0, b"\xee" * SECTOR)
    image.close()
    file = HostFile.open(child, read_only=True)
    said = clues(file, header, file.size())
    file.close()
    assert [clue.text for clue in said] == [
        ".\\level0.vhd",
        "level0.vhd",
        str(child.with_name("level0.vhd")).replace("/", "\\"),
    ]


def test_a_directory_moved_as_a_whole_still_opens(make_chain: MakeChain, tmp_path: Path) -> None:
    chain = make_chain(3, SIZE)
    expected = scribble(chain[-1], seed=4)
    home = tmp_path / "elsewhere"
    home.mkdir()
    for path in chain:
        shutil.move(path, home / path.name)
    assert contents_of(home / chain[-1].name) == expected


def test_a_parent_with_another_identity_is_refused_and_can_be_overridden(
    make_chain: MakeChain, make_vhd: MakeVhd
) -> None:
    base, child = make_chain(2, SIZE)
    base.unlink()
    make_vhd(SIZE, name=base.name)
    with pytest.raises(ParentError, match="is image"):
        open_image(child)
    image = open_image(child, parents=ParentRules(ignore_parent_id=True))
    assert isinstance(image, SparseVhd)
    assert "identity differs" in image.warnings[0]
    image.close()


def test_a_parent_elsewhere_is_refused_with_the_option_that_admits_it(
    make_vhd: MakeVhd, tmp_path: Path
) -> None:
    (tmp_path / "bases").mkdir()
    (tmp_path / "mine").mkdir()
    base = make_vhd(SIZE, name="bases/base.vhd")
    child = make_child(tmp_path / "mine" / "child.vhd", base)
    with pytest.raises(ParentError, match=f"--allow-root {base.parent}"):
        open_image(child)
    open_image(child, parents=ParentRules((base.parent,))).close()


def test_a_symbolic_link_beside_the_child_does_not_lead_outside(
    make_chain: MakeChain, tmp_path: Path
) -> None:
    base, child = make_chain(2, SIZE)
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.move(base, outside / base.name)
    home = tmp_path / "home"
    home.mkdir()
    shutil.move(child, home / child.name)
    (home / base.name).symlink_to(outside / base.name)
    with pytest.raises(ParentError, match="outside the allowed directories"):
        open_image(home / child.name)


def test_a_link_that_appears_while_the_parent_is_opened_does_not_lead_outside(
    make_vhd: MakeVhd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases, outside = tmp_path / "home" / "bases", tmp_path / "outside"
    bases.mkdir(parents=True)
    child = make_child(tmp_path / "home" / "child.vhd", make_vhd(SIZE, name="home/bases/base.vhd"))
    open_image(child).close()
    honest = HostFile.open

    def swap_first(path: Path, **options: bool) -> HostFile:
        if path.name == "base.vhd" and not bases.is_symlink():
            bases.rename(outside)
            bases.symlink_to(outside)
        return honest(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(HostFile, "open", swap_first)
    with pytest.raises(ParentError, match="outside the allowed directories"):
        open_image(child)
    assert bases.is_symlink()


def test_a_changed_time_of_the_parent_is_a_warning_only(make_chain: MakeChain) -> None:
    base, child = make_chain(2, SIZE)
    status = base.stat()
    os.utime(base, (status.st_atime, status.st_mtime + 3600))
    image = open_image(child)
    assert isinstance(image, SparseVhd)
    assert "summer time" in image.warnings[0]
    image.close()


@pytest.mark.parametrize(
    ("modified", "noted"), [(1, 0), (-1, 0), (946_684_805, 5), (6_000_000_000, 0xFFFF_FFFF)]
)
def test_a_parent_of_any_time_can_have_children(make_vhd: MakeVhd, modified: int, noted: int) -> None:
    base = make_vhd(SIZE)
    os.utime(base, (modified, modified))
    child = make_child(base.with_name("child.vhd"), base)
    image = open_image(child)
    assert isinstance(image, SparseVhd)
    assert image.store.header.parent_timestamp == noted
    assert image.warnings == ()
    image.close()


def test_a_chain_that_is_a_circle_is_refused(make_chain: MakeChain) -> None:
    base, child = make_chain(2, SIZE)
    shutil.copy(child, base)  # now its own parent, by identity
    with pytest.raises(ParentError):
        open_image(child)


def test_many_children_share_a_parent_that_nobody_may_write(make_chain: MakeChain) -> None:
    base, first = make_chain(2, SIZE)
    second = make_child(base.with_name("second.vhd"), base)
    images = [open_image(first), open_image(second)]
    with pytest.raises(ImageBusyError):
        open_image(base)
    for image in images:
        image.close()
    open_image(base).close()


def test_a_candidate_in_use_does_not_end_the_search(make_vhd: MakeVhd, tmp_path: Path) -> None:
    (tmp_path / "bases").mkdir()
    parent = make_vhd(SIZE, name="bases/base.vhd")
    child = make_child(tmp_path / "child.vhd", parent)
    child = child.rename(tmp_path / "bases" / "child.vhd")
    # By its name the parent lies beside the child, by its relative locator in bases/bases
    (tmp_path / "bases" / "bases").mkdir()
    other = open_image(make_vhd(SIZE, name="bases/bases/base.vhd"))
    open_image(child).close()
    parent.unlink()
    with pytest.raises(ImageBusyError):
        open_image(child)
    other.close()


def test_a_chain_has_a_greatest_depth(make_chain: MakeChain) -> None:
    chain = make_chain(64, 1 << 20)
    open_image(chain[-1]).close()
    with pytest.raises(ParentError, match="deeper than 64"):
        open_image(make_child_of_depth_65(chain[-1]))


def make_child_of_depth_65(parent: Path) -> Path:
    return make_child(parent.with_name("one-too-many.vhd"), parent)


def test_children_are_found_by_the_identity_they_name(make_chain: MakeChain) -> None:
    base, first = make_chain(2, SIZE)
    second = make_child(base.with_name("second.vhd"), base)
    base.with_name("noise.vhd").write_bytes(bytes(5000))
    image = open_image(first)  # in use, and still seen
    assert children_of(member(base).unique_id, [base.parent]) == [first, second]
    image.close()


@pytest.mark.parametrize("header_at", [1 << 63, (1 << 64) - 1, 1 << 40])
def test_a_damaged_child_in_the_directory_keeps_nobody_from_looking(
    make_chain: MakeChain, header_at: int
) -> None:
    base, damaged = make_chain(2, SIZE)
    sound = make_child(base.with_name("second.vhd"), base)
    in_footers(16, u64(header_at))(damaged)
    assert children_of(member(base).unique_id, [base.parent]) == [sound]
    with pytest.raises(ImageFormatError, match="footer data offset"):
        level_facts(damaged)


def test_an_offset_no_file_has_is_past_the_end(make_vhd: MakeVhd) -> None:
    file = HostFile.open(make_vhd(SIZE), read_only=True)
    for offset in ((1 << 63) - 512, 1 << 63, 1 << 64):
        with pytest.raises(DiskError, match="the file ends"):
            file.read_at(offset, 1024)
    file.close()
