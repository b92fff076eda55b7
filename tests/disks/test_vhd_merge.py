"""Merging: the image merged into, or the new file, reads as the child did; nothing else changes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from disks.errors import DiskError, ImageBusyError, ParentError
from disks.hostfile import HostFile
from disks.newfile import new_file
from disks.open import open_image
from disks.vhd.check import check_chain
from disks.vhd.create import write_child
from disks.vhd.fixed import FixedVhd
from disks.vhd.merge import merge_into
from disks.vhd.mergejob import MergeInto, MergeNew, MergeOrder, Outcome
from disks.vhd.sparse import SparseVhd, VhdImage
from tests.disks.conftest import make_child
from tests.disks.crash_recorder import RecordingFile
from tests.disks.scribbles import contents_of, scribble, seven_zip
from tests.disks.small_images import BASE_ID, blank, open_small
from tests.oracles import run_tool

MakeVhd = Callable[..., Path]
SIZE = 5 * (1 << 20) + 512 * 3
BASES = ({"block_bytes": 2 << 20}, {"block_bytes": 512 << 10}, {"fixed": True})


def random_chain(make_vhd: MakeVhd, depth: int, base: dict[str, object], seed: int = 1) -> list[Path]:
    """Make a chain of images, each with random contents of its own; the base comes first."""
    chain = [make_vhd(SIZE, name="level0.vhd", **base)]
    scribble(chain[0], seed * 100, writes=20)
    for level in range(1, depth):
        chain.append(make_child(chain[0].with_name(f"level{level}.vhd"), chain[-1]))
        scribble(chain[-1], seed * 100 + level, writes=12)
    return chain


def merge(child: Path, into: Path | None = None, **order: object) -> Outcome:
    with MergeInto(MergeOrder(child, **order), into) as job:
        job.run()
    return job.outcome


def merge_new(child: Path, last: Path, new: Path, **order: object) -> Outcome:
    with MergeNew(MergeOrder(child, **order), last, new) as job:
        job.run()
    return job.outcome


def make_like(path: Path, parent: Path, like: Path) -> Path:
    """Make an empty child that has the size and blocks of another image."""
    images: list[VhdImage] = []
    for source in (parent, like):
        image = open_image(source, read_only=True)
        assert isinstance(image, FixedVhd | SparseVhd)
        images.append(image)
    with new_file(path) as file:
        write_child(file, path, images[0], like=images[1])
    for image in images:
        image.close()
    return path


def found_in(path: Path) -> set[str]:
    """Return the rules that `check` finds broken in a chain.

    Zeros are held rightly here; a block written whole, zeros among it, is taken for one QEMU wrote.
    """
    found = {rule for level in check_chain(path) for rule in level.findings.counts}
    return found - {"zeros-held", "qemu-poison"}


def warnings_of(path: Path) -> tuple[str, ...]:
    image = open_image(path, read_only=True)
    assert isinstance(image, SparseVhd)
    image.close()
    return image.warnings


@pytest.mark.oracle
@pytest.mark.quick("2-1-base0", "3-1-base1", "3-2-base2", "5-1-base0", "5-2-base1", "5-4-base2")
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("depth", "cut"), [(2, 1), (3, 1), (3, 2), (5, 1), (5, 2), (5, 4)])
def test_the_image_merged_into_reads_as_the_child_did(
    make_vhd: MakeVhd, base: dict[str, object], depth: int, cut: int
) -> None:
    chain = random_chain(make_vhd, depth, base, seed=depth + cut)
    expected, target = contents_of(chain[-1]), chain[-1 - cut]
    others = [path for path in chain if path not in (target, chain[-cut])]  # that one notes the time
    before = [path.read_bytes() for path in others]

    merge(chain[-1], target)

    assert contents_of(target) == expected
    assert contents_of(chain[-1]) == expected
    assert seven_zip(target) == expected
    assert seven_zip(chain[-1]) == expected
    assert [path.read_bytes() for path in others] == before
    assert found_in(chain[-1]) == set()


def test_the_image_merged_into_forgets_what_it_knew() -> None:
    upper = open_small(RecordingFile(blank(2, BASE_ID)))
    upper.store.write(3, b"\x07" * 512)
    target = open_small(RecordingFile(blank(2)))
    assert target.read(0, 4) == bytes(4 * 512)
    merge_into(upper, target)
    assert target.read(0, 4) == bytes(3 * 512) + b"\x07" * 512


@pytest.mark.oracle
@pytest.mark.quick("2-1-base0", "2-0-base1", "3-1-base2", "4-2-base0", "5-1-base1", "5-0-base2")
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("depth", "last"), [(2, 1), (2, 0), (3, 1), (4, 2), (5, 1), (5, 0)])
def test_a_part_of_the_chain_becomes_one_new_image(
    make_vhd: MakeVhd, base: dict[str, object], depth: int, last: int
) -> None:
    chain = random_chain(make_vhd, depth, base, seed=depth + last)
    expected, new = contents_of(chain[-1]), chain[0].with_name("new.vhd")
    before = [path.read_bytes() for path in chain]

    with MergeNew(MergeOrder(chain[-1]), chain[last], new) as job:
        foretold = job.outcome.volume
        job.run()

    assert job.outcome.volume == foretold
    assert new.stat().st_size > foretold.growth_bytes
    assert contents_of(new) == expected
    assert seven_zip(new) == expected
    assert [path.read_bytes() for path in chain] == before
    image = open_image(new, read_only=True)
    assert isinstance(image, SparseVhd)
    assert [level.path for level in image.levels] == [new, *reversed(chain[:last])]
    assert found_in(new) == set()
    assert image.footer.type_name == ("dynamic" if last == 0 else "differencing")
    image.close()
    if last == 0:
        raw = new.with_suffix(".raw")
        raw.write_bytes(expected)
        run_tool("qemu-img", "compare", "-f", "vpc", "-F", "raw", new, raw)


@pytest.mark.parametrize(("own", "other"), [(512 << 10, 2 << 20), (2 << 20, 512 << 10)])
def test_levels_of_other_block_sizes_merge(make_vhd: MakeVhd, own: int, other: int) -> None:
    base = make_vhd(SIZE, name="base.vhd", block_bytes=own)
    like = make_vhd(SIZE, name="like.vhd", block_bytes=other)
    scribble(base, seed=1)
    child = make_like(base.with_name("child.vhd"), base, like)
    expected = scribble(child, seed=2)
    merge(child)
    assert contents_of(base) == expected


def test_zeros_over_several_blocks_of_the_parent_hide_what_one_of_them_holds(make_vhd: MakeVhd) -> None:
    base = make_vhd(SIZE, name="base.vhd", block_bytes=512 << 10)
    child = make_like(base.with_name("child.vhd"), base, make_vhd(SIZE, name="like.vhd"))
    for path, lba, data in ((base, 1024, b"\x11" * 4096), (child, 0, bytes(1 << 20))):
        image = open_image(path)
        image.write(lba, data)
        image.close()
    assert merge(child).volume.new_blocks == 0
    assert contents_of(base) == bytes(SIZE)


def test_zeros_hide_what_the_parent_held_and_need_no_block_where_it_held_nothing(make_vhd: MakeVhd) -> None:
    base = make_vhd(SIZE, name="base.vhd")
    image = open_image(base)
    image.write(0, b"\x11" * 4096)
    image.close()
    child = make_child(base.with_name("child.vhd"), base)
    image = open_image(child)
    image.write(2, bytes(1024))
    image.write(5000, bytes(4096))
    image.close()
    outcome = merge(child)
    assert contents_of(base)[:4096] == b"\x11" * 1024 + bytes(1024) + b"\x11" * 2048
    assert outcome.volume.new_blocks == 0
    image = open_image(base)
    assert isinstance(image, SparseVhd)
    assert image.store.table.present() == 1
    image.close()


def test_the_child_notes_the_new_time_of_its_parent_and_keeps_its_own(make_vhd: MakeVhd) -> None:
    chain = random_chain(make_vhd, 3, {})
    os.utime(chain[1], (1_000_000_000, 1_000_000_000))
    merge(chain[1], force=True)
    assert warnings_of(chain[1]) == ()
    assert chain[1].stat().st_mtime == 1_000_000_000


def test_siblings_are_found_and_refuse(make_vhd: MakeVhd, tmp_path: Path) -> None:
    chain = random_chain(make_vhd, 2, {})
    (tmp_path / "far").mkdir()
    near = make_child(tmp_path / "near.vhd", chain[0])
    before = chain[0].read_bytes()
    with pytest.raises(DiskError, match=r"near\.vhd.*--force"):
        merge(chain[1])
    far = tmp_path / "far" / "far.vhd"
    near.rename(far)
    with pytest.raises(DiskError, match=r"far\.vhd"):
        merge(chain[1], search=(far.parent,))
    assert chain[0].read_bytes() == before
    expected = contents_of(chain[1])
    assert merge(chain[1], search=(far.parent,), force=True).spoilt == [far]
    assert contents_of(chain[0]) == expected


def test_siblings_of_an_image_between_refuse_too(make_vhd: MakeVhd, tmp_path: Path) -> None:
    chain = random_chain(make_vhd, 3, {})
    make_child(tmp_path / "sibling.vhd", chain[1])
    with pytest.raises(DiskError, match=r"sibling\.vhd"):
        merge(chain[2], chain[0])


def test_a_merge_that_would_change_nothing_minds_no_sibling(make_vhd: MakeVhd, tmp_path: Path) -> None:
    chain = random_chain(make_vhd, 2, {})
    merge(chain[1])
    sibling = make_child(tmp_path / "sibling.vhd", chain[0])
    expected = contents_of(sibling)
    assert merge(chain[1]).spoilt == []
    assert contents_of(sibling) == expected


def test_children_of_the_child_go_onto_the_parent_and_the_child_goes(make_vhd: MakeVhd) -> None:
    chain = random_chain(make_vhd, 4, {})
    expected = contents_of(chain[3])
    with pytest.raises(DiskError, match=r"level3\.vhd.*--reparent-children"):
        merge(chain[2], chain[0], delete=True)
    kept = merge(chain[2], chain[0])
    assert [warning for warning in kept.warnings if str(chain[1]) in warning]
    outcome = merge(chain[2], chain[0], delete=True, reparent_children=True)
    assert outcome.reparented == [chain[3]]
    assert outcome.deleted == [chain[2], chain[1]]
    assert not chain[1].exists()
    assert not chain[2].exists()
    assert contents_of(chain[3]) == expected
    assert seven_zip(chain[3]) == expected
    assert warnings_of(chain[3]) == ()


def test_children_of_the_child_are_listed_and_left(make_vhd: MakeVhd) -> None:
    chain = random_chain(make_vhd, 3, {})
    before, expected = chain[2].read_bytes(), contents_of(chain[2])
    outcome = merge(chain[1])
    assert (outcome.children, outcome.reparented) == ([chain[2]], [])
    assert chain[2].read_bytes() == before
    assert contents_of(chain[2]) == expected
    assert warnings_of(chain[2]) == ()


def test_a_merge_stopped_while_children_move_is_finished_by_the_same_order(
    make_vhd: MakeVhd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from disks.vhd import mergejob

    chain = random_chain(make_vhd, 3, {})
    second = make_child(tmp_path / "second.vhd", chain[1])
    expected = contents_of(chain[2]), scribble(second, seed=9)
    moved: list[Path] = []

    def set_parent(file: object, parent: object) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(chain[2])
        real(file, parent)

    real = mergejob.set_parent
    with monkeypatch.context() as patch:
        patch.setattr(mergejob, "set_parent", set_parent)
        with pytest.raises(KeyboardInterrupt):
            merge(chain[1], delete=True, reparent_children=True)
    assert (contents_of(chain[2]), contents_of(second)) == expected
    merge(chain[1], delete=True, reparent_children=True)
    assert (contents_of(chain[2]), contents_of(second)) == expected
    assert not chain[1].exists()


def test_children_of_the_child_go_onto_the_new_image(make_vhd: MakeVhd) -> None:
    chain = random_chain(make_vhd, 4, {})
    expected, new = contents_of(chain[3]), chain[0].with_name("new.vhd")
    merge_new(chain[2], chain[1], new, reparent_children=True)
    chain[1].unlink()
    chain[2].unlink()
    assert contents_of(chain[3]) == expected


def test_a_shorter_parent_is_refused_a_longer_one_keeps_its_end(make_vhd: MakeVhd) -> None:
    short, long = make_vhd(1 << 20, name="short.vhd"), make_vhd(3 << 20, name="long.vhd")
    scribble(long, seed=4)
    grown = make_like(short.with_name("grown.vhd"), short, long)
    with pytest.raises(DiskError, match=r"shorter image\. Flatten it instead: trapline disk convert"):
        merge(grown)
    shrunk = make_like(short.with_name("shrunk.vhd"), long, short)
    expected = scribble(shrunk, seed=5) + contents_of(long)[1 << 20 :]
    assert "keeps its length" in merge(shrunk).warnings[0]
    assert contents_of(long) == expected


def test_a_new_image_of_a_chain_with_a_shorter_base_is_whole(make_vhd: MakeVhd) -> None:
    short, long = make_vhd(1 << 20, name="short.vhd"), make_vhd(3 << 20, name="long.vhd")
    scribble(short, seed=4)
    grown = make_like(short.with_name("grown.vhd"), short, long)
    expected = scribble(grown, seed=6)
    merge_new(grown, short, short.with_name("new.vhd"))
    assert contents_of(short.with_name("new.vhd")) == expected


def test_images_in_use_refuse(make_vhd: MakeVhd) -> None:
    chain = random_chain(make_vhd, 3, {})
    running = open_image(chain[2])  # holds the chain behind it for reading
    with pytest.raises(ImageBusyError, match=r"level2\.vhd"):
        merge(chain[2])
    with pytest.raises(ImageBusyError, match=r"level0\.vhd"):
        merge(chain[1])
    running.close()
    with MergeInto(MergeOrder(chain[2])):
        for path in chain[1:]:
            with pytest.raises(ImageBusyError):
                open_image(path)


def test_a_full_host_is_told_and_the_merge_can_be_finished(
    make_vhd: MakeVhd, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = random_chain(make_vhd, 2, {"block_bytes": 512 << 10})
    image = open_image(chain[1])
    image.write(0, b"\x77" * SIZE)
    image.close()
    end, write_at = chain[0].stat().st_size, HostFile.write_at

    def full(self: HostFile, offset: int, data: bytes) -> None:
        if offset + len(data) > end:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_at(self, offset, data)

    with monkeypatch.context() as patch:
        patch.setattr(HostFile, "write_at", full)
        with pytest.raises(DiskError, match=r"level0\.vhd: no room .* merge again"):
            merge(chain[1])
    assert contents_of(chain[1]) == b"\x77" * SIZE
    merge(chain[1])
    assert contents_of(chain[0]) == b"\x77" * SIZE


@pytest.mark.parametrize("fixed", [False, True])
def test_what_is_no_child_has_nothing_to_merge(make_vhd: MakeVhd, fixed: bool) -> None:
    with pytest.raises(DiskError, match="no parent to merge into"):
        merge(make_vhd(1 << 20, fixed=fixed))


def test_an_image_outside_the_chain_is_refused_with_the_chain(make_vhd: MakeVhd) -> None:
    chain = random_chain(make_vhd, 2, {})
    other = make_vhd(SIZE, name="other.vhd")
    with pytest.raises(DiskError, match=r"level1\.vhd -> .*level0\.vhd"):
        merge(chain[1], other)
    with pytest.raises(DiskError, match="the child itself"):
        merge(chain[1], chain[1])


def test_a_child_of_the_child_that_would_read_other_data_is_not_moved(make_vhd: MakeVhd) -> None:
    short, long = make_vhd(1 << 20, name="short.vhd"), make_vhd(3 << 20, name="long.vhd")
    child = make_like(short.with_name("child.vhd"), long, short)
    make_like(short.with_name("top.vhd"), child, long)
    with pytest.raises(ParentError, match="reads zeros past the end"):
        merge(child, reparent_children=True)


def test_an_interrupted_new_image_leaves_nothing(make_vhd: MakeVhd) -> None:
    chain = random_chain(make_vhd, 3, {})
    before = sorted(chain[0].parent.iterdir())

    def interrupt(done: int) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    new = chain[0].with_name("new.vhd")
    with MergeNew(MergeOrder(chain[2]), chain[1], new) as job, pytest.raises(KeyboardInterrupt):
        job.run(interrupt)
    assert sorted(new.parent.iterdir()) == before
