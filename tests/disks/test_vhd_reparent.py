"""Reparenting: the child names its parent anew, whatever crash comes in between."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from disks.vhd.locators import names_for, texts_of
from disks.vhd.opening import find_footer, read_parts
from disks.vhd.reparent import NewParent, set_parent, set_timestamp
from tests.disks.crash_recorder import RecordingFile
from tests.disks.small_images import PER_BLOCK, blank, open_small, with_header_last

OLD = NewParent(Path("old.vhd"), uuid.UUID(int=0x11), 1_000_000_000)
NEW = NewParent(Path("a-parent-with-a-longer-name" * 4 + ".vhd"), uuid.UUID(int=0x22), 1_100_000_000)
FAR = NewParent(Path("/a/very/long/way" * 18) / "far.vhd", uuid.UUID(int=0x33), 1_200_000_000)


class TornFile(RecordingFile):
    """Records each sector as a write of its own, so that headers and texts are torn anywhere."""

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        for at in range(0, len(data), 512):
            super().write_at(offset + at, data[at : at + 512])


def child_image(written: tuple[int, ...], parent: NewParent = OLD, texts_behind: bool = False) -> bytes:
    """Return a child of four blocks that holds a sector of each block in `written`."""
    file = RecordingFile(blank(4, parent.unique_id))
    if texts_behind:
        fill(file, written)
    set_parent(file, parent)
    if not texts_behind:
        fill(file, written)
    return bytes(file.contents)


def fill(file: RecordingFile, blocks: tuple[int, ...]) -> None:
    image = open_small(file)
    for block in blocks:
        image.store.write(block * PER_BLOCK + 3, bytes([0x40 + block]) * 1024)
    image.store.close()


def said(file: RecordingFile) -> tuple[object, ...]:
    """Return what an image says of its parent."""
    found = find_footer(file)
    header = read_parts(file, found).header
    texts = texts_of(file, header, found.offset)
    return (header.parent_id, header.parent_timestamp, header.parent_name, texts)


def held(file: RecordingFile) -> list[bytes]:
    """Return what an image holds itself, block by block."""
    runs = open_small(file).extents(0, 4 * PER_BLOCK)
    return [
        file.read_at(run.offset, run.sectors * 512) if run.file is not None else bytes(run.sectors)
        for run in runs
    ]


def crash_everywhere(start: bytes, work: RecordingFile) -> int:
    """Check that every crash leaves the image whole and naming the old or the new parent."""
    old, new, contents = said(RecordingFile(start)), said(work), held(RecordingFile(start))
    states, ends = 0, set()
    for _, crashed in work.crashes(most_subsets=64):
        survivor = RecordingFile(crashed)
        found = said(survivor)
        assert found in (old, new)
        assert held(survivor) == contents
        ends.add(found == new)
        states += 1
    assert ends == {True, False}
    return states


@pytest.mark.parametrize("texts_behind", [False, True])
@pytest.mark.parametrize("written", [(), (2, 0, 3)])
@pytest.mark.parametrize("parent", [NEW, FAR])
def test_a_new_parent_survives_any_crash(
    written: tuple[int, ...], parent: NewParent, texts_behind: bool
) -> None:
    start = child_image(written, texts_behind=texts_behind)
    work = TornFile(start)
    set_parent(work, parent)
    assert crash_everywhere(start, work) > 50
    assert not open_small(work).own_warnings


@pytest.mark.parametrize("parent", [NEW, FAR])
def test_a_header_behind_the_blocks_survives_any_crash(parent: NewParent) -> None:
    file = RecordingFile(blank(4, OLD.unique_id))
    fill(file, (2, 0, 3))
    start = with_header_last(bytes(file.contents))
    work = TornFile(start)
    set_parent(work, parent)
    assert crash_everywhere(start, work) > 20
    later = RecordingFile(bytes(work.contents))
    set_timestamp(later, parent._replace(modified=parent.modified + 2))
    assert crash_everywhere(bytes(work.contents), later) > 1


def test_a_new_time_is_one_write_of_one_sector() -> None:
    start = child_image((1,))
    work = TornFile(start)
    set_timestamp(work, OLD._replace(modified=OLD.modified + 3600))
    assert [len(epoch) for epoch in work.epochs] == [1, 0]
    write = work.epochs[0][0]
    assert write.data is not None
    assert (write.offset, len(write.data)) == (512, 512)
    crash_everywhere(start, work)


def test_header_and_texts_end_up_where_other_programs_put_them() -> None:
    work = RecordingFile(child_image((0,)))
    set_parent(work, NEW)
    assert work.read_at(512, 8) == b"cxsparse"
    assert find_footer(work).footer.data_offset == 512
    header = read_parts(work, find_footer(work)).header
    assert header.locators[0].data_offset == 2048
    assert work.read_at(0, 512) == work.read_at(work.size() - 512, 512)
    assert work.size() == len(child_image((0,)))


def test_texts_too_long_for_the_room_behind_the_table_go_behind_the_blocks() -> None:
    work = RecordingFile(child_image((0,)))
    set_parent(work, FAR)
    found = find_footer(work)
    image = open_small(work)
    block_end = image.store.table[0] * 512 + image.store.header.stride_bytes
    assert image.store.header.locators[0].data_offset == block_end
    texts = names_for(work.path.resolve(), FAR.path).texts
    fill(work, (1, 2))
    assert texts_of(work, read_parts(work, find_footer(work)).header, found.offset) == texts


@pytest.mark.parametrize("room", [0x60, 0x1FF])
def test_texts_whose_room_is_noted_in_few_bytes_survive_the_first_write(room: int) -> None:
    work = RecordingFile(child_image((), OLD))
    header = read_parts(work, find_footer(work)).header
    locators = tuple(
        replace(locator, data_space=room) if any(locator.platform_code) else locator
        for locator in header.locators
    )
    work.write_at(512, replace(header, locators=locators).to_bytes())
    before = said(work)
    fill(work, (1,))
    fill(work, (2,))
    assert said(work) == before


def test_an_interrupted_change_can_be_made_again() -> None:
    work = RecordingFile(child_image((0, 2)))
    set_parent(work, NEW)
    for _, crashed in work.crashes(most_subsets=8):
        again = RecordingFile(crashed)
        set_parent(again, FAR)
        set_parent(again, NEW)
        assert bytes(again.contents) == bytes(work.contents)
