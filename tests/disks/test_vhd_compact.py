"""Compacting: the file shrinks, the contents stay, whatever crash comes in between."""

from __future__ import annotations

from random import Random

import pytest

from disks.vhd import moving
from disks.vhd.compact import carry_out, plan_compaction
from disks.vhd.opening import find_footer, read_parts
from disks.vhd.reparent import set_parent
from tests.disks.crash_recorder import RecordingFile
from tests.disks.small_images import BASE_ID, BLOCK, PER_BLOCK, blank, filled, open_small, with_header_last
from tests.disks.test_vhd_reparent import FAR, OLD, TornFile, said

BLOCKS = 40


def sparse_image(seed: int) -> tuple[bytes, bytes]:
    """Return a dynamic image, some of whose blocks hold only zeros, and its contents."""
    chance = Random(seed)
    start, contents = filled(BLOCKS, seed)
    file, model = RecordingFile(start), bytearray(contents)
    image = open_small(file)
    for block in chance.sample(range(BLOCKS), BLOCKS // 4):
        image.write(block * PER_BLOCK, bytes(BLOCK))
        model[block * BLOCK : (block + 1) * BLOCK] = bytes(BLOCK)
    image.close()
    return bytes(file.contents), bytes(model)


def child_image(seed: int, base: bytes, contents: bytes, texts_behind: bool) -> tuple[bytes, bytes]:
    """Return a child of `base`, some of whose blocks hold what the base holds, and its contents."""
    chance = Random(seed)
    file, model = RecordingFile(blank(BLOCKS, BASE_ID)), bytearray(contents)
    parent = (FAR if texts_behind else OLD)._replace(unique_id=BASE_ID)
    image = open_small(file, base)
    if not texts_behind:
        set_parent(file, parent)
        image = open_small(file, base)
    for block in chance.sample(range(BLOCKS), BLOCKS * 6 // 10):
        lba = block * PER_BLOCK + chance.randrange(PER_BLOCK)
        same = chance.random() < 0.5
        data = bytes(model[lba * 512 : lba * 512 + 512]) if same else chance.randbytes(512)
        image.write(lba, data)
        model[lba * 512 : lba * 512 + 512] = data
    image.close()
    if texts_behind:
        set_parent(file, parent)
    return bytes(file.contents), bytes(model)


def contents_of(start: bytes, base: bytes | None = None) -> bytes:
    image = open_small(RecordingFile(start), base)
    return image.read(0, BLOCKS * PER_BLOCK)


def compacted(
    start: bytes, base: bytes | None = None, kind: type[RecordingFile] = RecordingFile
) -> RecordingFile:
    work = kind(start)
    plan = plan_compaction(work, open_small(work, base))
    carry_out(work, plan)
    assert work.size() == plan.bytes_after
    assert plan.bytes_before == len(start)
    return work


@pytest.mark.verify
@pytest.mark.parametrize("seed", range(100, 102))
def test_compacting_survives_a_great_many_crashes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_BATCH_BYTES", 3 * BLOCK)  # several batches
    base, below = filled(BLOCKS, seed)
    start, model = child_image(seed, base, below, texts_behind=seed % 2 == 0)
    work = compacted(start, base, TornFile)
    states = 0
    for _, crashed in work.crashes(most_subsets=64):
        assert contents_of(crashed, base) == model
        assert said(RecordingFile(crashed)) == said(RecordingFile(start))
        states += 1
    assert states > 200


@pytest.mark.parametrize("seed", range(2))
def test_compacting_a_dynamic_image_survives_any_crash(seed: int) -> None:
    start, model = sparse_image(seed)
    work = compacted(start)
    assert work.size() < len(start)
    states = 0
    for _, crashed in work.crashes(most_subsets=8):
        assert contents_of(crashed) == model
        states += 1
    assert states > 20


def test_a_header_behind_the_blocks_survives_any_crash_of_compacting() -> None:
    start, model = sparse_image(4)
    work = compacted(with_header_last(start))
    assert contents_of(bytes(work.contents)) == model
    states = 0
    for _, crashed in work.crashes(most_subsets=8):
        assert contents_of(crashed) == model
        states += 1
    assert states >= 3


@pytest.mark.parametrize("texts_behind", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_compacting_a_child_survives_any_crash(seed: int, texts_behind: bool) -> None:
    base, below = filled(BLOCKS, seed + 50)
    start, model = child_image(seed, base, below, texts_behind)
    work = compacted(start, base)
    assert work.size() < len(start)
    states = 0
    for _, crashed in work.crashes(most_subsets=8):
        assert contents_of(crashed, base) == model
        assert said(RecordingFile(crashed)) == said(RecordingFile(start))
        states += 1
    assert states > 10


def test_nothing_is_left_that_could_go() -> None:
    start, model = sparse_image(9)
    work = compacted(start)
    needed = sum(any(model[at : at + BLOCK]) for at in range(0, len(model), BLOCK))
    found = find_footer(work)
    parts = read_parts(work, found)
    assert parts.table.present() == needed
    assert work.size() == parts.header.table_offset + 512 + needed * parts.header.stride_bytes + 512


def test_a_second_time_changes_nothing() -> None:
    work = compacted(sparse_image(3)[0])
    again = compacted(bytes(work.contents))
    assert [epoch for epoch in again.epochs if epoch] == []


def test_an_interrupted_compaction_can_be_made_again() -> None:
    start, _ = sparse_image(5)
    whole = compacted(start)
    for _, crashed in whole.crashes(most_subsets=1):
        assert compacted(crashed).size() == whole.size()


def test_a_child_without_its_parent_loses_only_blocks_without_a_sector() -> None:
    base, below = filled(BLOCKS, 1)
    start, model = child_image(1, base, below, texts_behind=False)
    work = RecordingFile(start)
    plan = plan_compaction(work, open_small(work))
    assert plan.dropped == ()
    carry_out(work, plan)
    assert contents_of(bytes(work.contents), base) == model
